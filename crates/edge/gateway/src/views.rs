//! What the API writes and reads, as JSON: the contract with clients, apart from the domain's own types, which may change.
//!
//! Times are RFC 3339 in UTC, money is whole micro-dollars, ids and hashes are texts, `null` says that something is not known.
//! Clients must pass over fields that they do not know: more may come.

mod diagnosis;
mod evaluation;
mod job;
mod lineage;
mod run;
mod session;
mod token;

use fapo_domain::clock::Timestamp;
use fapo_domain::money::Spend;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::params::MAX_INTEGER;

pub(crate) use diagnosis::{AttributionView, FindingView};
pub(crate) use evaluation::{AggregateView, EvaluationView};
pub(crate) use job::{
    BlobView, EventView, HashesBody, HashesView, JobView, RetriedView, SubmitBody, TaskView,
};
pub(crate) use lineage::{LineageView, VariantView};
pub(crate) use run::{RunSummaryView, RunView};
pub(crate) use session::SessionView;
pub(crate) use token::{MadeTokenView, TokenBody, TokenView};

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub(crate) struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to ask on with (as `after`, `before` or `after_seq`, as the route has it); `null` at the end.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// All there is.
    pub(crate) fn whole(items: impl IntoIterator<Item = impl Into<T>>) -> Self {
        Self {
            items: items.into_iter().map(Into::into).collect(),
            next: None,
        }
    }
}

/// A moment, written as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub Timestamp);

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ends = if self.0.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        };
        let time = jiff::Timestamp::from_millisecond(self.0.0).unwrap_or(ends);
        serializer.collect_str(&time)
    }
}

impl JsonSchema for Moment {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// What some work cost: calls that reached a provider only.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(crate) struct SpendView {
    /// Money, in millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// Model calls that were answered.
    pub model_calls: u64,
    /// Tokens of the requests.
    pub input_tokens: u64,
    /// Tokens of the replies, hidden reasoning included.
    pub output_tokens: u64,
    /// Those of the requests that the provider had in its prompt cache.
    pub cached_input_tokens: u64,
    /// Those of the replies that are hidden reasoning.
    pub reasoning_tokens: u64,
}

impl From<Spend> for SpendView {
    fn from(spend: Spend) -> Self {
        Self {
            cost_micro_usd: spend.cost.0,
            model_calls: spend.model_calls,
            input_tokens: spend.usage.input_tokens,
            output_tokens: spend.usage.output_tokens,
            cached_input_tokens: spend.usage.cached_input_tokens,
            reasoning_tokens: spend.usage.reasoning_tokens,
        }
    }
}

/// Reads a whole number that may be left away. `3.0` is one, as it is to JSON Schema and to languages that have one kind of
/// number only.
pub(crate) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let from_float = || {
        let float = number.as_f64()?;
        ((0.0..=MAX_INTEGER as f64).contains(&float) && float.fract() == 0.0)
            .then_some(float as u64)
    };
    match number.as_u64().or_else(from_float) {
        Some(whole) if whole <= MAX_INTEGER => Ok(Some(whole)),
        _ => Err(D::Error::custom(format!(
            "{number} is no whole number from 0 to {MAX_INTEGER}"
        ))),
    }
}

/// The schema of a UUID.
pub(crate) fn uuid(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "uuid"})
}

/// The schema of an object of which only its `kind` is promised.
pub(crate) fn tagged_by_kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"type": "string"}},
    })
}
