//! A job's evaluations: their figures, runs, and what their failures say.

use axum::response::Response;
use fapo_domain::ids::{CaseId, StepId};
use fapo_domain::model::access::Role;
use fapo_domain::model::trace::RunStatus;
use fapo_domain::ports::traces::{RunFilter, StepsOf};

use crate::call::{self, Call};
use crate::params::{Kind, MAX_INTEGER, Param};
use crate::problem::Problem;
use crate::route::{
    Access, Answer, BodySpec, Content, Patience, Route, SchemaOf, Verb, common, schema,
};
use crate::views::{
    AggregateView, AttributionView, EvaluationView, FindingView, Page, RunSummaryView, RunView,
};

/// Items on a page where nothing was said.
const PAGE: u64 = 50;

/// A route that reads something of one evaluation.
const fn read(
    path: &'static str,
    name: &'static str,
    about: &'static str,
    query: &'static [Param],
    (answer, schema): (&'static str, SchemaOf),
    handler: fn(Call) -> futures::future::BoxFuture<'static, Result<Response, Problem>>,
) -> Route {
    Route {
        verb: Verb::Get,
        path,
        name,
        tag: "evaluations",
        about,
        access: Access::Role(Role::Viewer),
        path_params: &[common::JOB, common::EVALUATION],
        query,
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: answer,
            content: Content::Json(schema),
        },
        failures: &[],
        handler,
    }
}

const AFTER: Param = common::after(
    "after",
    "Only items after this ordinal: `next` of the page before.",
);

pub(crate) const ROUTES: &[Route] = &[
    Route {
        path_params: &[common::JOB],
        ..read(
            "/api/v1/jobs/{job_id}/evaluations",
            "list_evaluations",
            "A job's evaluations, in order of their first task.",
            &[],
            ("All of them.", schema::<Page<EvaluationView>>),
            |call| Box::pin(list(call)),
        )
    },
    read(
        "/api/v1/jobs/{job_id}/evaluations/{evaluation_id}/aggregate",
        "get_aggregate",
        "Figures of an evaluation and of each of its steps.",
        &[],
        ("The figures.", schema::<AggregateView>),
        |call| Box::pin(aggregate(call)),
    ),
    read(
        "/api/v1/jobs/{job_id}/evaluations/{evaluation_id}/runs",
        "list_runs",
        "Runs of an evaluation by ordinal. All conditions hold together.",
        &[
            Param {
                name: "status",
                kind: Kind::OneOf(&["completed", "failed", "missing", "refused", "timed_out"]),
                about: "Only runs that ended so.",
                example: "failed",
            },
            Param {
                name: "failed_below",
                kind: Kind::Share,
                about: "Only runs that did not complete, or whose score is below this.",
                example: "1",
            },
            Param {
                name: "case_id",
                kind: Kind::Text(256),
                about: "Only the case of this name.",
                example: "case-17",
            },
            Param {
                name: "failed_step",
                kind: Kind::Text(256),
                about: "Only runs where this step failed.",
                example: "answer",
            },
            Param {
                name: "output_contains",
                kind: Kind::Text(256),
                about: "Only runs whose output contains this, whatever its case of letters.",
                example: "unknown",
            },
            AFTER,
            common::limit(PAGE, 500),
        ],
        ("A page of runs.", schema::<Page<RunSummaryView>>),
        |call| Box::pin(runs(call)),
    ),
    Route {
        path_params: &[
            common::JOB,
            common::EVALUATION,
            Param {
                name: "ordinal",
                kind: Kind::Integer {
                    min: 0,
                    max: MAX_INTEGER,
                    default: None,
                },
                about: "The case's place in its split.",
                example: "0",
            },
        ],
        ..read(
            "/api/v1/jobs/{job_id}/evaluations/{evaluation_id}/runs/{ordinal}",
            "get_run",
            "A run with all its steps.",
            &[],
            ("The run.", schema::<RunView>),
            |call| Box::pin(run(call)),
        )
    },
    read(
        "/api/v1/jobs/{job_id}/evaluations/{evaluation_id}/attribution",
        "get_attribution",
        "Which steps lost the points of an evaluation. Only of those that were attributed, which are the train split's.",
        &[],
        ("The attribution.", schema::<AttributionView>),
        |call| Box::pin(attribution(call)),
    ),
    read(
        "/api/v1/jobs/{job_id}/evaluations/{evaluation_id}/findings",
        "list_findings",
        "Why each failed case of an evaluation lost points, by ordinal.",
        &[AFTER, common::limit(PAGE, 500)],
        ("A page of findings.", schema::<Page<FindingView>>),
        |call| Box::pin(findings(call)),
    ),
];

async fn list(call: Call) -> Result<Response, Problem> {
    let job = call.job()?;
    let ports = &call.api.ports;
    ports.optimizer.job(&call.caller, job).await?;
    let evaluations = ports.queries.evaluations(job).await?;
    call::ok(&Page::<EvaluationView>::whole(evaluations))
}

async fn aggregate(call: Call) -> Result<Response, Problem> {
    let (id, _) = call.evaluation().await?;
    let aggregate = call.api.ports.queries.aggregate(id).await?;
    call::ok(&AggregateView::from(aggregate))
}

/// The status of a name in the table above.
fn status_of(name: &str) -> Option<RunStatus> {
    Some(match name {
        "completed" => RunStatus::Completed,
        "failed" => RunStatus::Failed,
        "missing" => RunStatus::Missing,
        "refused" => RunStatus::Refused,
        "timed_out" => RunStatus::TimedOut,
        _ => return None,
    })
}

/// The first ordinal of a page.
fn from(call: &Call) -> u64 {
    let after: Option<u64> = call.query.get("after");
    after.map_or(0, |after| after + 1)
}

async fn runs(call: Call) -> Result<Response, Problem> {
    let (id, _) = call.evaluation().await?;
    let query = &call.query;
    let filter = RunFilter {
        status: query.text("status").and_then(status_of),
        failed_below: query.get("failed_below"),
        case_id: query.text("case_id").map(CaseId::new),
        failed_step: query.text("failed_step").map(StepId::new),
        output_contains: query.text("output_contains").map(str::to_owned),
    };
    let limit = call.limit(PAGE as u32);
    let queries = &call.api.ports.queries;
    let runs = queries.search(id, &filter, from(&call), limit).await?;
    let full = runs.len() as u64 >= u64::from(limit);
    let next = runs
        .last()
        .filter(|_| full)
        .map(|run| run.ordinal.to_string());
    call::ok(&Page {
        items: runs.into_iter().map(RunSummaryView::from).collect(),
        next,
    })
}

async fn run(call: Call) -> Result<Response, Problem> {
    let (id, _) = call.evaluation().await?;
    let ordinal = call.number("ordinal")?;
    let traces = &call.api.ports.traces;
    let mut runs = traces.runs(id, &[ordinal], StepsOf::All).await?;
    match runs.pop() {
        Some(run) => call::ok(&RunView::from(run)),
        None => Err(Problem::not_found("run", ordinal)),
    }
}

async fn attribution(call: Call) -> Result<Response, Problem> {
    let (id, _) = call.evaluation().await?;
    match call.api.ports.findings.attribution(id).await? {
        Some(attribution) => call::ok(&AttributionView::from(attribution)),
        None => Err(Problem::not_found("an attribution of evaluation", id)),
    }
}

async fn findings(call: Call) -> Result<Response, Problem> {
    let (id, _) = call.evaluation().await?;
    let first = from(&call);
    let limit = call.limit(PAGE as u32) as usize;
    let findings = call.api.ports.findings.findings(id).await?;
    let mut rest = findings
        .into_iter()
        .filter(|finding| finding.ordinal >= first)
        .peekable();
    let mut items: Vec<FindingView> = rest.by_ref().take(limit).map(Into::into).collect();
    // a page ends between two cases, so that `after` can name where the next begins
    while let Some(last) = items.last().map(|last| last.ordinal) {
        match rest.next_if(|finding| finding.ordinal == last) {
            Some(finding) => items.push(finding.into()),
            None => break,
        }
    }
    let next = rest
        .peek()
        .and_then(|_| items.last())
        .map(|last| last.ordinal.to_string());
    call::ok(&Page { items, next })
}
