//! Keys of step results: a hash over everything that determines them.
//!
//! The *fingerprint* covers what is the same for every case: the model and how it is reached, the parameters, the schema;
//! or the corpus, its fields, `k` and the retriever's version; and, where the cache may not be shared, the evaluation. The
//! *key* adds what a case brings: the exact messages or queries, and the sample path.
//!
//! Neither covers the case, the step's name or the prompt file. A step whose rendered input is what it was hits, whoever
//! changed what before it: that is how a change stops spreading (early cut-off).

use fapo_domain::hash::{Hasher, canonical_json};
use fapo_domain::model::project::{ModelSpec, Provider};
use fapo_domain::ports::models::Message;
use fapo_domain::{ContentHash, EvaluationId, StepFingerprint, StepKey};
use serde_json::Value;

use crate::retrieval::{FieldSet, RETRIEVER_VERSION};

/// Where a step runs among samples: the evaluation's sample index, then the index in each `sample` step around it, the
/// outermost first. Zeros at the end do not count, so the first sample is the result that there is without sampling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SamplePath(Vec<u32>);

impl SamplePath {
    pub(crate) fn new(evaluation: u32) -> Self {
        Self(vec![evaluation])
    }

    /// The path of sample `index` inside.
    pub(crate) fn child(&self, index: u32) -> Self {
        let mut indices = Vec::with_capacity(self.0.len() + 1);
        indices.extend_from_slice(&self.0);
        indices.push(index);
        Self(indices)
    }

    fn significant(&self) -> &[u32] {
        let length = self.0.iter().rposition(|index| *index != 0);
        &self.0[..length.map_or(0, |last| last + 1)]
    }

    /// A number that differs between the samples of one step (of which there are at most 64 at each depth, and mostly no
    /// more evaluations); 0 for the first of all. Like the key it does not count zeros at the end: one key is one request.
    pub(crate) fn offset(&self) -> u64 {
        self.0.iter().rev().fold(0u64, |sum, index| {
            sum.wrapping_mul(64).wrapping_add(u64::from(*index))
        })
    }

    fn hash_into(&self, hasher: &mut Hasher) {
        let indices = self.significant();
        hasher.number(indices.len() as u64);
        for index in indices {
            hasher.number(u64::from(*index));
        }
    }
}

/// What a model is asked with, apart from the messages.
#[derive(Debug)]
pub(crate) struct LlmParameters<'a> {
    pub(crate) model: &'a ModelSpec,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) max_tokens: u32,
    pub(crate) stop: &'a [String],
    pub(crate) seed: Option<u64>,
    pub(crate) schema: Option<&'a Value>,
}

/// The fingerprint of an `llm` step.
pub(crate) fn llm_fingerprint(parameters: &LlmParameters<'_>) -> StepFingerprint {
    let mut hasher = Hasher::new("step-fingerprint/v1");
    hasher.part(b"llm");
    let model = parameters.model;
    hasher.part(match model.provider {
        Provider::Openai => b"openai",
        Provider::Anthropic => b"anthropic",
        Provider::Sim => b"sim",
    });
    text(&mut hasher, model.base_url.as_deref());
    text(&mut hasher, model.address_hash.as_deref());
    hasher.part(model.model.as_bytes());
    text(&mut hasher, model.world.as_deref());
    number(&mut hasher, parameters.temperature.map(f64::to_bits));
    number(&mut hasher, parameters.top_p.map(f64::to_bits));
    hasher.number(u64::from(parameters.max_tokens));
    hasher.number(parameters.stop.len() as u64);
    for stop in parameters.stop {
        hasher.part(stop.as_bytes());
    }
    number(&mut hasher, parameters.seed);
    text(
        &mut hasher,
        parameters.schema.map(canonical_json).as_deref(),
    );
    StepFingerprint(hasher.finish())
}

/// The fingerprint of a `retrieve` step.
pub(crate) fn retrieve_fingerprint(
    corpus: &ContentHash,
    fields: FieldSet,
    k: u32,
) -> StepFingerprint {
    let mut hasher = Hasher::new("step-fingerprint/v1");
    hasher
        .part(b"retrieve")
        .part(RETRIEVER_VERSION.as_bytes())
        .hash(corpus)
        .number(u64::from(fields.title))
        .number(u64::from(fields.text))
        .number(u64::from(k));
    StepFingerprint(hasher.finish())
}

/// The fingerprint under which an evaluation that shares nothing keeps its own results.
pub(crate) fn own_fingerprint(shared: StepFingerprint, own: EvaluationId) -> StepFingerprint {
    let mut hasher = Hasher::new("step-fingerprint-own/v1");
    hasher.hash(&shared.0).hash(&own.0);
    StepFingerprint(hasher.finish())
}

/// The key of an `llm` step's reply.
pub(crate) fn llm_key(
    fingerprint: StepFingerprint,
    messages: &[Message],
    path: &SamplePath,
) -> StepKey {
    let mut hasher = Hasher::new("step-key/v1");
    hasher.hash(&fingerprint.0).number(messages.len() as u64);
    for message in messages {
        hasher
            .part(message.role.as_str().as_bytes())
            .part(message.content.as_bytes());
    }
    path.hash_into(&mut hasher);
    StepKey(hasher.finish())
}

/// The key of a `retrieve` step's documents.
pub(crate) fn retrieve_key<'a>(
    fingerprint: StepFingerprint,
    queries: &[String],
    included: impl Iterator<Item = &'a str>,
) -> StepKey {
    let mut hasher = Hasher::new("step-key/v1");
    hasher.hash(&fingerprint.0).number(queries.len() as u64);
    for query in queries {
        hasher.part(query.as_bytes());
    }
    for document in included {
        hasher.part(document.as_bytes());
    }
    StepKey(hasher.finish())
}

fn text(hasher: &mut Hasher, value: Option<&str>) {
    match value {
        Some(text) => hasher.number(1).part(text.as_bytes()),
        None => hasher.number(0),
    };
}

fn number(hasher: &mut Hasher, value: Option<u64>) {
    match value {
        Some(number) => hasher.number(1).number(number),
        None => hasher.number(0),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn equal_keys_have_equal_offsets_and_other_keys_others() {
        let mut paths = Vec::new();
        for evaluation in [0, 1, 2, 63] {
            let outer = SamplePath::new(evaluation);
            for index in [0, 1, 2, 63] {
                let middle = outer.child(index);
                paths.extend([0, 1, 2, 63].map(|index| middle.child(index)));
                paths.push(middle);
            }
            paths.push(outer);
        }
        let mut offsets = HashMap::new();
        for path in &paths {
            let key = llm_key(StepFingerprint(ContentHash::of(b"f")), &[], path);
            let offset = path.offset();
            assert_eq!(*offsets.entry(key).or_insert(offset), offset, "{path:?}");
        }
        assert_eq!(offsets.len(), 64, "one for each three indices");
        let different: std::collections::HashSet<u64> = offsets.into_values().collect();
        assert_eq!(different.len(), 64);
        assert_eq!(SamplePath::new(1).child(0).offset(), 1);
    }
}
