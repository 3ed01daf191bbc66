//! What comes back when all is well, held against the document.

use fapo_gateway::{openapi, routes};
use serde_json::{Value, json};

use crate::client::Ask;
use crate::requests::good;
use crate::world::World;

/// Holds `body` against the schema that the document has for an answer.
fn check(document: &Value, schema: &Value, body: &Value) -> Result<(), String> {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
    let errors: Vec<String> = validator
        .iter_errors(body)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.join("\n"))
    }
}

#[tokio::test]
async fn every_answer_is_what_the_document_says() -> anyhow::Result<()> {
    let document = openapi();
    for (number, route) in routes().into_iter().enumerate() {
        // a world for each, because some of them end the job
        let world = World::new().await?;
        world.say([json!({"event": "one"})]).await?;
        if route.path.ends_with("/stream") {
            world.finish().await?;
        }
        let reply = good(&world, &route, number)
            .with(&world, "admin")
            .send(&world)
            .await?;
        let verb = route.method.as_str().to_ascii_lowercase();
        let responses = &document["paths"][route.path][&verb]["responses"];
        let response = &responses[reply.status.to_string()];
        assert!((200..300).contains(&reply.status), "{route:?}: {reply:?}");
        assert!(
            response.is_object(),
            "{route:?} has no {} in the document",
            reply.status
        );
        let media_type = reply
            .header("content-type")
            .split(';')
            .next()
            .unwrap_or_default();
        match response["content"].as_object() {
            None => assert!(reply.bytes.is_empty(), "{route:?}"),
            Some(content) => {
                let content = content.get(media_type);
                let content = content.unwrap_or_else(|| panic!("{media_type} of {route:?}"));
                if media_type == "application/json" {
                    let checked = check(&document, &content["schema"], &reply.json());
                    assert_eq!(checked, Ok(()), "{route:?}: {}", reply.json());
                }
            }
        }
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert!(!reply.header("cache-control").is_empty(), "{route:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_check_of_an_answer_can_fail() {
    let document = openapi();
    let schema = json!({"$ref": "#/components/schemas/BlobView"});
    assert!(check(&document, &schema, &json!({"sha256": "x", "size": 1})).is_err());
    assert!(check(&document, &schema, &json!({"size": 1})).is_err());
}

#[tokio::test]
async fn every_problem_is_what_the_document_says() -> anyhow::Result<()> {
    let document = openapi();
    let world = World::new().await?;
    for ask in [
        Ask::get("/api/v1/jobs"),
        Ask::get("/api/v1/jobs?limit=x").with(&world, "root"),
        Ask::get("/api/v1/tokens").with(&world, "viewer"),
        Ask::get(format!("/api/v1/jobs/{}", world.job)).with(&world, "other_viewer"),
        Ask::post("/api/v1/jobs").with(&world, "root"),
    ] {
        let reply = ask.send(&world).await?;
        reply.reason();
        let name = format!("Problem{}", reply.status);
        let content = &document["components"]["responses"][&name]["content"];
        let schema = &content["application/problem+json"]["schema"];
        assert!(schema.is_object(), "{name}");
        assert_eq!(check(&document, schema, &reply.json()), Ok(()));
    }
    Ok(())
}

#[tokio::test]
async fn a_report_comes_in_three_forms_and_none_of_them_can_run_a_script() -> anyhow::Result<()> {
    let world = World::new().await?;
    for (format, media_type) in [
        ("", "text/markdown"),
        ("?format=markdown", "text/markdown"),
        ("?format=html", "text/html"),
        ("?format=json", "application/json"),
    ] {
        let path = format!("/api/v1/jobs/{}/report{format}", world.job);
        let reply = Ask::get(path).with(&world, "viewer").send(&world).await?;
        assert_eq!(reply.status, 200);
        assert!(reply.header("content-type").starts_with(media_type));
        assert!(String::from_utf8_lossy(&reply.bytes).contains(&world.job.to_string()));
        let policy = reply.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("script-src"),
            "{policy}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn lists_are_read_page_by_page() -> anyhow::Result<()> {
    let world = World::new().await?;
    let evaluation = format!(
        "/api/v1/jobs/{}/evaluations/{}",
        world.job, world.evaluation
    );
    for (list, wanted) in [("runs", vec![0, 1, 2, 3, 4]), ("findings", vec![1, 2, 3])] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("{evaluation}/{list}?limit=2{after}");
            let page = Ask::get(path)
                .with(&world, "viewer")
                .send(&world)
                .await?
                .json();
            let items = page["items"].as_array().cloned().unwrap_or_default();
            assert!(items.len() <= 2);
            seen.extend(items.iter().filter_map(|item| item["ordinal"].as_u64()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, wanted, "{list}");
    }

    let first = Ask::get("/api/v1/jobs?limit=1")
        .with(&world, "root")
        .send(&world)
        .await?
        .json();
    let next = first["next"].as_str().unwrap_or_default();
    let path = format!("/api/v1/jobs?limit=1&before={next}");
    let second = Ask::get(path)
        .with(&world, "root")
        .send(&world)
        .await?
        .json();
    let ids = [&first, &second].map(|page| page["items"][0]["id"].clone());
    assert_eq!(ids, [json!(world.other_job), json!(world.job)]);
    Ok(())
}
