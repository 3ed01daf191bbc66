//! `models:`: which models may be used, and how they are reached.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hash::Hasher;
use crate::money::Price;

/// A model and how it is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Which protocol it speaks.
    pub provider: Provider,
    /// The model's name, as the provider knows it.
    pub model: String,
    /// The endpoint, up to and including `/v1`; `${NAME}` is taken from the environment. The provider's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// A hash of the address that `base_url` stood for when the project was read, where it names variables; set by whoever
    /// reads the project, and no key of the file. The address itself is kept nowhere: it may hold a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub address_hash: Option<String>,
    /// The environment variable that holds the key; `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` where absent. The key
    /// itself never stands in a file of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Randomness of sampling, unless the step says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    /// Nucleus sampling, unless the step says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    /// Longest reply in tokens, unless the step says otherwise.
    #[serde(default = "default_max_tokens")]
    #[schemars(range(min = 1))]
    pub max_tokens: u32,
    /// What it costs, in dollars per million tokens; the price table's entry where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Most calls under way at once from one process; the adaptive limit starts at a quarter of it and never exceeds it.
    #[serde(default = "default_model_concurrency")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: u32,
    /// Most calls under way at once from all processes of a deployment together. Not limited where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub total_concurrency: Option<u32>,
    /// Most calls a minute, of all processes of a deployment together. Not limited where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests_per_minute: Option<u32>,
    /// Most tokens a minute, in and out, of all processes of a deployment together; a call counts with the most that it may
    /// need until its reply tells what it used. Not limited where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub tokens_per_minute: Option<u64>,
    /// Seconds after which one call counts as lost.
    #[serde(default = "default_timeout_s")]
    #[schemars(range(min = 1))]
    pub timeout_s: u32,
    /// Tries in all, for failures that can pass.
    #[serde(default = "default_attempts")]
    #[schemars(range(min = 1, max = 20))]
    pub attempts: u32,
    /// For `provider: sim`: the file that says how the simulated model behaves, relative to the project folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<String>,
}

const fn default_max_tokens() -> u32 {
    1024
}
const fn default_model_concurrency() -> u32 {
    16
}
const fn default_timeout_s() -> u32 {
    120
}
const fn default_attempts() -> u32 {
    5
}

impl ModelSpec {
    /// A model of `provider` by its name alone, reached where the provider is reached.
    pub fn named(provider: Provider, model: &str) -> Self {
        Self {
            provider,
            model: model.to_owned(),
            base_url: None,
            address_hash: None,
            api_key_env: None,
            temperature: None,
            top_p: None,
            max_tokens: default_max_tokens(),
            price: None,
            concurrency: default_model_concurrency(),
            total_concurrency: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            timeout_s: default_timeout_s(),
            attempts: default_attempts(),
            world: None,
        }
    }

    /// The [`ModelSpec::address_hash`] of an address.
    pub fn hash_of_address(address: &str) -> String {
        let mut hasher = Hasher::new("model-address/v1");
        hasher.part(address.as_bytes());
        hasher.finish().to_string()
    }
}

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// OpenAI-compatible chat completions: OpenAI, vLLM, llama.cpp, Ollama and most gateways.
    Openai,
    /// Anthropic Messages.
    Anthropic,
    /// The simulated model that ships with fapo: offline, deterministic, free. For examples and tests.
    Sim,
}

impl Provider {
    /// The name in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Sim => "sim",
        }
    }
}
