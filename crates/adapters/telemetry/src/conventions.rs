//! What `tracing` cannot say, put right before it is sent.

use fapo_domain::telemetry;
use opentelemetry::{Array, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;

/// Makes a list of the reasons for which a model stopped: `tracing` has only single values.
pub(crate) fn conform(span: &mut SpanData) {
    for attribute in &mut span.attributes {
        if attribute.key.as_str() == telemetry::GEN_AI_FINISH_REASONS
            && let Value::String(reason) = &attribute.value
        {
            let reasons: Vec<StringValue> = vec![reason.clone()];
            attribute.value = Value::Array(Array::String(reasons));
        }
    }
}
