//! The `Models` port over HTTP.

use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fapo_domain::clock::{Clock, SystemClock};
use fapo_domain::model::project::{ModelSpec, Provider};
use fapo_domain::money::{MicroUsd, Spend, Usage};
use fapo_domain::ports::ledger::Amount;
use fapo_domain::ports::limits::SharedLimits;
use fapo_domain::ports::models::{ModelError, ModelReply, ModelRequest, Models};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::addresses::Addresses;
use crate::endpoint::Endpoint;
use crate::limiter::Snapshot;
use crate::observe::Called;
use crate::price::PriceTable;
use crate::retry::{self, Failure, GaveUp, Jitter};
use crate::shared::{Shared, Wish, limit_of};
use crate::wire::{BadReply, Reply, one_line};

/// Looks up an environment variable; the app reads the environment once and passes this down.
pub type EnvLookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Tokens that a message costs beyond its text, at most.
const TOKENS_PER_MESSAGE: u64 = 16;
/// Tokens that structured output costs beyond its schema, at most: the provider describes the tool to the model.
const TOKENS_FOR_SCHEMA: u64 = 1024;
/// A token is at least so many bytes long, on average, in replies whose tokens the provider did not count.
const BYTES_PER_TOKEN: u64 = 3;

/// Models over HTTP: OpenAI-compatible, Anthropic, and the simulated model.
///
/// Connections, keys and limits are made at the first call to an endpoint and kept. `complete` never tries again what
/// cannot pass, waits for its turn under the endpoint's adaptive limit and then under what all processes share, and counts
/// `timeout_s` for each try by itself.
pub struct ProviderModels {
    env: EnvLookup,
    addresses: Addresses,
    prices: PriceTable,
    clock: Arc<dyn Clock>,
    jitter: Jitter,
    simulated: Vec<(String, String)>,
    shared: Option<Shared>,
    endpoints: RwLock<Vec<Arc<Endpoint>>>,
}

impl fmt::Debug for ProviderModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderModels")
            .field("simulated", &self.simulated)
            .finish_non_exhaustive()
    }
}

impl ProviderModels {
    /// Models whose keys and addresses come from `env`, wherever an entry says they are.
    pub fn new(env: EnvLookup, prices: PriceTable) -> Self {
        Self {
            env,
            addresses: Addresses::any(),
            prices,
            clock: Arc::new(SystemClock),
            jitter: Jitter::new(0),
            simulated: Vec::new(),
            shared: None,
            endpoints: RwLock::default(),
        }
    }

    /// Calls no other addresses than these.
    #[must_use]
    pub fn with_addresses(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// Uses this clock for `Retry-After` dates.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Draws the waits between tries from this seed; give each process another one.
    #[must_use]
    pub fn with_jitter_seed(mut self, seed: u64) -> Self {
        self.jitter = Jitter::new(seed);
        self
    }

    /// Holds entries that say so to `limits`, together with everybody else who does: `total_concurrency`,
    /// `requests_per_minute`, `tokens_per_minute`.
    #[must_use]
    pub fn with_shared_limits(mut self, limits: Arc<dyn SharedLimits>) -> Self {
        self.shared = Some(Shared::new(limits));
        self
    }

    /// Serves `provider: sim` entries whose `world` is this file from `base_url` (up to and including `/v1`). Entries with a
    /// `base_url` of their own use that.
    #[must_use]
    pub fn with_simulated(mut self, world: impl Into<String>, base_url: impl Into<String>) -> Self {
        self.simulated.push((world.into(), base_url.into()));
        self
    }

    /// Checks that an entry can be used as it is written: address, key, and price, without a call.
    ///
    /// # Errors
    /// `NoKey` or `Config`, as [`Models::complete`] would say.
    pub fn check(&self, entry: &str, spec: &ModelSpec) -> Result<(), ModelError> {
        self.endpoint(entry, spec).map(drop)
    }

    /// The price of a model, where one is known.
    pub fn price(&self, spec: &ModelSpec) -> Option<fapo_domain::money::Price> {
        self.prices.price(spec)
    }

    /// The limiter of an entry as it stands, once the entry has been used.
    pub fn limit(&self, spec: &ModelSpec) -> Option<Snapshot> {
        self.find(spec)
            .map(|endpoint| endpoint.limiter(spec).snapshot())
    }

    fn find(&self, spec: &ModelSpec) -> Option<Arc<Endpoint>> {
        self.endpoints
            .read()
            .expect("nothing panics while the endpoints are held")
            .iter()
            .find(|endpoint| endpoint.serves(spec))
            .cloned()
    }

    fn endpoint(&self, entry: &str, spec: &ModelSpec) -> Result<Arc<Endpoint>, ModelError> {
        if let Some(endpoint) = self.find(spec) {
            return Ok(endpoint);
        }
        let world = spec.world.as_deref().unwrap_or_default();
        let simulated = match spec.provider {
            Provider::Sim => self
                .simulated
                .iter()
                .find(|(known, _)| known == world)
                .map(|(_, base_url)| base_url.as_str()),
            Provider::Openai | Provider::Anthropic => None,
        };
        let endpoint = Arc::new(Endpoint::open(
            entry,
            spec,
            &self.env,
            &self.addresses,
            simulated,
        )?);
        let mut endpoints = self
            .endpoints
            .write()
            .expect("nothing panics while the endpoints are held");
        // Somebody may have opened it meanwhile; its limits and connections are the ones to share.
        if let Some(first) = endpoints.iter().find(|endpoint| endpoint.serves(spec)) {
            return Ok(Arc::clone(first));
        }
        endpoints.push(Arc::clone(&endpoint));
        Ok(endpoint)
    }

    /// One try, as traces and metrics see it.
    async fn observed(
        &self,
        called: Called<'_>,
        endpoint: &Endpoint,
        request: &ModelRequest,
        body: Bytes,
        number: u32,
    ) -> Result<Reply, Failure> {
        let span = called.span(number);
        called.asked(&span, request);
        let began = Instant::now();
        let result = self
            .attempt(endpoint, request, body)
            .instrument(span.clone())
            .await;
        match &result {
            Ok(reply) => {
                let spend = self.spend(request, reply);
                called.replied(&span, reply, &spend, began.elapsed());
            }
            Err(failure) => called.failed(&span, failure),
        }
        result
    }

    /// What a reply cost.
    fn spend(&self, request: &ModelRequest, reply: &Reply) -> Spend {
        let usage = reply.usage.unwrap_or_else(|| guess(request, &reply.text));
        let price = self.prices.price(&request.spec);
        Spend {
            cost: price.map_or(MicroUsd::ZERO, |price| price.cost(&usage)),
            model_calls: 1,
            usage,
        }
    }

    /// What to ask of the shared limits; nothing for an entry that names none.
    fn wish(&self, endpoint: &Endpoint, request: &ModelRequest) -> Option<Wish> {
        let spec = &*request.spec;
        let shared = self.shared.as_ref()?;
        let worst = worst_usage(request);
        (!limit_of(spec).is_unlimited()).then(|| {
            shared.wish(
                endpoint.shared_key(spec),
                spec,
                worst.input_tokens + worst.output_tokens,
            )
        })
    }

    /// One try.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        request: &ModelRequest,
        body: Bytes,
    ) -> Result<Reply, Failure> {
        let timeout = Duration::from_secs(u64::from(request.spec.timeout_s));
        let bytes = endpoint.exchange(body, timeout, &*self.clock).await?;
        endpoint
            .protocol
            .decode(request, &bytes)
            .map_err(|bad| match bad {
                BadReply::Malformed(message) => Failure::Malformed {
                    message: one_line(&endpoint.scrub(&message)),
                },
                BadReply::Error { status, message } => {
                    let message = one_line(&endpoint.scrub(&message));
                    match status {
                        429 | 503 | 529 => Failure::Overloaded {
                            status,
                            retry_after: None,
                        },
                        408 | 409 | 500.. => Failure::Unavailable {
                            message,
                            retry_after: None,
                        },
                        _ => Failure::Rejected { status, message },
                    }
                }
            })
    }
}

fn give_up(endpoint: &Endpoint, request: &ModelRequest, gave_up: GaveUp) -> ModelError {
    let provider = endpoint.host.clone();
    let GaveUp {
        failure,
        attempts,
        unanswered,
    } = gave_up;
    match failure {
        Failure::Rejected { status, message } => ModelError::Rejected {
            provider,
            status,
            message,
            unanswered,
        },
        Failure::Overloaded {
            status,
            retry_after,
        } => ModelError::Overloaded {
            provider,
            status,
            attempts,
            retry_after,
            unanswered,
        },
        Failure::Unavailable { message, .. } | Failure::CutOff { message } => {
            ModelError::Unavailable {
                provider,
                attempts,
                message,
                unanswered,
            }
        }
        Failure::Timeout => ModelError::Timeout {
            provider,
            seconds: request.spec.timeout_s,
            attempts,
            unanswered,
        },
        Failure::Malformed { message } => ModelError::Malformed {
            provider,
            message,
            attempts,
            unanswered,
        },
        Failure::TooLarge => ModelError::Malformed {
            provider,
            message: "the reply is larger than 32 MiB".to_owned(),
            attempts,
            unanswered,
        },
    }
}

/// What is said of a model whose price nobody knows, where one is needed.
pub fn unpriced(entry: &str, spec: &ModelSpec) -> ModelError {
    ModelError::Config {
        entry: entry.to_owned(),
        message: format!(
            "no price is known for {}: give `price: {{ input: ..., output: ... }}` in dollars per million tokens",
            spec.model
        ),
    }
}

/// Whether a model's name is one that the provider knows. `opus` and the like are not: the program of a coding agent makes of
/// them the model of its time, whose price is known only when it is asked for.
pub fn is_exact(spec: &ModelSpec) -> bool {
    spec.model.bytes().any(|byte| byte.is_ascii_digit())
}

/// Bytes of the request's texts.
fn input_bytes(request: &ModelRequest) -> u64 {
    request
        .messages
        .iter()
        .map(|message| message.content.len() as u64)
        .sum()
}

/// The most tokens that a call can use.
fn worst_usage(request: &ModelRequest) -> Usage {
    let schema = request
        .schema
        .as_ref()
        .map_or(0, |schema| json_size(schema) + TOKENS_FOR_SCHEMA);
    Usage {
        input_tokens: input_bytes(request)
            + TOKENS_PER_MESSAGE * request.messages.len() as u64
            + schema,
        output_tokens: u64::from(request.max_tokens),
        ..Usage::default()
    }
}

/// A guess at the tokens where the provider did not count them, on the high side.
fn guess(request: &ModelRequest, text: &str) -> Usage {
    let messages = request.messages.len() as u64;
    Usage {
        input_tokens: input_bytes(request).div_ceil(BYTES_PER_TOKEN) + 4 * messages,
        output_tokens: (text.len() as u64).div_ceil(BYTES_PER_TOKEN),
        ..Usage::default()
    }
}

/// Counts what serializing a value would write.
fn json_size(value: &serde_json::Value) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("counting cannot fail");
    count.0
}

#[async_trait]
impl Models for ProviderModels {
    async fn complete(&self, request: &ModelRequest) -> Result<ModelReply, ModelError> {
        let spec = &*request.spec;
        let endpoint = self.endpoint(&request.entry, spec)?;
        let limiter = endpoint.limiter(spec);
        let body = Bytes::from(endpoint.protocol.encode(request));
        let called = Called::new(request, &endpoint.host);
        let asked = Instant::now();
        let mut tries = 0;
        let attempt = || {
            tries += 1;
            match tries {
                1 => called.waited(asked.elapsed()),
                _ => called.again(),
            }
            self.observed(called, &endpoint, request, body.clone(), tries)
        };
        let wish = self.wish(&endpoint, request);
        let done = retry::run(
            &limiter,
            wish.as_ref(),
            &self.jitter,
            spec.attempts,
            &request.waits,
            attempt,
        )
        .await
        .map_err(|gave_up| give_up(&endpoint, request, gave_up))?;
        let reply = done.value;
        let spend = self.spend(request, &reply);
        if let (Some(slot), Some(wish)) = (done.slot, wish) {
            let used = spend.usage.input_tokens + spend.usage.output_tokens;
            slot.end(wish.tokens().saturating_sub(used));
        }
        Ok(ModelReply {
            text: reply.text,
            finish: reply.finish,
            spend,
            attempts: done.attempts,
            unanswered: done.unanswered,
            took: done.took,
            served_by: reply.served_by,
        })
    }

    fn worst_case(&self, request: &ModelRequest) -> Result<Amount, ModelError> {
        let spec = &*request.spec;
        let price = self
            .prices
            .price(spec)
            .ok_or_else(|| unpriced(&request.entry, spec))?;
        let usage = worst_usage(request);
        Ok(Amount {
            cost: price.cost(&usage),
            model_calls: 1,
        })
    }
}
