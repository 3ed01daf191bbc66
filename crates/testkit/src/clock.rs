//! A clock that stands still until it is moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fapo_domain::clock::{Clock, Timestamp};

/// A clock for tests. Clones of the `Arc` share the time.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Where [`Self::new`] starts: an arbitrary moment in 2027.
    pub const START: Timestamp = Timestamp(1_800_000_000_000);

    /// A clock at [`Self::START`].
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(Self::START.0)))
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}
