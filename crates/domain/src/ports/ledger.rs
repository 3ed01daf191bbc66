//! The ledger: money is reserved before it is spent and settled after, so a cap holds under any interleaving.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::error::{Classified, ErrorCode, Retry};
use crate::ids::{JobId, TaskId};
use crate::model::task::Fence;
use crate::money::{MicroUsd, Spend, SpendRole};

/// A job's caps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// Money; none where absent.
    pub cost: Option<MicroUsd>,
    /// Model calls; none where absent.
    pub model_calls: Option<u64>,
}

/// An amount to reserve: the worst case of what is about to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Money.
    pub cost: MicroUsd,
    /// Model calls.
    pub model_calls: u64,
}

/// A reservation, named by whom it is for: a task's reservation is one, whatever the number of claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReservationId {
    /// The task that spends.
    pub task: TaskId,
    /// The claim's epoch.
    pub epoch: u64,
}

impl From<Fence> for ReservationId {
    fn from(fence: Fence) -> Self {
        Self {
            task: fence.task,
            epoch: fence.epoch,
        }
    }
}

/// A job's account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The caps.
    pub caps: Caps,
    /// Reserved and not settled.
    pub reserved: Amount,
    /// Settled, by role, in the order of [`SpendRole`].
    pub spent: Vec<(SpendRole, Spend)>,
    /// Settled for calls and tries of which no reply was kept, because of a crash, a time that ran out, or a reply that
    /// broke off or was none: counted at their worst case, because the provider may have billed them.
    pub lost: Amount,
}

impl Balance {
    /// Everything settled.
    pub fn total(&self) -> Spend {
        let lost = Spend {
            cost: self.lost.cost,
            model_calls: self.lost.model_calls,
            ..Spend::default()
        };
        self.spent.iter().map(|(_, spend)| *spend).sum::<Spend>() + lost
    }
}

/// An error of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The amount does not fit under the cap now. When reservations are outstanding it may fit later.
    #[error("the job's budget does not allow it: {what}")]
    Exhausted {
        /// Which cap, what is left, and what was asked for.
        what: String,
        /// Whether other reservations, once settled, could make room.
        may_fit_later: bool,
    },
    /// The store failed.
    #[error("the ledger cannot be read or written")]
    Store(#[from] StoreError),
}

impl Classified for LedgerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Exhausted { .. } => ErrorCode::Exhausted,
            Self::Store(error) => error.code(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Exhausted {
                may_fit_later: true,
                ..
            } => Retry::After(Duration::from_millis(100)),
            Self::Exhausted {
                may_fit_later: false,
                ..
            } => Retry::Never,
            Self::Store(error) => error.retry(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Exhausted { .. } => "BUDGET_EXHAUSTED",
            Self::Store(error) => error.reason(),
        }
    }
}

/// What one or several answered calls cost, and the reservation they were made under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The job that pays.
    pub job: JobId,
    /// The reservation.
    pub reservation: ReservationId,
    /// Who spent it.
    pub role: SpendRole,
    /// What is given back from the reservation: the worst case that was reserved for these calls.
    pub release: Amount,
    /// What they really cost.
    pub spent: Spend,
    /// What tries cost at most that the provider may have billed although nothing came of them. Counts as lost. It was
    /// not reserved, so it can pass a cap by itself; no later call fits then.
    pub lost: Amount,
    /// Whether what is released is to be reserved again at once, for the claim's next call: one commit then serves for the
    /// end of one call and the beginning of another.
    pub keep: bool,
}

/// What became of the amount that a charge released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It is reserved again under the same reservation; whoever settled the charge uses it for a call, or gives it back by
    /// a charge that spends nothing.
    Kept,
    /// It is free: it was not to be kept, did not fit under a cap any more, or the claim has ended.
    Released,
}

/// Counts a job's money and calls.
///
/// Every call is reserved at its worst case before it is made and charged after it is answered, so at any moment the
/// reservation of a task is at least the worst case of the calls it has under way; it is more by what is kept between two
/// calls ([`Charge::keep`]). A worker that dies leaves that much reserved; closing the reservation counts it as lost, because
/// the provider may have billed it.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Opens a job's account. Repeating is harmless; other caps replace the old ones.
    async fn open_account(&self, job: JobId, caps: Caps) -> Result<(), StoreError>;

    /// Adds `amount` to a reservation (making it if need be). Atomic: after success, settled plus lost plus reserved
    /// is within every cap; after failure nothing changed. A stale task epoch is `StaleLease`. Implementations may
    /// join concurrent calls into one commit.
    async fn reserve(
        &self,
        job: JobId,
        id: ReservationId,
        amount: Amount,
    ) -> Result<(), LedgerError>;

    /// Settles a charge. Atomic. What it releases is taken from what is still reserved, and the rest from what a
    /// [`Self::close`] has counted as lost: a reply that comes late replaces the guess by the bill. Room is kept under the
    /// same conditions as [`Self::reserve`] makes it. For a call whose reply is stored, use
    /// [`super::cache::StepCache::put_step`], which stores and settles in one commit; this is for calls that were answered
    /// with an error, and for room that is not needed any more. Implementations may join concurrent calls into one commit.
    async fn settle(&self, charge: Charge) -> Result<Room, StoreError>;

    /// Closes the reservations of a task's claims up to and including `id.epoch`: what is still reserved counts as
    /// lost and is returned. The end of a claim does this by itself ([`super::tasks::Tasks`]); this is for work outside
    /// any task. Repeating is harmless.
    async fn close(&self, job: JobId, id: ReservationId) -> Result<Amount, StoreError>;

    /// The account.
    async fn balance(&self, job: JobId) -> Result<Balance, StoreError>;
}
