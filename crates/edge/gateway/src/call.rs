//! A request that passed all checks, as handlers see it.

use std::str::FromStr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fapo_domain::ids::{EvaluationId, JobId, VariantId};
use fapo_domain::model::access::Caller;
use fapo_domain::model::evaluation::EvaluationSpec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body;
use crate::params::Values;
use crate::problem::Problem;
use crate::router::Api;

/// The call of a route.
pub(crate) struct Call {
    pub api: Arc<Api>,
    pub caller: Caller,
    pub path: Values,
    pub query: Values,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// A part of the path. Paths are matched and checked before a handler runs, so it is there.
    fn part<T: FromStr>(&self, name: &'static str) -> Result<T, Problem> {
        self.path
            .get(name)
            .ok_or_else(|| Problem::not_found("the path's", name))
    }

    /// The job that the path names. Whether it is the caller's is asked by whoever reads it.
    pub(crate) fn job(&self) -> Result<JobId, Problem> {
        self.part("job_id")
    }

    /// The variant that the path names.
    pub(crate) fn variant(&self) -> Result<VariantId, Problem> {
        self.part("variant_id")
    }

    /// A text of the path.
    pub(crate) fn text(&self, name: &'static str) -> Result<String, Problem> {
        self.part(name)
    }

    /// A number of the path.
    pub(crate) fn number(&self, name: &'static str) -> Result<u64, Problem> {
        self.part(name)
    }

    /// The evaluation that the path names, once it is sure that its job is the path's, and the job the caller's. One of
    /// another job does not exist, whoever owns that.
    pub(crate) async fn evaluation(&self) -> Result<(EvaluationId, EvaluationSpec), Problem> {
        let job = self.job()?;
        let id: EvaluationId = self.part("evaluation_id")?;
        self.api.ports.optimizer.job(&self.caller, job).await?;
        let spec = self.api.ports.queries.evaluation(id).await?;
        match spec.filter(|spec| spec.job == job) {
            Some(spec) => Ok((id, spec)),
            None => Err(Problem::not_found("evaluation", id)),
        }
    }

    /// How many items were asked for, `default` where nothing was said.
    pub(crate) fn limit(&self, default: u32) -> u32 {
        self.query.get("limit").unwrap_or(default)
    }

    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        body::json(&self.body)
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Problem::internal("RESULT_UNWRITABLE", &error.to_string()))?;
    Ok((status, [(header::CONTENT_TYPE, body::JSON)], bytes).into_response())
}

/// A JSON answer with status 200.
pub(crate) fn ok(value: &impl Serialize) -> Result<Response, Problem> {
    json(StatusCode::OK, value)
}
