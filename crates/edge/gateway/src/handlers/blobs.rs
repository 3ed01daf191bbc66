//! Contents of projects' files, by their hash.

use axum::http::StatusCode;
use axum::response::Response;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::access::Role;
use serde_json::json;

use crate::call::{self, Call};
use crate::params::{Kind, Param};
use crate::problem::Problem;
use crate::route::{Access, Answer, BodySpec, Content, Patience, Route, Verb, schema};
use crate::views::{BlobView, HashesBody, HashesView};

/// Hashes that are looked up in one call.
const MAX_HASHES: usize = 10_000;

pub(crate) const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Post,
        path: "/api/v1/projects/{project}/blobs:missing",
        name: "list_missing_blobs",
        tag: "blobs",
        about: "Which of a project's files are to be uploaded.",
        access: Access::Role(Role::Submitter),
        path_params: &[Param {
            name: "project",
            kind: Kind::Name,
            about: "The project's name.",
            example: "qa",
        }],
        query: &[],
        headers: &[],
        body: BodySpec::Json {
            schema: schema::<HashesBody>,
            example: || {
                json!({"hashes": [
                    "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
                ]})
            },
        },
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: "Those that are not stored yet, in order.",
            content: Content::Json(schema::<HashesView>),
        },
        failures: &[],
        handler: |call| Box::pin(missing(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/api/v1/blobs",
        name: "upload_blob",
        tag: "blobs",
        about: "Stores a content. Repeating is harmless: the same content is the same blob.",
        access: Access::Role(Role::Submitter),
        path_params: &[],
        query: &[Param {
            name: "sha256",
            kind: Kind::Hash,
            about: "What its SHA-256 must be: a content that was damaged on its way is refused.",
            example: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        }],
        headers: &[],
        body: BodySpec::Bytes,
        patience: Patience::Upload,
        answer: Answer {
            status: 201,
            about: "It is stored.",
            content: Content::Json(schema::<BlobView>),
        },
        failures: &[],
        handler: |call| Box::pin(upload(call)),
    },
];

async fn missing(call: Call) -> Result<Response, Problem> {
    let project = call.text("project")?;
    if !call.caller.sees(&project) {
        return Err(Problem::not_found("project", project));
    }
    let body: HashesBody = call.json()?;
    if body.hashes.len() > MAX_HASHES {
        return Err(Problem::invalid_field(
            "hashes",
            format!(
                "has {} hashes; ask for {MAX_HASHES} at a time",
                body.hashes.len()
            ),
        ));
    }
    let optimizer = &call.api.ports.optimizer;
    let missing = optimizer.missing_blobs(&call.caller, &body.hashes).await?;
    call::ok(&HashesView { missing })
}

async fn upload(call: Call) -> Result<Response, Problem> {
    let hash = ContentHash::of(&call.body);
    if call.query.hash("sha256").is_some_and(|said| said != hash) {
        return Err(Problem::invalid_field(
            "sha256",
            format!("is not that of the body, which has {hash}: send the content again"),
        ));
    }
    let size = call.body.len() as u64;
    let optimizer = &call.api.ports.optimizer;
    optimizer
        .upload_blobs(&call.caller, vec![call.body.as_ref().into()])
        .await?;
    call::json(StatusCode::CREATED, &BlobView { sha256: hash, size })
}
