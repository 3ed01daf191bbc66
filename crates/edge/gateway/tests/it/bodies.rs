//! Bad bodies at every route that reads one: a problem that names what is wrong, and nothing stored.

use fapo_domain::hash::ContentHash;
use fapo_gateway::{Body, GatewayConfig, GatewayLimits, routes};
use serde_json::{Value, json};

use crate::client::Ask;
use crate::input::stored;
use crate::requests::{good, submission};
use crate::world::{Setup, World};

#[tokio::test]
async fn a_body_that_does_not_fit_is_refused_by_its_field() -> anyhow::Result<()> {
    let world = World::new().await?;
    let before = stored(&world).await?;
    let with = |change: fn(&mut Value)| {
        let mut body = submission("bad");
        change(&mut body);
        body
    };
    let jobs = "/api/v1/jobs";
    let tokens = "/api/v1/tokens";
    let missing = "/api/v1/projects/qa/blobs:missing";
    let long = "x".repeat(65);
    for (path, body, field) in [
        (jobs, json!(null), "body"),
        (jobs, json!([]), "body"),
        (jobs, with(|body| body["extra"] = json!(1)), "extra"),
        (jobs, with(|body| body["project"] = json!(7)), "project"),
        (
            jobs,
            with(|body| body["project"] = json!("../x")),
            "project",
        ),
        (
            jobs,
            with(|body| body["request_id"] = json!("")),
            "request_id",
        ),
        (
            jobs,
            with(|body| body["request_id"] = json!("x".repeat(65))),
            "request_id",
        ),
        (
            jobs,
            with(|body| body["request_id"] = json!("a\u{0}")),
            "request_id",
        ),
        (
            jobs,
            with(|body| body["request_id"] = Value::Null),
            "request_id",
        ),
        (
            jobs,
            with(|body| body["files"] = json!({"fapo.yaml": "zz"})),
            "files.fapo.yaml",
        ),
        (
            jobs,
            with(|body| body["files"] = json!({"a\u{0}": ContentHash::of(b"qa")})),
            "files",
        ),
        (
            jobs,
            with(|body| body["goal"] = json!({"goal": "fly"})),
            "goal.goal",
        ),
        (
            jobs,
            with(|body| body["goal"] = json!({"goal": "optimize", "split": "val"})),
            "goal",
        ),
        (
            jobs,
            with(|body| body["goal"] = json!({"goal": "evaluate", "split": "all"})),
            "goal",
        ),
        (
            jobs,
            with(|body| body["goal"] = json!({"goal": "evaluate", "split": "val", "cases": 0})),
            "goal.cases",
        ),
        (
            jobs,
            with(|body| body["goal"] = json!({"goal": "evaluate", "split": "val", "cases": 1.5})),
            "goal",
        ),
        (
            jobs,
            with(|body| {
                body["goal"] =
                    json!({"goal": "evaluate", "split": "val", "sample": 5_000_000_000_u64});
            }),
            "goal.sample",
        ),
        (tokens, json!({"name": "", "role": "viewer"}), "name"),
        (tokens, json!({"name": long, "role": "viewer"}), "name"),
        (tokens, json!({"name": "ci", "role": "king"}), "role"),
        (tokens, json!({"name": "ci"}), "body"),
        (
            tokens,
            json!({"name": "ci", "role": "viewer", "project": "a/b"}),
            "project",
        ),
        (
            tokens,
            json!({"name": "ci", "role": "viewer", "expires_in_seconds": 0}),
            "expires_in_seconds",
        ),
        (
            tokens,
            json!({"name": "ci", "role": "viewer", "expires_in_seconds": -5}),
            "expires_in_seconds",
        ),
        (missing, json!({"hashes": "all"}), "hashes"),
        (missing, json!({"hashes": ["AB"]}), "hashes[0]"),
        (
            missing,
            json!({"hashes": vec![ContentHash::of(b"x"); 10_001]}),
            "hashes",
        ),
    ] {
        let reply = Ask::post(path)
            .json(&body)
            .with(&world, "root")
            .send(&world)
            .await?;
        assert_eq!(reply.status, 400, "{body} at {path}: {reply:?}");
        assert_eq!(reply.reason(), "REQUEST_INVALID");
        assert_eq!(reply.fields(), [field], "{body}: {reply:?}");
    }
    for broken in ["", "{", "{}{}", "nul", "{\"a\":\"\\ud800\"}"] {
        let mut ask = Ask::post(jobs).header("content-type", "application/json");
        ask.body = Some(broken.as_bytes().to_vec());
        let reply = ask.with(&world, "root").send(&world).await?;
        assert_eq!(reply.status, 400, "{broken}");
        reply.reason();
    }
    let deep = "[".repeat(100_000);
    let mut ask = Ask::post(jobs).header("content-type", "application/json");
    ask.body = Some(deep.into_bytes());
    assert_eq!(ask.with(&world, "root").send(&world).await?.status, 400);
    assert_eq!(stored(&world).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_body_of_another_media_type_or_too_large_is_refused_at_every_route() -> anyhow::Result<()>
{
    let limits = GatewayLimits {
        json_bytes: 1000,
        blob_bytes: 2000,
        ..GatewayLimits::default()
    };
    let config = GatewayConfig {
        limits,
        ..GatewayConfig::default()
    };
    let world = World::with(Setup {
        config,
        ..Setup::default()
    })
    .await?;
    let before = stored(&world).await?;
    for (number, route) in routes().into_iter().enumerate() {
        let (allowed, wrong) = match route.body {
            Body::None => continue,
            Body::Json => (1000, "text/plain"),
            Body::Bytes => (2000, "multipart/form-data"),
        };
        let mut typed = good(&world, &route, number);
        typed.headers.clear();
        let untyped = typed.clone().with(&world, "root").send(&world).await?;
        assert_eq!(
            (untyped.status, untyped.reason()),
            (415, "MEDIA_TYPE_UNSUPPORTED".to_owned())
        );
        let typed = typed
            .header("content-type", wrong)
            .with(&world, "root")
            .send(&world)
            .await?;
        assert_eq!(
            (typed.status, typed.reason()),
            (415, "MEDIA_TYPE_UNSUPPORTED".to_owned())
        );

        let mut large = good(&world, &route, number);
        large.body = Some(vec![b' '; allowed + 1]);
        let reply = large.with(&world, "root").send(&world).await?;
        assert_eq!(
            (reply.status, reply.reason()),
            (413, "REQUEST_TOO_LARGE".to_owned()),
            "{route:?}"
        );
    }
    assert_eq!(stored(&world).await?, before);
    let full = Ask::post("/api/v1/blobs")
        .bytes(vec![7; 2000])
        .with(&world, "root")
        .send(&world)
        .await?;
    assert_eq!(full.status, 201);
    Ok(())
}

#[tokio::test]
async fn a_body_that_does_not_say_its_size_is_cut_off_at_the_limit() -> anyhow::Result<()> {
    let limits = GatewayLimits {
        blob_bytes: 2000,
        ..GatewayLimits::default()
    };
    let config = GatewayConfig {
        limits,
        ..GatewayConfig::default()
    };
    let world = World::with(Setup {
        config,
        ..Setup::default()
    })
    .await?;
    let chunks = futures::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>(vec![0u8; 1000])));
    let response = crate::client::client()
        .post(world.url("/api/v1/blobs"))
        .bearer_auth(&world.tokens["root"])
        .header("content-type", "application/octet-stream")
        .body(reqwest::Body::wrap_stream(chunks))
        .send()
        .await?;
    assert_eq!(response.status(), 413);
    Ok(())
}
