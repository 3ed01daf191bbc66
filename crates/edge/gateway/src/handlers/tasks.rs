//! Tasks that failed for good.

use axum::response::Response;
use fapo_domain::model::access::Role;

use crate::call::{self, Call};
use crate::problem::Problem;
use crate::route::{Access, Answer, BodySpec, Content, Patience, Route, Verb, common, schema};
use crate::views::{Page, RetriedView, TaskView};

pub(crate) const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/api/v1/jobs/{job_id}/tasks/dead",
        name: "list_dead_tasks",
        tag: "tasks",
        about: "The job's tasks that failed for good, and why.",
        access: Access::Role(Role::Viewer),
        path_params: &[common::JOB],
        query: &[],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: "All of them.",
            content: Content::Json(schema::<Page<TaskView>>),
        },
        failures: &[],
        handler: |call| Box::pin(dead(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/api/v1/jobs/{job_id}/tasks/retry",
        name: "retry_dead_tasks",
        tag: "tasks",
        about: "Puts the job's dead tasks back, and the job runs again. Where there are none nothing is changed.",
        access: Access::Role(Role::Submitter),
        path_params: &[common::JOB],
        query: &[],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: "How many there were.",
            content: Content::Json(schema::<RetriedView>),
        },
        failures: &[409, 422],
        handler: |call| Box::pin(retry(call)),
    },
];

async fn dead(call: Call) -> Result<Response, Problem> {
    let job = call.job()?;
    let optimizer = &call.api.ports.optimizer;
    let tasks = optimizer.dead_tasks(&call.caller, job).await?;
    call::ok(&Page::<TaskView>::whole(tasks))
}

async fn retry(call: Call) -> Result<Response, Problem> {
    let job = call.job()?;
    let optimizer = &call.api.ports.optimizer;
    let retried = optimizer.retry_dead_tasks(&call.caller, job).await?;
    call::ok(&RetriedView { retried })
}
