//! Who may do what: each route with each token.

use fapo_domain::model::access::Role;
use fapo_gateway::{Access, AuthMode, GatewayConfig, RouteInfo, routes};

use crate::client::Ask;
use crate::requests::good;
use crate::world::{Setup, World};

fn role(route: &RouteInfo) -> Role {
    match route.access {
        Access::Role(role) => role,
        Access::Anybody => panic!("the API has no route without a role: {route:?}"),
    }
}

#[tokio::test]
async fn each_route_answers_each_role_as_the_table_says() -> anyhow::Result<()> {
    let world = World::new().await?;
    for (number, route) in routes().into_iter().enumerate() {
        let needed = role(&route);
        for (holder, theirs) in [
            ("viewer", Role::Viewer),
            ("submitter", Role::Submitter),
            ("admin", Role::Admin),
            ("root", Role::Admin),
            ("service", Role::Service),
        ] {
            let reply = good(&world, &route, number)
                .with(&world, holder)
                .send(&world)
                .await?;
            if theirs < needed {
                assert_eq!(reply.status, 403, "{holder} at {route:?}");
                assert_eq!(reply.reason(), "ACCESS_FORBIDDEN");
                assert!(
                    reply
                        .header("www-authenticate")
                        .contains("insufficient_scope")
                );
            } else {
                // a job that was cancelled before can no longer be paused: that is no matter of access
                let fine = (200..300).contains(&reply.status) || reply.status == 422;
                assert!(fine, "{holder} at {route:?}: {reply:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_request_without_a_good_token_is_told_what_is_wrong_with_it_and_nothing_else()
-> anyhow::Result<()> {
    let world = World::new().await?;
    let unknown = "fapo_0000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let basic = "Basic dXNlcjpwYXNz".to_owned();
    let tokens = [
        (None, "TOKEN_MISSING"),
        (Some(basic), "TOKEN_INVALID"),
        (Some("Bearer".to_owned()), "TOKEN_INVALID"),
        (Some("Bearer nonsense".to_owned()), "TOKEN_INVALID"),
        (Some(format!("Bearer {unknown}")), "TOKEN_INVALID"),
        (
            Some(format!("Bearer {}", world.tokens["revoked"])),
            "TOKEN_INVALID",
        ),
        (
            Some(format!("Bearer {}", world.tokens["expired"])),
            "TOKEN_EXPIRED",
        ),
    ];
    for (number, route) in routes().into_iter().enumerate() {
        for (authorization, reason) in &tokens {
            let mut ask = good(&world, &route, number);
            if let Some(authorization) = authorization {
                ask = ask.header("authorization", authorization);
            }
            let reply = ask.send(&world).await?;
            assert_eq!(reply.status, 401, "{authorization:?} at {route:?}");
            assert_eq!(reply.reason(), *reason, "{authorization:?} at {route:?}");
            assert!(reply.header("www-authenticate").starts_with("Bearer"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_thing_of_another_project_does_not_exist() -> anyhow::Result<()> {
    let world = World::new().await?;
    for (number, route) in routes().into_iter().enumerate() {
        let holder = match role(&route) {
            Role::Viewer => "other_viewer",
            Role::Submitter => "other_submitter",
            Role::Admin | Role::Service => "other_admin",
        };
        let reply = good(&world, &route, number)
            .with(&world, holder)
            .send(&world)
            .await?;
        match route.path {
            // contents are shared by their hash, and lists show what is theirs
            "/api/v1/blobs" => assert_eq!(reply.status, 201),
            "/api/v1/tokens" if route.method == reqwest::Method::GET => {
                let list = reply.json();
                let items = list["items"].as_array().cloned().unwrap_or_default();
                assert!(!items.is_empty() && items.iter().all(|token| token["project"] == "other"));
            }
            "/api/v1/jobs" if route.method == reqwest::Method::GET => {
                let list = reply.json();
                assert_eq!(list["items"][0]["id"], world.other_job.to_string());
                assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
            }
            _ => {
                assert_eq!(reply.status, 404, "{route:?}: {reply:?}");
                assert_eq!(reply.reason(), "NOT_FOUND");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_evaluation_is_found_under_its_own_job_only() -> anyhow::Result<()> {
    let world = World::new().await?;
    for part in ["aggregate", "runs", "runs/0", "attribution", "findings"] {
        let path = |job, evaluation| format!("/api/v1/jobs/{job}/evaluations/{evaluation}/{part}");
        let foreign = path(world.job, world.other_evaluation);
        let reply = Ask::get(foreign).with(&world, "root").send(&world).await?;
        assert_eq!(reply.status, 404, "{part}");
        let own = path(world.job, world.evaluation);
        let reply = Ask::get(own).with(&world, "root").send(&world).await?;
        assert_eq!(reply.status, 200, "{part}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_asks_for_no_tokens_passes_everybody() -> anyhow::Result<()> {
    let config = GatewayConfig {
        auth: AuthMode::Off,
        ..GatewayConfig::default()
    };
    let world = World::with(Setup {
        config,
        ..Setup::default()
    })
    .await?;
    let reply = Ask::get("/api/v1/jobs").send(&world).await?;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["items"].as_array().map(Vec::len), Some(2));
    Ok(())
}
