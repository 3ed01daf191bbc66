//! Language models: the bare call, and the call that is cached and paid for.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::StoreError;
use super::ledger::{Amount, LedgerError};
use crate::error::{Classified, ErrorCode, Retry};
use crate::ids::{JobId, StepFingerprint, StepKey};
use crate::model::project::ModelSpec;
use crate::model::task::Fence;
use crate::model::trace::FinishReason;
use crate::money::{Spend, SpendRole, Usage};

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatRole {
    /// Instructions.
    System,
    /// The question.
    User,
    /// What the model said, or is shown as having said.
    Assistant,
}

impl ChatRole {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
}

/// What of a call's time is not the call's own: waiting for a slot under the provider's limit, for room in the budget, for
/// another caller's reply or between tries, and tries that failed. Whoever limits how long work may take leaves this out,
/// so that a provider's outage is never taken for slow work. Clones share it.
#[derive(Debug, Clone)]
pub struct Waits(Arc<watch::Sender<Waited>>);

/// What was waited so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waited {
    /// Waits that go on now.
    pub waiting: u32,
    /// Time that counted at first and turned out to be lost: failed tries.
    pub forgiven: Duration,
    /// Time that did not count when it passed and turned out to be work: what code took of a wait for it.
    pub charged: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Waited::default())))
    }
}

impl Waits {
    /// Awaits `work`, counting it as a wait from when it does not answer at once.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Poll::Ready(ready) =
            poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await
        {
            return ready;
        }
        self.0.send_modify(|waited| waited.waiting += 1);
        // also where the future is dropped meanwhile
        let _end = Waiting(&self.0);
        work.await
    }

    /// Takes back time that was not waiting when it passed.
    pub fn forgive(&self, time: Duration) {
        self.0.send_modify(|waited| waited.forgiven += time);
    }

    /// Counts time of a wait as work after all.
    pub fn charge(&self, time: Duration) {
        self.0.send_modify(|waited| waited.charged += time);
    }

    /// Follows it.
    pub fn watch(&self) -> watch::Receiver<Waited> {
        self.0.subscribe()
    }
}

/// A wait that goes on.
struct Waiting<'a>(&'a watch::Sender<Waited>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waited| waited.waiting -= 1);
    }
}

/// One call, complete: together with the provider's state it determines the reply.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// The entry of `models:`, for messages and metrics.
    pub entry: Arc<str>,
    /// The model and how it is reached.
    pub spec: Arc<ModelSpec>,
    /// The messages.
    pub messages: Vec<Message>,
    /// Randomness of sampling; not sent where absent (so 0.0 and absent differ).
    pub temperature: Option<f64>,
    /// Nucleus sampling; not sent where absent.
    pub top_p: Option<f64>,
    /// Longest reply in tokens.
    pub max_tokens: u32,
    /// Texts at which the reply ends.
    pub stop: Vec<String>,
    /// Sampling seed.
    pub seed: Option<u64>,
    /// Schema the reply must satisfy; providers that can, enforce it. `Some(Value::Bool(true))` asks for any JSON.
    pub schema: Option<Value>,
    /// Is told while the call waits. No part of what is asked.
    pub waits: Waits,
}

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelReply {
    /// The text; empty where the model declined without words.
    pub text: String,
    /// Why it stopped.
    pub finish: FinishReason,
    /// Tokens, cost and the one call.
    pub spend: Spend,
    /// Tries, including the one that succeeded.
    pub attempts: u32,
    /// Tries before it that the provider may have billed although nothing came of them; see [`ModelError::unanswered`].
    pub unanswered: u32,
    /// How long the try that succeeded took: neither the tries before it nor any wait is the model's time.
    pub took: Duration,
    /// The model's name as the provider reported it.
    pub served_by: Option<String>,
}

/// Why a call gave no reply, after all retries that could help.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModelError {
    /// The key is not set.
    #[error("no API key for model entry `{entry}`: set the environment variable {variable}")]
    NoKey {
        /// The entry of `models:`.
        entry: String,
        /// The variable.
        variable: String,
    },
    /// The entry cannot be used as it is written.
    #[error("model entry `{entry}` cannot be used: {message}")]
    Config {
        /// The entry of `models:`.
        entry: String,
        /// What to change.
        message: String,
    },
    /// The provider refused the request itself: it fails again unless it is changed.
    #[error("{provider} refused the request with status {status}: {message}")]
    Rejected {
        /// The endpoint's host.
        provider: String,
        /// HTTP status.
        status: u16,
        /// What the provider said, cut to a line.
        message: String,
        /// See [`Self::unanswered`].
        unanswered: u32,
    },
    /// Too many requests, or overloaded, until the last try.
    #[error("{provider} is overloaded (status {status}) after {attempts} tries")]
    Overloaded {
        /// The endpoint's host.
        provider: String,
        /// HTTP status.
        status: u16,
        /// Tries.
        attempts: u32,
        /// What it asked us to wait.
        retry_after: Option<Duration>,
        /// See [`Self::unanswered`].
        unanswered: u32,
    },
    /// The provider failed or could not be reached until the last try.
    #[error("{provider} is unavailable after {attempts} tries: {message}")]
    Unavailable {
        /// The endpoint's host.
        provider: String,
        /// Tries.
        attempts: u32,
        /// What happened, cut to a line.
        message: String,
        /// See [`Self::unanswered`].
        unanswered: u32,
    },
    /// No reply in time, on the last try.
    #[error("{provider} did not answer within {seconds} s, {attempts} tries")]
    Timeout {
        /// The endpoint's host.
        provider: String,
        /// The limit.
        seconds: u32,
        /// Tries.
        attempts: u32,
        /// See [`Self::unanswered`].
        unanswered: u32,
    },
    /// A reply that does not follow the protocol, on the last try.
    #[error("{provider} sent something that is not a reply: {message}")]
    Malformed {
        /// The endpoint's host.
        provider: String,
        /// What is wrong with it, cut to a line.
        message: String,
        /// Tries.
        attempts: u32,
        /// See [`Self::unanswered`].
        unanswered: u32,
    },
}

impl ModelError {
    /// How many tries the provider may have billed although nothing came of them: it was at work when the time ran out, its
    /// reply broke off, or what it sent could not be used. Whatever the last try ended with, all of them are counted.
    pub const fn unanswered(&self) -> u32 {
        match self {
            Self::Rejected { unanswered, .. }
            | Self::Overloaded { unanswered, .. }
            | Self::Unavailable { unanswered, .. }
            | Self::Timeout { unanswered, .. }
            | Self::Malformed { unanswered, .. } => *unanswered,
            Self::NoKey { .. } | Self::Config { .. } => 0,
        }
    }

    /// Whether a person must change something before any call can succeed: no key, wrong key, wrong address.
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::NoKey { .. } | Self::Config { .. } => true,
            Self::Rejected { status, .. } => matches!(status, 401..=404),
            Self::Overloaded { .. }
            | Self::Unavailable { .. }
            | Self::Timeout { .. }
            | Self::Malformed { .. } => false,
        }
    }
}

impl Classified for ModelError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoKey { .. } => ErrorCode::Unauthenticated,
            Self::Config { .. } => ErrorCode::FailedPrecondition,
            Self::Rejected { status, .. } => match status {
                401 => ErrorCode::Unauthenticated,
                403 => ErrorCode::Forbidden,
                404 => ErrorCode::NotFound,
                _ => ErrorCode::InvalidArgument,
            },
            Self::Overloaded { .. } => ErrorCode::Exhausted,
            Self::Unavailable { .. } | Self::Malformed { .. } => ErrorCode::Unavailable,
            Self::Timeout { .. } => ErrorCode::Timeout,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::NoKey { .. } | Self::Config { .. } | Self::Rejected { .. } => Retry::Never,
            Self::Overloaded { retry_after, .. } => {
                Retry::After(retry_after.unwrap_or(Duration::from_secs(1)))
            }
            Self::Unavailable { .. } | Self::Malformed { .. } => {
                Retry::After(Duration::from_secs(1))
            }
            Self::Timeout { .. } => Retry::Now,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NoKey { .. } => "MODEL_NO_KEY",
            Self::Config { .. } => "MODEL_CONFIG",
            Self::Rejected { .. } => "MODEL_REJECTED",
            Self::Overloaded { .. } => "MODEL_OVERLOADED",
            Self::Unavailable { .. } => "MODEL_UNAVAILABLE",
            Self::Timeout { .. } => "MODEL_TIMEOUT",
            Self::Malformed { .. } => "MODEL_MALFORMED",
        }
    }
}

/// Calls models. Adapts its concurrency to each provider, and retries what can succeed.
#[async_trait]
pub trait Models: Send + Sync {
    /// Makes a call. Dropping the future cancels it.
    async fn complete(&self, request: &ModelRequest) -> Result<ModelReply, ModelError>;

    /// The most the call can cost, counting every input byte as a token. `Config` where the model has no price.
    fn worst_case(&self, request: &ModelRequest) -> Result<Amount, ModelError>;
}

/// Where a paid call is booked and cached.
#[derive(Debug, Clone)]
pub struct Meter {
    /// The job that pays.
    pub job: JobId,
    /// The claimed task that makes the call.
    pub fence: Fence,
    /// Who spends.
    pub role: SpendRole,
    /// The cache key of the reply.
    pub key: StepKey,
    /// Its fingerprint.
    pub fingerprint: StepFingerprint,
    /// Whether to look the key up first; `false` only where a hit is impossible.
    pub look_up: bool,
    /// Whether the claim makes further calls, so that what this one reserved may stay reserved for them. Whoever says so
    /// calls [`MeteredModels::release`] at the end.
    pub more: bool,
}

/// A paid (or remembered) reply.
#[derive(Debug, Clone, PartialEq)]
pub struct MeteredReply {
    /// The text.
    pub text: String,
    /// Why the model stopped.
    pub finish: FinishReason,
    /// What this call cost now: nothing on a hit.
    pub spend: Spend,
    /// What it cost when it was made.
    pub full_spend: Spend,
    /// How long the provider took to give it when it was made, in milliseconds ([`ModelReply::took`]): without retries, and
    /// without what the call waited for the provider, for the budget or for others.
    pub full_duration_ms: u32,
    /// Whether it came from the cache.
    pub cache_hit: bool,
    /// Tries; 0 on a hit.
    pub attempts: u32,
}

impl MeteredReply {
    /// Tokens of the original call.
    pub const fn usage(&self) -> Usage {
        self.full_spend.usage
    }
}

/// Why a metered call gave no reply.
#[derive(Debug, thiserror::Error)]
pub enum MeteredError {
    /// The model gave none.
    #[error("the model call failed")]
    Model(#[from] ModelError),
    /// The budget does not allow it.
    #[error("the model call was not made")]
    Budget(#[source] LedgerError),
    /// The store failed.
    #[error("the model call could not be booked")]
    Store(#[from] StoreError),
}

impl Classified for MeteredError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Model(error) => error.code(),
            Self::Budget(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Model(error) => error.retry(),
            Self::Budget(error) => error.retry(),
            Self::Store(error) => error.retry(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Model(error) => error.reason(),
            Self::Budget(error) => error.reason(),
            Self::Store(error) => error.reason(),
        }
    }
}

/// The only way in which the services call models: look up, reserve, call, then store and charge in one commit.
#[async_trait]
pub trait MeteredModels: Send + Sync {
    /// Answers from the cache, or makes and books the call. On return the reply is durable and charged once. Waits while
    /// other reservations of the job may still make room in the budget.
    async fn complete(
        &self,
        request: &ModelRequest,
        meter: &Meter,
    ) -> Result<MeteredReply, MeteredError>;

    /// Gives back what answered calls of a claim left reserved for further ones ([`Meter::more`]). What is not given back
    /// before the claim ends counts as lost. Repeating is harmless. Models that keep nothing need not do anything.
    async fn release(&self, _job: JobId, _fence: Fence) -> Result<(), StoreError> {
        Ok(())
    }
}
