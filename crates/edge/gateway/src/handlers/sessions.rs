//! Sessions of coding agents.

use axum::response::Response;
use fapo_domain::model::access::Role;

use crate::call::{self, Call};
use crate::problem::Problem;
use crate::route::{Access, Answer, BodySpec, Content, Patience, Route, Verb, common, schema};
use crate::views::{Page, SessionView};

pub(crate) const ROUTES: &[Route] = &[Route {
    verb: Verb::Get,
    path: "/api/v1/jobs/{job_id}/sessions",
    name: "list_sessions",
    tag: "sessions",
    about: "Sessions of coding agents that the job paid for, in order of their start; without their transcripts.",
    access: Access::Role(Role::Viewer),
    path_params: &[common::JOB],
    query: &[],
    headers: &[],
    body: BodySpec::None,
    patience: Patience::Usual,
    answer: Answer {
        status: 200,
        about: "All of them.",
        content: Content::Json(schema::<Page<SessionView>>),
    },
    failures: &[],
    handler: |call| Box::pin(list(call)),
}];

async fn list(call: Call) -> Result<Response, Problem> {
    let job = call.job()?;
    let ports = &call.api.ports;
    ports.optimizer.job(&call.caller, job).await?;
    let sessions = ports.sessions.sessions(job).await?;
    call::ok(&Page::<SessionView>::whole(sessions))
}
