//! The limits that all processes of a provider share: asked before each try, behind the process's own limiter.
//!
//! They are a courtesy to the provider, and nothing rests on them: where they cannot be reached calls go on under the process's
//! own limiter, with one warning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fapo_domain::error::chain;
use fapo_domain::model::project::ModelSpec;
use fapo_domain::ports::limits::{Admission, SharedLimit, SharedLimits, SlotId};
use tokio::time::Instant;

/// How long nobody asks after it could not be reached, so that calls do not wait for it one by one.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// How long a slot outlives the longest try, for whoever dies with it.
const SPARE: Duration = Duration::from_secs(30);

/// The shared limits, and whether they can be reached.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    limits: Arc<dyn SharedLimits>,
    /// Nobody asks before then.
    left_alone_until: Mutex<Option<Instant>>,
    /// Whether it was warned that they cannot be reached.
    warned: AtomicBool,
}

/// One call's wish: the same for each of its tries.
pub(crate) struct Wish {
    shared: Shared,
    provider: String,
    limit: SharedLimit,
    tokens: u64,
    lease: Duration,
}

/// A granted try. Dropping it gives the slot back in the background; no reply waits for that.
#[derive(Debug)]
pub(crate) struct Slot {
    shared: Shared,
    provider: String,
    slot: SlotId,
    unused: u64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// What an entry's calls are held to over all processes.
pub(crate) const fn limit_of(spec: &ModelSpec) -> SharedLimit {
    SharedLimit {
        concurrency: spec.total_concurrency,
        requests_per_minute: spec.requests_per_minute,
        tokens_per_minute: spec.tokens_per_minute,
    }
}

impl Shared {
    pub(crate) fn new(limits: Arc<dyn SharedLimits>) -> Self {
        Self(Arc::new(Inner {
            limits,
            left_alone_until: Mutex::default(),
            warned: AtomicBool::new(false),
        }))
    }

    /// A wish to call `provider` with at most `tokens` tokens.
    pub(crate) fn wish(&self, provider: String, spec: &ModelSpec, tokens: u64) -> Wish {
        Wish {
            shared: self.clone(),
            provider,
            limit: limit_of(spec),
            tokens,
            lease: Duration::from_secs(u64::from(spec.timeout_s)) + SPARE,
        }
    }

    fn left_alone(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // a moment is whole whatever happened
        self.0
            .left_alone_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wish {
    /// Waits until the call may go on. `None` where the limits cannot be reached: it may, then, too.
    pub(crate) async fn granted(&self) -> Option<Slot> {
        let inner = &self.shared.0;
        loop {
            let alone = *self.shared.left_alone();
            if alone.is_some_and(|until| Instant::now() < until) {
                return None;
            }
            let asked = inner
                .limits
                .admit(&self.provider, self.limit, self.tokens, self.lease)
                .await;
            match asked {
                Ok(Admission::Granted(slot)) => {
                    inner.warned.store(false, Ordering::Relaxed);
                    return Some(Slot {
                        shared: self.shared.clone(),
                        provider: self.provider.clone(),
                        slot,
                        unused: 0,
                    });
                }
                Ok(Admission::Wait(wait)) => tokio::time::sleep(wait).await,
                Err(error) => {
                    *self.shared.left_alone() = Some(Instant::now() + LEFT_ALONE);
                    if !inner.warned.swap(true, Ordering::Relaxed) {
                        tracing::warn!(
                            error = %chain(&error),
                            "the limits shared with other processes cannot be asked; this process keeps to its own"
                        );
                    }
                    return None;
                }
            }
        }
    }

    /// The most tokens that the call may need.
    pub(crate) const fn tokens(&self) -> u64 {
        self.tokens
    }
}

impl Slot {
    /// Gives the slot back, and the tokens that the call did not use.
    pub(crate) fn end(mut self, unused: u64) {
        self.unused = unused;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // without a runtime the process ends, and the slot with its lease
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (shared, unused) = (self.shared.clone(), self.unused);
        let provider = std::mem::take(&mut self.provider);
        let slot = SlotId(std::mem::take(&mut self.slot.0));
        runtime.spawn(async move {
            let released = shared.0.limits.release(&provider, &slot, unused).await;
            if let Err(error) = released {
                tracing::debug!(error = %chain(&error), "a slot is not given back; it ends with its lease");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use async_trait::async_trait;
    use fapo_domain::model::project::Provider;
    use fapo_domain::ports::queue::QueueError;

    use super::*;

    /// Limits that answer as they are told, and count.
    #[derive(Default)]
    struct Scripted {
        down: AtomicBool,
        /// Refusals before the grant.
        refusals: AtomicU32,
        asked: AtomicU32,
        released: Mutex<Vec<(String, u64)>>,
    }

    #[async_trait]
    impl SharedLimits for Scripted {
        async fn admit(
            &self,
            _: &str,
            _: SharedLimit,
            _: u64,
            _: Duration,
        ) -> Result<Admission, QueueError> {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst);
            if self.down.load(Ordering::SeqCst) {
                return Err(QueueError::Unavailable {
                    operation: "test",
                    source: "down".into(),
                });
            }
            Ok(if asked < self.refusals.load(Ordering::SeqCst) {
                Admission::Wait(Duration::from_secs(3))
            } else {
                Admission::Granted(SlotId(asked.to_string()))
            })
        }

        async fn release(&self, _: &str, slot: &SlotId, unused: u64) -> Result<(), QueueError> {
            self.released.lock().unwrap().push((slot.0.clone(), unused));
            Ok(())
        }
    }

    fn wish(limits: &Arc<Scripted>) -> Wish {
        let spec = ModelSpec::named(Provider::Openai, "m");
        Shared::new(Arc::clone(limits) as _).wish("p".to_owned(), &spec, 100)
    }

    async fn let_tasks_run() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_as_long_as_it_is_told_and_gives_its_slot_back() {
        let limits = Arc::new(Scripted::default());
        limits.refusals.store(2, Ordering::SeqCst);
        let began = Instant::now();
        let slot = wish(&limits).granted().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(6));
        slot.end(40);
        let_tasks_run().await;
        assert_eq!(*limits.released.lock().unwrap(), [("2".to_owned(), 40)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_dropped_gives_its_slot_back() {
        let limits = Arc::new(Scripted::default());
        drop(wish(&limits).granted().await.unwrap());
        let_tasks_run().await;
        assert_eq!(*limits.released.lock().unwrap(), [("0".to_owned(), 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_that_cannot_be_asked_hold_nobody_and_are_left_alone_for_a_while() {
        let limits = Arc::new(Scripted::default());
        limits.down.store(true, Ordering::SeqCst);
        let wish = wish(&limits);
        for _ in 0..3 {
            assert!(wish.granted().await.is_none());
        }
        assert_eq!(limits.asked.load(Ordering::SeqCst), 1);
        limits.down.store(false, Ordering::SeqCst);
        tokio::time::sleep(LEFT_ALONE).await;
        assert!(wish.granted().await.is_some());
    }
}
