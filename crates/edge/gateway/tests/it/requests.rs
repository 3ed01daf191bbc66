//! A good request for every route.

use fapo_domain::hash::ContentHash;
use fapo_gateway::RouteInfo;
use reqwest::Method;
use serde_json::json;

use crate::client::Ask;
use crate::world::World;

/// A request that the route answers with success for whoever may use it; about the project `qa`. `number` makes it another one.
pub fn good(world: &World, route: &RouteInfo, number: usize) -> Ask {
    let path = route
        .path
        .replace("{project}", "qa")
        .replace("{job_id}", &world.job.to_string())
        .replace("{evaluation_id}", &world.evaluation.to_string())
        .replace("{variant_id}", &world.baseline.to_string())
        .replace("{ordinal}", "1")
        .replace("{token_id}", &world.token_ids["expired"]);
    assert!(!path.contains('{'), "a parameter without a value: {path}");
    let ask = Ask::new(route.method.clone(), path);
    match (&route.method, route.path) {
        (&Method::POST, "/api/v1/blobs") => ask.bytes(format!("blob {number}")),
        (&Method::POST, "/api/v1/projects/{project}/blobs:missing") => {
            ask.json(&json!({"hashes": [ContentHash::of(b"nobody has this")]}))
        }
        (&Method::POST, "/api/v1/jobs") => ask.json(&submission(&format!("r{number}"))),
        (&Method::POST, "/api/v1/tokens") => {
            ask.json(&json!({"name": "ci", "role": "viewer", "project": "qa"}))
        }
        _ => ask,
    }
}

/// A submission of the project `qa`, whose one file is there.
pub fn submission(request_id: &str) -> serde_json::Value {
    json!({
        "request_id": request_id,
        "project": "qa",
        "files": {"fapo.yaml": ContentHash::of(b"qa")},
        "goal": {"goal": "optimize"},
    })
}
