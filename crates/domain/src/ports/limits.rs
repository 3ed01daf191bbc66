//! Limits that all processes of a provider share.

use std::time::Duration;

use async_trait::async_trait;

use super::queue::QueueError;

/// What a provider allows, over all processes together. Absent parts are not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SharedLimit {
    /// Calls under way at once.
    pub concurrency: Option<u32>,
    /// Requests a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, in and out.
    pub tokens_per_minute: Option<u64>,
}

impl SharedLimit {
    /// Whether there is nothing to hold.
    pub const fn is_unlimited(&self) -> bool {
        self.concurrency.is_none()
            && self.requests_per_minute.is_none()
            && self.tokens_per_minute.is_none()
    }
}

/// The answer to a wish to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Go on. The slot is named so that it can be given back.
    Granted(SlotId),
    /// Not yet; ask again after this long.
    Wait(Duration),
}

/// Names a granted slot. Slots of a dead process free themselves when their lease ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotId(pub String);

/// Holds limits over all processes. Where it cannot be reached a caller falls back on its own limits: slower or faster than
/// agreed, and never a lost case.
#[async_trait]
pub trait SharedLimits: Send + Sync {
    /// Asks for one call with at most `tokens` tokens at `provider` (a key that all processes make alike: base URL and key
    /// name, never the key). Atomic over all callers. A granted slot counts against the concurrency for `lease`.
    async fn admit(
        &self,
        provider: &str,
        limit: SharedLimit,
        tokens: u64,
        lease: Duration,
    ) -> Result<Admission, QueueError>;

    /// Gives a slot back; tokens that were not used are given back with it. Repeating is harmless.
    async fn release(
        &self,
        provider: &str,
        slot: &SlotId,
        unused_tokens: u64,
    ) -> Result<(), QueueError>;
}
