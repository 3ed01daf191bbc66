//! How domain values stand in columns, alike in every back end: names of enum values, amounts, places in a trace.

use fapo_domain::hash::ContentHash;
use fapo_domain::model::access::{Role, TokenRecord};
use fapo_domain::model::trace_context::TraceParent;

use crate::codec;
use crate::error::Failure;

/// A count as a signed 64-bit column holds it: it saturates at the largest (2^63 - 1).
pub(crate) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Names of an enum's values, as they stand in columns.
macro_rules! names {
    ($($function:ident / $back:ident: $type:ty { $($variant:ident = $name:literal),+ $(,)? })+) => {$(
        pub(crate) const fn $function(value: $type) -> &'static str {
            match value {
                $(<$type>::$variant => $name,)+
            }
        }

        pub(crate) fn $back(name: &str) -> Result<$type, Failure> {
            match name {
                $($name => Ok(<$type>::$variant),)+
                other => Err(Failure::corrupt(format!(
                    concat!("no ", stringify!($type), " is called {:?}"), other
                ))),
            }
        }
    )+};
}

names! {
    run_status / to_run_status: fapo_domain::model::trace::RunStatus {
        Completed = "completed", Failed = "failed", Missing = "missing", Refused = "refused", TimedOut = "timed_out",
    }
    step_status / to_step_status: fapo_domain::model::trace::StepStatus {
        Ok = "ok", Skipped = "skipped", Failed = "failed",
    }
    finish_reason / to_finish_reason: fapo_domain::model::trace::FinishReason {
        Stop = "stop", Length = "length", Refusal = "refusal", ToolCall = "tool_call", Other = "other",
    }
    score_status / to_score_status: fapo_domain::model::score::ScoreStatus {
        Scored = "scored", Failed = "failed", Missing = "missing", Refused = "refused", TimedOut = "timed_out",
    }
    spend_role / to_spend_role: fapo_domain::money::SpendRole {
        Task = "task", Judge = "judge", Diagnosis = "diagnosis", Proposer = "proposer", Reviewer = "reviewer",
    }
    task_state / to_task_state: fapo_domain::model::task::TaskState {
        Queued = "queued", Leased = "leased", Done = "done", Dead = "dead", Cancelled = "cancelled",
    }
    topic / to_topic: fapo_domain::model::task::Topic {
        Job = "job", Execute = "execute", Score = "score", Diagnose = "diagnose", Propose = "propose", Review = "review",
    }
    job_status / to_job_status: fapo_domain::model::job::JobStatus {
        Running = "running", Done = "done", Failed = "failed", Cancelled = "cancelled",
    }
}

/// A token's role, as it stands in a column.
pub(crate) fn to_role(name: &str) -> Result<Role, Failure> {
    Role::of(name).ok_or_else(|| Failure::corrupt(format!("no role is called {name:?}")))
}

/// The hash that a token is found by.
pub(crate) fn token_hash(token: &TokenRecord) -> Result<ContentHash, Failure> {
    token
        .hash
        .ok_or_else(|| Failure::invalid("a token without its hash cannot be stored"))
}

/// A `traceparent` as it stands in a column.
pub(crate) fn to_trace(text: Option<&str>) -> Result<Option<TraceParent>, Failure> {
    text.map(|text| {
        text.parse()
            .map_err(|error| Failure::Corrupt(Box::new(error)))
    })
    .transpose()
}

/// The name of an enum value that is written by serde only, such as a level.
pub(crate) fn serde_name<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        _ => Err(Failure::invalid("an enum value without a name")),
    }
}

/// The value of such a name.
pub(crate) fn from_serde_name<T: serde::de::DeserializeOwned>(name: String) -> Result<T, Failure> {
    serde_json::from_value(serde_json::Value::String(name))
        .map_err(|error| Failure::Corrupt(Box::new(error)))
}

/// A spend as it stands beside another: as an array of its numbers, or nothing where both are the same.
pub(crate) fn full_spend(
    full: &fapo_domain::Spend,
    spend: &fapo_domain::Spend,
) -> Result<Option<String>, Failure> {
    if full == spend {
        return Ok(None);
    }
    let usage = full.usage;
    codec::to_text(&[
        full.cost.0,
        full.model_calls,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
    ])
    .map(Some)
}

/// Reads what [`full_spend`] wrote.
pub(crate) fn to_full_spend(
    full: Option<&str>,
    spend: fapo_domain::Spend,
) -> Result<fapo_domain::Spend, Failure> {
    let Some(text) = full else { return Ok(spend) };
    let [
        cost,
        model_calls,
        input_tokens,
        output_tokens,
        cached_input_tokens,
        reasoning_tokens,
    ] = codec::from_json(text.as_bytes())?;
    Ok(fapo_domain::Spend {
        cost: fapo_domain::MicroUsd(cost),
        model_calls,
        usage: fapo_domain::Usage {
            input_tokens,
            output_tokens,
            cached_input_tokens,
            reasoning_tokens,
        },
    })
}

/// Refuses a score outside the unit interval, which would break every mean, and what is no number at all.
pub(crate) fn check_score(score: &fapo_domain::model::score::CaseScore) -> Result<(), Failure> {
    if (0.0..=1.0).contains(&score.score) {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "the score {} of case {} is not between 0 and 1",
        score.score, score.case_id
    )))
}
