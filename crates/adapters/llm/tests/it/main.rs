//! The provider client over real sockets: against the simulated model, and against a server that plays back bytes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up must fail, in helpers too"
)]

mod observed;
mod raw;
mod relay;
mod shared;
mod simulated;

use std::sync::Arc;

use fapo_domain::ports::models::{ChatRole, Message, ModelRequest, Waits};
use fapo_llm::{PriceTable, ProviderModels};
use serde_json::Value;

/// Models with these environment variables.
fn models(env: &'static [(&'static str, &'static str)]) -> ProviderModels {
    let env = Arc::new(move |name: &str| {
        env.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    });
    ProviderModels::new(env, PriceTable::builtin())
}

/// A request to a model entry.
fn request(spec: Value, prompt: &str) -> ModelRequest {
    ModelRequest {
        entry: "task".into(),
        spec: Arc::new(serde_json::from_value(spec).unwrap()),
        messages: vec![Message {
            role: ChatRole::User,
            content: prompt.to_owned(),
        }],
        temperature: Some(0.0),
        top_p: None,
        max_tokens: 64,
        stop: Vec::new(),
        seed: None,
        schema: None,
        waits: Waits::default(),
    }
}
