//! Paths in the document that need no token and are no part of the API.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::Schemas;

/// What a role says of itself when it is asked whether it can work.
#[derive(Serialize, JsonSchema)]
struct Readiness {
    /// Whether it can work.
    ready: bool,
    /// Whether it is about to end.
    stopping: bool,
    /// What it needs, each with `ok`, `failed` or `timed_out`.
    checks: std::collections::BTreeMap<String, String>,
}

/// What a role says of itself when it is asked whether it is there.
#[derive(Serialize, JsonSchema)]
struct Liveness {
    /// That it is.
    alive: bool,
}

/// The paths that need no token and are no part of the API.
pub(super) fn operation_paths(schemas: &mut Schemas) -> [(&'static str, Json); 4] {
    let path = |name: &str, about: &str, answers: &[(u16, &str, &str, Json)]| {
        let mut responses = Map::new();
        for (status, about, media_type, schema) in answers {
            let content = json!({*media_type: {"schema": schema}});
            responses.insert(
                status.to_string(),
                json!({"description": about, "content": content}),
            );
        }
        json!({"get": {
            "operationId": name, "tags": ["operation"], "summary": about, "security": [], "responses": responses,
        }})
    };
    let json_type = "application/json";
    let alive = json!(schemas.written::<Liveness>());
    let ready = json!(schemas.written::<Readiness>());
    [
        (
            "/healthz",
            path(
                "get_health",
                "Whether the process is alive",
                &[(200, "It is.", json_type, alive)],
            ),
        ),
        (
            "/readyz",
            path(
                "get_readiness",
                "Whether the process can work",
                &[
                    (200, "It can.", json_type, ready.clone()),
                    (
                        503,
                        "It cannot: something that it needs is away, or it is about to end.",
                        json_type,
                        ready,
                    ),
                ],
            ),
        ),
        (
            "/metrics",
            path(
                "get_metrics",
                "The process's figures, in Prometheus' text format",
                &[(200, "The figures.", "text/plain", json!({"type": "string"}))],
            ),
        ),
        (
            "/openapi.json",
            path(
                "get_openapi",
                "This document",
                &[(200, "The document.", json_type, json!({"type": "object"}))],
            ),
        ),
    ]
}
