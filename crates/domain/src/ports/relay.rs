//! The relay: how an untrusted process calls a paid model without holding the key, and without being able to pass its cap.
//!
//! The process speaks the provider's own protocol to a Unix socket. The relay adds the key, reserves the worst case of each
//! request in the ledger, passes it on, and settles what the reply says it cost.

use std::path::Path;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::models::ModelError;
use crate::error::{Classified, ErrorCode, Retry};
use crate::ids::JobId;
use crate::model::project::ModelSpec;
use crate::model::task::Fence;
use crate::money::{MicroUsd, Spend, SpendRole};

/// What one session may call and spend.
#[derive(Debug, Clone)]
pub struct RelayGrant {
    /// The entry of `models:`, for messages.
    pub entry: String,
    /// How the provider is reached, and the model that the session was started with. Requests may name another model of
    /// the same provider where its price is known.
    pub model: ModelSpec,
    /// The job that pays.
    pub job: JobId,
    /// The claimed task that spends.
    pub fence: Fence,
    /// As whom.
    pub role: SpendRole,
    /// Most money of this session, within the job's own cap.
    pub cost: Option<MicroUsd>,
    /// Most requests of this session.
    pub requests: Option<u64>,
}

/// What a session did at the relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayUse {
    /// What was settled.
    pub spend: Spend,
    /// Counted as lost: requests of which no complete reply was seen, at their worst case.
    pub lost: MicroUsd,
    /// Requests that were passed on.
    pub requests: u64,
    /// Requests that were refused here, with the reason, oldest first; at most 20 are kept.
    pub refused: Vec<String>,
    /// Whether a cap stopped it: the session's or the job's.
    pub out_of_money: bool,
    /// How the provider failed the last request that it answered or gave up, in one line; `None` once it answered one.
    pub failure: Option<String>,
    /// Paid requests under way of whose reply nothing came yet.
    pub waiting: u32,
    /// Milliseconds from opening to the first request.
    pub first_request_ms: Option<u64>,
}

/// Why a relay could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The model cannot be called as it is set up.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The ledger failed.
    #[error("the relay's ledger failed")]
    Store(#[from] StoreError),
    /// The socket could not be made.
    #[error("the relay's socket could not be made")]
    Socket(#[source] std::io::Error),
}

impl Classified for RelayError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Model(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Socket(_) => ErrorCode::Unavailable,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Model(error) => error.retry(),
            Self::Store(error) => error.retry(),
            Self::Socket(_) => Retry::Now,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Model(error) => error.reason(),
            Self::Store(error) => error.reason(),
            Self::Socket(_) => "RELAY_FAILED",
        }
    }
}

/// An open relay. Dropping it closes the socket; requests under way are then cut off and count as lost.
#[async_trait]
pub trait Relay: Send + Sync {
    /// The Unix socket.
    fn socket(&self) -> &Path;

    /// What was used so far.
    fn used(&self) -> RelayUse;

    /// Closes the socket, ends what is under way, and settles: on return the ledger is complete.
    async fn close(self: Box<Self>) -> Result<RelayUse, StoreError>;
}

/// Opens relays.
#[async_trait]
pub trait Relays: Send + Sync {
    /// Opens a relay on a socket inside `folder` (which exists, and is only the caller's).
    async fn open(&self, grant: RelayGrant, folder: &Path) -> Result<Box<dyn Relay>, RelayError>;
}
