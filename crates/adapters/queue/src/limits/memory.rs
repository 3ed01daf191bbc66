//! Limits of a single process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::ports::limits::{Admission, SharedLimit, SharedLimits, SlotId};
use fapo_domain::ports::queue::QueueError;
use tokio::time::Instant;

use super::{Rate, SLOT_POLL};

/// [`SharedLimits`] among the callers of one process. Time is tokio's, so tests can pause it.
#[derive(Debug, Default)]
pub struct MemoryLimits {
    providers: Mutex<HashMap<String, Provider>>,
}

#[derive(Debug, Default)]
struct Provider {
    /// Slot -> when its lease ends.
    slots: HashMap<u64, Instant>,
    next_slot: u64,
    requests: Bucket,
    tokens: Bucket,
}

#[derive(Debug, Default)]
struct Bucket {
    level: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn drain(&mut self, rate: Rate, now: Instant) {
        if let Some(at) = self.at {
            let passed = now.saturating_duration_since(at).as_secs_f64() * 1000.0;
            self.level = (self.level - passed * rate.per_ms).max(0.0);
        }
        self.at = Some(now);
    }

    /// How long until `amount` fits in; zero where it does.
    fn wait(&self, rate: Rate, amount: f64) -> Duration {
        let above = (self.level + amount - rate.size).max(0.0);
        Duration::from_secs_f64((above / rate.per_ms).ceil() / 1000.0)
    }
}

impl MemoryLimits {
    /// Limits that nothing has been counted against.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, provider: &str, change: impl FnOnce(&mut Provider) -> T) -> T {
        let mut providers = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(providers.entry(provider.to_owned()).or_default())
    }
}

impl Provider {
    fn admit(
        &mut self,
        limit: SharedLimit,
        tokens: u64,
        lease: Duration,
        now: Instant,
    ) -> Admission {
        self.slots.retain(|_, until| *until > now);
        let mut wait = Duration::ZERO;
        if let Some(most) = limit.concurrency
            && self.slots.len() >= most.max(1) as usize
        {
            wait = SLOT_POLL;
        }
        if let Some(rate) = Rate::of_requests(&limit) {
            self.requests.drain(rate, now);
            wait = wait.max(self.requests.wait(rate, 1.0));
        }
        let mut taken = 0.0;
        if let Some(rate) = Rate::of_tokens(&limit) {
            taken = (tokens as f64).min(rate.size);
            self.tokens.drain(rate, now);
            wait = wait.max(self.tokens.wait(rate, taken));
        }
        if !wait.is_zero() {
            return Admission::Wait(wait);
        }
        self.requests.level += f64::from(u8::from(limit.requests_per_minute.is_some()));
        self.tokens.level += taken;
        let slot = self.next_slot;
        self.next_slot += 1;
        self.slots.insert(slot, now + lease);
        Admission::Granted(SlotId(slot.to_string()))
    }

    fn release(&mut self, slot: &SlotId, unused: u64, now: Instant) {
        let held = slot
            .0
            .parse()
            .ok()
            .and_then(|slot: u64| self.slots.remove(&slot));
        if held.is_some_and(|until| until > now) {
            self.tokens.level = (self.tokens.level - unused as f64).max(0.0);
        }
    }
}

#[async_trait]
impl SharedLimits for MemoryLimits {
    async fn admit(
        &self,
        provider: &str,
        limit: SharedLimit,
        tokens: u64,
        lease: Duration,
    ) -> Result<Admission, QueueError> {
        let now = Instant::now();
        Ok(self.with(provider, |provider| {
            provider.admit(limit, tokens, lease, now)
        }))
    }

    async fn release(
        &self,
        provider: &str,
        slot: &SlotId,
        unused_tokens: u64,
    ) -> Result<(), QueueError> {
        let now = Instant::now();
        self.with(provider, |provider| {
            provider.release(slot, unused_tokens, now);
        });
        Ok(())
    }
}
