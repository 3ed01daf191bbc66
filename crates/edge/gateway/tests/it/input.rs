//! Bad input at every route: a problem that names what is wrong, and nothing stored.

use fapo_domain::hash::ContentHash;
use fapo_domain::ports::access::Tokens as _;
use fapo_domain::ports::jobs::Jobs as _;
use fapo_gateway::routes;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Ask;
use crate::requests::{good, submission};
use crate::world::World;

/// How much is stored.
pub async fn stored(world: &World) -> anyhow::Result<(usize, usize)> {
    let jobs = world.store.list_jobs(None, None, 1000).await?.len();
    Ok((jobs, world.store.tokens(None).await?.len()))
}

#[tokio::test]
async fn every_parameter_of_a_path_is_checked_and_named() -> anyhow::Result<()> {
    let world = World::new().await?;
    for route in routes() {
        let names: Vec<&str> = route
            .path
            .split('{')
            .skip(1)
            .filter_map(|part| part.split_once('}'))
            .map(|(name, _)| name)
            .collect();
        for name in names {
            for bad in ["!", "a%00b", "%ff", "%E2%82%AC", &"9".repeat(200)] {
                let mut broken = route.clone();
                let path = route.path.replace(&format!("{{{name}}}"), bad);
                broken.path = Box::leak(path.into_boxed_str());
                let reply = good(&world, &broken, 0)
                    .with(&world, "root")
                    .send(&world)
                    .await?;
                assert_eq!(reply.status, 400, "{name}={bad} at {route:?}: {reply:?}");
                assert_eq!(reply.reason(), "REQUEST_INVALID");
                let wanted = if bad == "%ff" { "path" } else { name };
                assert_eq!(reply.fields(), [wanted], "{bad}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_parameter_of_a_query_is_refused_at_every_route() -> anyhow::Result<()> {
    let world = World::new().await?;
    let before = stored(&world).await?;
    for (number, route) in routes().into_iter().enumerate() {
        let mut ask = good(&world, &route, number);
        ask.path.push_str("?nonsense=1");
        let reply = ask.with(&world, "root").send(&world).await?;
        assert_eq!(reply.status, 400, "{route:?}");
        assert_eq!(reply.fields(), ["nonsense"]);
    }
    assert_eq!(stored(&world).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_query_that_does_not_fit_names_all_that_is_wrong() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (job, evaluation) = (world.job, world.evaluation);
    let runs = format!("/api/v1/jobs/{job}/evaluations/{evaluation}/runs");
    for (path, fields) in [
        (
            "/api/v1/jobs?limit=0&before=x&project=a%2Fb".to_owned(),
            vec!["limit", "before", "project"],
        ),
        ("/api/v1/jobs?limit=5&limit=6".to_owned(), vec!["limit"]),
        ("/api/v1/jobs?limit=".to_owned(), vec!["limit"]),
        ("/api/v1/jobs?limit=%2B5".to_owned(), vec!["limit"]),
        (
            format!("{runs}?status=odd&failed_below=2&after=-1"),
            vec!["status", "failed_below", "after"],
        ),
        (
            format!("{runs}?output_contains=a%00"),
            vec!["output_contains"],
        ),
        (
            format!("/api/v1/jobs/{job}/events?after_seq=18446744073709551615"),
            vec!["after_seq"],
        ),
        (
            format!("/api/v1/jobs/{job}/report?format=pdf"),
            vec!["format"],
        ),
        ("/api/v1/tokens?project=".to_owned(), vec!["project"]),
    ] {
        let reply = Ask::get(path.clone())
            .with(&world, "root")
            .send(&world)
            .await?;
        assert_eq!(reply.status, 400, "{path}");
        assert_eq!(reply.fields(), fields, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn unknown_ids_paths_and_methods_have_the_shape_of_all_problems() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (none, hash) = ("01a3185c-5000-7000-8000-000000000000", "0".repeat(64));
    let job = format!("/api/v1/jobs/{}", world.job);
    for path in [
        format!("/api/v1/jobs/{none}"),
        format!("/api/v1/jobs/{none}/events"),
        format!("/api/v1/jobs/{none}/events/stream"),
        format!("/api/v1/jobs/{none}/evaluations"),
        format!("{job}/variants/{hash}"),
        format!("{job}/evaluations/{hash}/runs"),
        format!("{job}/evaluations/{}/runs/999", world.evaluation),
    ] {
        let reply = Ask::get(path.clone())
            .with(&world, "root")
            .send(&world)
            .await?;
        assert_eq!(
            (reply.status, reply.reason()),
            (404, "NOT_FOUND".to_owned()),
            "{path}"
        );
    }
    for path in [
        "/",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v2/jobs",
        "/api/v1/jobs/",
    ] {
        let reply = Ask::get(path).with(&world, "root").send(&world).await?;
        assert_eq!(
            (reply.status, reply.reason()),
            (404, "ROUTE_UNKNOWN".to_owned()),
            "{path}"
        );
    }
    for (path, allow) in [
        ("/api/v1/jobs", "GET, POST"),
        ("/healthz", "GET"),
        ("/openapi.json", "GET"),
    ] {
        for method in [Method::PUT, Method::PATCH, Method::OPTIONS, Method::TRACE] {
            let reply = Ask::new(method, path)
                .with(&world, "root")
                .send(&world)
                .await?;
            assert_eq!(
                (reply.status, reply.header("allow")),
                (405, allow),
                "{path}"
            );
            assert_eq!(reply.reason(), "METHOD_NOT_ALLOWED");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_repeated_submission_is_one_job_and_a_reused_request_id_is_refused() -> anyhow::Result<()>
{
    let world = World::new().await?;
    let before = stored(&world).await?.0;
    let mut body = submission("once");
    let first = Ask::post("/api/v1/jobs")
        .json(&body)
        .with(&world, "submitter")
        .send(&world)
        .await?;
    assert_eq!(first.status, 201);
    let id = first.json()["id"].as_str().unwrap_or_default().to_owned();
    assert_eq!(first.header("location"), format!("/api/v1/jobs/{id}"));

    body.as_object_mut().map(|body| body.remove("request_id"));
    let again = Ask::post("/api/v1/jobs")
        .json(&body)
        .header("idempotency-key", "once");
    let again = again.with(&world, "submitter").send(&world).await?;
    assert_eq!(
        (again.status, again.json()["id"].as_str()),
        (201, Some(&*id))
    );

    body["goal"] = json!({"goal": "evaluate", "split": "train"});
    let other = Ask::post("/api/v1/jobs")
        .json(&body)
        .header("idempotency-key", "once");
    let other = other.with(&world, "submitter").send(&world).await?;
    assert_eq!(
        (other.status, other.reason()),
        (409, "REQUEST_ID_REUSED".to_owned())
    );

    body["request_id"] = json!("another");
    let both = Ask::post("/api/v1/jobs")
        .json(&body)
        .header("idempotency-key", "once");
    assert_eq!(
        both.with(&world, "submitter").send(&world).await?.fields(),
        ["request_id"]
    );
    assert_eq!(stored(&world).await?.0, before + 1);
    Ok(())
}

#[tokio::test]
async fn a_project_with_problems_and_files_that_were_not_sent_are_told_whole() -> anyhow::Result<()>
{
    let world = World::new().await?;
    let before = stored(&world).await?;
    let mut body = submission("r");
    body["files"] =
        json!({"fapo.yaml": ContentHash::of(b"qa"), "x": ContentHash::of(b"nobody has this")});
    let reply = Ask::post("/api/v1/jobs")
        .json(&body)
        .with(&world, "submitter")
        .send(&world)
        .await?;
    assert_eq!(
        (reply.status, reply.reason()),
        (422, "BLOBS_MISSING".to_owned())
    );
    assert_eq!(reply.fields(), ["files"]);

    body["files"] = json!({"other.yaml": ContentHash::of(b"qa")});
    let reply = Ask::post("/api/v1/jobs")
        .json(&body)
        .with(&world, "submitter")
        .send(&world)
        .await?;
    assert_eq!(
        (reply.status, reply.reason()),
        (422, "PROJECT_INVALID".to_owned())
    );
    assert_eq!(reply.json()["errors"][0]["file"], "fapo.yaml");
    assert_eq!(stored(&world).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_blob_that_was_damaged_on_its_way_is_not_stored() -> anyhow::Result<()> {
    let world = World::new().await?;
    let path = format!("/api/v1/blobs?sha256={}", ContentHash::of(b"whole"));
    let damaged = Ask::post(path.clone())
        .bytes("damaged")
        .with(&world, "submitter")
        .send(&world)
        .await?;
    assert_eq!(
        (damaged.status, damaged.fields()),
        (400, vec!["sha256".to_owned()])
    );
    let ask = json!({"hashes": [ContentHash::of(b"damaged"), ContentHash::of(b"whole")]});
    let missing = |body: Value| Ask::post("/api/v1/projects/qa/blobs:missing").json(&body);
    let reply = missing(ask.clone())
        .with(&world, "submitter")
        .send(&world)
        .await?;
    assert_eq!(reply.json()["missing"], ask["hashes"]);
    let whole = Ask::post(path)
        .bytes("whole")
        .with(&world, "submitter")
        .send(&world)
        .await?;
    assert_eq!(
        (whole.status, whole.json()["size"].as_u64()),
        (201, Some(5))
    );
    let reply = missing(ask.clone())
        .with(&world, "submitter")
        .send(&world)
        .await?;
    assert_eq!(reply.json()["missing"], json!([ask["hashes"][0]]));
    Ok(())
}
