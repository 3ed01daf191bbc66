//! One structured question to a model, metered and remembered: what `reflect`, the reviewer and the failure reader share.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::hash::Hasher;
use fapo_domain::model::project::{ModelSpec, ProjectSpec};
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::FinishReason;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::models::{
    ChatRole, Message, Meter, MeteredError, MeteredModels, MeteredReply, ModelRequest, Waits,
};
use fapo_domain::ports::work::WorkError;
use fapo_domain::{JobId, StepFingerprint, StepKey};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

/// How long a call that is under way may go on once a stop is asked for: its reply is paid for, and is stored.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// The same for a coding agent's session. It ends by itself: its process is killed, its tools and its relay are closed, which may
/// take 5 and 20 seconds, and it is recorded. Whoever asks for it must leave it that time, or its record is lost.
pub(crate) const SESSION_DRAIN: Duration = Duration::from_secs(40);

/// Who asks, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// `proposer`, `reviewer` or `reader`: a part of the key, so that equal words asked by two are two questions.
    pub purpose: &'static str,
    /// As whom it spends.
    pub role: SpendRole,
    /// The job that pays.
    pub job: JobId,
    /// The claimed task that asks.
    pub fence: Fence,
    /// What else tells this question from the same words at another time: the same task meets its own reply again.
    pub about: &'a [u64],
    /// The least tokens of a reply, whatever the model's entry says.
    pub least_reply: u32,
}

/// The model of an entry of `models:`.
pub(crate) fn model_of(project: &ProjectSpec, entry: &str, who: &str) -> Result<ModelSpec, String> {
    project
        .models
        .get(entry)
        .cloned()
        .ok_or_else(|| format!("the {who}'s model `{entry}` is not an entry of `models:`"))
}

/// A message.
pub(crate) fn message(role: ChatRole, content: impl Into<String>) -> Message {
    Message {
        role,
        content: content.into(),
    }
}

impl Asker<'_> {
    /// The call: sampling as the model's entry says.
    pub fn call(
        &self,
        entry: &str,
        model: ModelSpec,
        messages: Vec<Message>,
        schema: Value,
    ) -> ModelRequest {
        ModelRequest {
            entry: Arc::from(entry),
            messages,
            temperature: model.temperature,
            top_p: model.top_p,
            max_tokens: model.max_tokens.max(self.least_reply),
            stop: Vec::new(),
            seed: None,
            schema: Some(schema),
            waits: Waits::default(),
            spec: Arc::new(model),
        }
    }

    /// Key and fingerprint of a call: over the model, the messages and `about`.
    pub fn meter(&self, request: &ModelRequest) -> Meter {
        let mut hasher = Hasher::new(&format!("{}-fingerprint/v1", self.purpose));
        let number = |value: Option<f64>| value.map_or(u64::MAX, f64::to_bits);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        hasher
            .part(format!("{:?}", request.spec.provider).as_bytes())
            .part(text(&request.spec.base_url).as_bytes())
            .part(text(&request.spec.address_hash).as_bytes())
            .part(request.spec.model.as_bytes())
            .part(text(&request.spec.world).as_bytes())
            .number(number(request.temperature))
            .number(number(request.top_p))
            .number(u64::from(request.max_tokens));
        let fingerprint = StepFingerprint(hasher.finish());
        let mut hasher = Hasher::new(&format!("{}-key/v1", self.purpose));
        hasher.hash(&fingerprint.0);
        for message in &request.messages {
            hasher
                .part(message.role.as_str().as_bytes())
                .part(message.content.as_bytes());
        }
        for number in self.about {
            hasher.number(*number);
        }
        Meter {
            job: self.job,
            fence: self.fence,
            role: self.role,
            key: StepKey(hasher.finish()),
            fingerprint,
            look_up: true,
            more: false,
        }
    }

    /// Asks.
    pub async fn ask(
        &self,
        models: &dyn MeteredModels,
        request: &ModelRequest,
    ) -> Result<MeteredReply, MeteredError> {
        models.complete(request, &self.meter(request)).await
    }
}

/// Why a reply cannot be used at all, before it is read.
pub(crate) fn unfinished(reply: &MeteredReply, request: &ModelRequest) -> Option<String> {
    match reply.finish {
        FinishReason::Length => Some(format!(
            "the reply was cut off at {} tokens",
            request.max_tokens
        )),
        FinishReason::Refusal => Some("the model declined".to_owned()),
        FinishReason::Stop | FinishReason::ToolCall | FinishReason::Other => None,
    }
}

/// The JSON objects of a reply that have `key`, in order: it may stand in a code fence, or between words.
pub(crate) fn objects_with(text: &str, key: &str) -> Vec<Map<String, Value>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find('{') {
        let start = from + at;
        let mut values =
            serde_json::Deserializer::from_str(&text[start..]).into_iter::<Map<String, Value>>();
        match values.next() {
            Some(Ok(object)) => {
                // what stands inside it is a part of it, and no answer
                from = start + values.byte_offset();
                if object.contains_key(key) {
                    found.push(object);
                }
            }
            Some(Err(_)) | None => from = start + 1,
        }
    }
    found
}

/// Awaits `work` unless `stop` is asked for; what is under way then has the time `drain` to end.
///
/// # Errors
/// Interrupted.
pub(crate) async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    stop: &CancellationToken,
    drain: Duration,
) -> Result<T, WorkError> {
    if stop.is_cancelled() {
        return Err(WorkError::interrupted());
    }
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        () = stopped => Err(WorkError::interrupted()),
        done = work => Ok(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_in_fences_and_between_words_and_not_inside_others() {
        let text = "I {think} so:\n```json\n{\"verdict\": \"pass\", \"inner\": {\"verdict\": \"fail\"}}\n```\nand {\"other\": 1} {\"verdict\": \"warn\"";
        let found = objects_with(text, "verdict");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["verdict"], "pass");
        assert!(objects_with("{", "verdict").is_empty());
    }
}
