//! A job's family tree, and the files of its variants.

use axum::response::Response;
use fapo_domain::model::access::Role;

use crate::call::{self, Call};
use crate::problem::Problem;
use crate::route::{Access, Answer, BodySpec, Content, Patience, Route, Verb, common, schema};
use crate::views::{LineageView, VariantView};

pub(crate) const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/api/v1/jobs/{job_id}/lineage",
        name: "get_lineage",
        tag: "lineage",
        about: "A job's variants and what was decided about them.",
        access: Access::Role(Role::Viewer),
        path_params: &[common::JOB],
        query: &[],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: "The family tree.",
            content: Content::Json(schema::<LineageView>),
        },
        failures: &[],
        handler: |call| Box::pin(lineage(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/api/v1/jobs/{job_id}/variants/{variant_id}",
        name: "get_variant",
        tag: "lineage",
        about: "The files of one of the job's variants.",
        access: Access::Role(Role::Viewer),
        path_params: &[common::JOB, common::VARIANT],
        query: &[],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: "The files.",
            content: Content::Json(schema::<VariantView>),
        },
        failures: &[],
        handler: |call| Box::pin(variant(call)),
    },
];

async fn lineage(call: Call) -> Result<Response, Problem> {
    let job = call.job()?;
    let lineage = call.api.ports.optimizer.lineage(&call.caller, job).await?;
    call::ok(&LineageView::from(lineage))
}

async fn variant(call: Call) -> Result<Response, Problem> {
    let (job, variant) = (call.job()?, call.variant()?);
    let optimizer = &call.api.ports.optimizer;
    let tree = optimizer.variant(&call.caller, job, variant).await?;
    call::ok(&VariantView::new(variant, &tree))
}
