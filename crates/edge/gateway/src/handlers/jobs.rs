//! Jobs: submit, look, list, cancel, pause, resume, report.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fapo_domain::model::access::Role;
use fapo_domain::ports::optimizer::{JobFilter, Manifest, ReportFormat, Submission};
use serde_json::json;

use crate::call::{self, Call};
use crate::params::{Kind, Param, is_name};
use crate::problem::{Problem, ProblemPart};
use crate::route::{Access, Answer, BodySpec, Content, Patience, Route, Verb, common, schema};
use crate::views::{JobView, Page, SubmitBody};

/// Jobs on a page where nothing was said.
const PAGE: u64 = 20;
/// Characters of a request id.
const MAX_REQUEST_ID: usize = 64;

const JOB_ANSWER: Answer = Answer {
    status: 200,
    about: "The job as it stands.",
    content: Content::Json(schema::<JobView>),
};

/// A route that changes one job and answers with it.
const fn change(
    path: &'static str,
    name: &'static str,
    about: &'static str,
    handler: fn(Call) -> futures::future::BoxFuture<'static, Result<Response, Problem>>,
) -> Route {
    Route {
        verb: Verb::Post,
        path,
        name,
        tag: "jobs",
        about,
        access: Access::Role(Role::Submitter),
        path_params: &[common::JOB],
        query: &[],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: JOB_ANSWER,
        failures: &[409, 422],
        handler,
    }
}

pub(crate) const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Post,
        path: "/api/v1/jobs",
        name: "submit_job",
        tag: "jobs",
        about: "Submits a job. All or nothing. Sent again with the same request id and content it gives the same job.",
        access: Access::Role(Role::Submitter),
        path_params: &[],
        query: &[],
        headers: &[Param {
            name: "Idempotency-Key",
            kind: Kind::Text(MAX_REQUEST_ID),
            about: "The request id, where the body has none.",
            example: "nightly-2026-11-25",
        }],
        body: BodySpec::Json {
            schema: schema::<SubmitBody>,
            example: || {
                json!({
                    "request_id": "nightly-2026-11-25",
                    "project": "qa",
                    "files": {
                        "fapo.yaml": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
                    },
                    "goal": {"goal": "optimize"},
                })
            },
        },
        patience: Patience::Upload,
        answer: Answer {
            status: 201,
            about: "The job; `Location` has its path.",
            content: Content::Json(schema::<JobView>),
        },
        failures: &[404, 409, 422],
        handler: |call| Box::pin(submit(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/api/v1/jobs",
        name: "list_jobs",
        tag: "jobs",
        about: "Jobs, newest first. A token of one project lists that project's, whatever is asked.",
        access: Access::Role(Role::Viewer),
        path_params: &[],
        query: &[
            Param {
                name: "project",
                kind: Kind::Name,
                about: "Only this project's.",
                example: "qa",
            },
            Param {
                name: "before",
                kind: Kind::Uuid,
                about: "Only those created before this one: `next` of the page before.",
                example: "019a2b3c-4d5e-7f00-8a1b-2c3d4e5f6071",
            },
            common::limit(PAGE, 100),
        ],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: "A page of jobs.",
            content: Content::Json(schema::<Page<JobView>>),
        },
        failures: &[],
        handler: |call| Box::pin(list(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/api/v1/jobs/{job_id}",
        name: "get_job",
        tag: "jobs",
        about: "A job.",
        access: Access::Role(Role::Viewer),
        path_params: &[common::JOB],
        query: &[],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: JOB_ANSWER,
        failures: &[],
        handler: |call| Box::pin(get(call)),
    },
    change(
        "/api/v1/jobs/{job_id}/cancel",
        "cancel_job",
        "Ends a job for good. One that is final already stays as it is.",
        |call| Box::pin(cancel(call)),
    ),
    change(
        "/api/v1/jobs/{job_id}/pause",
        "pause_job",
        "Pauses a job: work under way ends, nothing new is begun.",
        |call| Box::pin(set_paused(call, true)),
    ),
    change(
        "/api/v1/jobs/{job_id}/resume",
        "resume_job",
        "Resumes a paused job.",
        |call| Box::pin(set_paused(call, false)),
    ),
    Route {
        verb: Verb::Get,
        path: "/api/v1/jobs/{job_id}/report",
        name: "get_report",
        tag: "jobs",
        about: "The job's report as it stands.",
        access: Access::Role(Role::Viewer),
        path_params: &[common::JOB],
        query: &[Param {
            name: "format",
            kind: Kind::OneOf(&["markdown", "html", "json"]),
            about: "What it is written as; Markdown where absent.",
            example: "markdown",
        }],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: "The report.",
            content: Content::Report,
        },
        failures: &[422],
        handler: |call| Box::pin(report(call)),
    },
];

/// The request id: the header's or the body's, and where both are there they are the same.
fn request_id(call: &Call, body: Option<String>) -> Result<String, Problem> {
    let field = "Idempotency-Key";
    let header = match call.headers.get("idempotency-key") {
        None => None,
        Some(value) => Some(value.to_str().map(str::to_owned).map_err(|_| {
            Problem::invalid_field(field, "has characters other than those of ASCII")
        })?),
    };
    let (field, id) = match (header, body) {
        (Some(header), Some(body)) if header != body => {
            return Err(Problem::invalid_field(
                "request_id",
                "differs from the header Idempotency-Key: send one of the two",
            ));
        }
        (_, Some(body)) => ("request_id", body),
        (Some(header), None) => (field, header),
        (None, None) => {
            return Err(Problem::invalid_field(
                "request_id",
                "is needed, here or as the header Idempotency-Key, so that a repeated request is one job",
            ));
        }
    };
    let length = id.chars().count();
    if length == 0 || length > MAX_REQUEST_ID || id.chars().any(char::is_control) {
        return Err(Problem::invalid_field(
            field,
            format!(
                "1 to {MAX_REQUEST_ID} characters are needed, none of them a control character"
            ),
        ));
    }
    Ok(id)
}

async fn submit(call: Call) -> Result<Response, Problem> {
    let body: SubmitBody = call.json()?;
    let request_id = request_id(&call, body.request_id)?;
    let mut wrong = Vec::new();
    if !is_name(&body.project) {
        wrong.push(ProblemPart::new(
            "project",
            "1 to 64 letters, digits, `-` and `_` are needed",
        ));
    }
    for path in body.files.keys() {
        if path.is_empty() || path.chars().any(char::is_control) {
            wrong.push(ProblemPart::new(
                "files",
                format!("{path:?} is no path: it is empty, or has control characters"),
            ));
        }
    }
    let goal = match body.goal.goal() {
        Ok(goal) if wrong.is_empty() => goal,
        goal => {
            wrong.extend(goal.err().map(|part| *part));
            return Err(Problem::invalid(wrong));
        }
    };
    if !call.caller.sees(&body.project) {
        return Err(Problem::not_found("project", body.project));
    }
    let submission = Submission {
        request_id,
        project: body.project,
        files: Manifest(body.files),
        goal,
    };
    let ports = &call.api.ports;
    let trace = ports.trace_context.current();
    let job = ports
        .optimizer
        .submit(&call.caller, submission, trace)
        .await?;
    let location = format!("/api/v1/jobs/{}", job.id);
    let mut response = call::json(StatusCode::CREATED, &JobView::from(job))?;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn list(call: Call) -> Result<Response, Problem> {
    let filter = JobFilter {
        project: call.query.text("project").map(str::to_owned),
        before: call.query.get("before"),
        limit: call.limit(PAGE as u32),
    };
    let jobs = call.api.ports.optimizer.jobs(&call.caller, &filter).await?;
    let full = jobs.len() as u64 >= u64::from(filter.limit);
    let next = jobs.last().filter(|_| full).map(|job| job.id.to_string());
    call::ok(&Page {
        items: jobs.into_iter().map(JobView::from).collect(),
        next,
    })
}

async fn get(call: Call) -> Result<Response, Problem> {
    let job = call.job()?;
    let job = call.api.ports.optimizer.job(&call.caller, job).await?;
    call::ok(&JobView::from(job))
}

async fn cancel(call: Call) -> Result<Response, Problem> {
    let job = call.job()?;
    let job = call.api.ports.optimizer.cancel(&call.caller, job).await?;
    call::ok(&JobView::from(job))
}

async fn set_paused(call: Call, paused: bool) -> Result<Response, Problem> {
    let job = call.job()?;
    let optimizer = &call.api.ports.optimizer;
    let job = optimizer.set_paused(&call.caller, job, paused).await?;
    call::ok(&JobView::from(job))
}

/// Scripts and everything from elsewhere are shut out of a report, whatever a model or a case has written into it.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn report(call: Call) -> Result<Response, Problem> {
    let (format, media_type) = match call.query.text("format") {
        Some("html") => (ReportFormat::Html, "text/html; charset=utf-8"),
        Some("json") => (ReportFormat::Json, "application/json"),
        _ => (ReportFormat::Markdown, "text/markdown; charset=utf-8"),
    };
    let job = call.job()?;
    let optimizer = &call.api.ports.optimizer;
    let report = optimizer.report(&call.caller, job, format).await?;
    let mut response = ([(header::CONTENT_TYPE, media_type)], report).into_response();
    if format == ReportFormat::Html {
        response.headers_mut().insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(REPORT_POLICY),
        );
    }
    Ok(response)
}
