//! Trying again: only what can pass, with exponential backoff and full jitter (Brooker 2015, "Exponential Backoff And
//! Jitter"), never while the provider asked to be left alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fapo_domain::ports::models::Waits;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::limiter::{Limiter, MAX_PAUSE};
use crate::shared::{Slot, Wish};

/// The first wait is drawn from zero to this; the range doubles with every try.
const BASE: Duration = Duration::from_millis(500);
/// The range grows no further than this.
const CEILING: Duration = Duration::from_secs(30);

/// Why one try failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request itself is refused.
    Rejected { status: u16, message: String },
    /// The provider is overloaded.
    Overloaded {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The provider failed or could not be reached.
    Unavailable {
        message: String,
        retry_after: Option<Duration>,
    },
    /// The reply began with a status of success and broke off.
    CutOff { message: String },
    /// No reply in time.
    Timeout,
    /// Not a reply.
    Malformed { message: String },
    /// A reply above the size limit: it would be again.
    TooLarge,
}

impl Failure {
    /// Whether the same request may succeed later.
    pub(crate) const fn can_pass(&self) -> bool {
        match self {
            Self::Overloaded { .. }
            | Self::Unavailable { .. }
            | Self::CutOff { .. }
            | Self::Timeout
            | Self::Malformed { .. } => true,
            Self::Rejected { .. } | Self::TooLarge => false,
        }
    }

    /// Its kind, in one word: what metrics and traces call it.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "rejected",
            Self::Overloaded { .. } => "overloaded",
            Self::Unavailable { .. } => "unavailable",
            Self::CutOff { .. } => "cut_off",
            Self::Timeout => "timeout",
            Self::Malformed { .. } => "malformed",
            Self::TooLarge => "too_large",
        }
    }

    /// Whether the provider may have billed the try: it was at work on it, or said something.
    const fn may_be_billed(&self) -> bool {
        match self {
            Self::CutOff { .. } | Self::Timeout | Self::Malformed { .. } | Self::TooLarge => true,
            Self::Rejected { .. } | Self::Overloaded { .. } | Self::Unavailable { .. } => false,
        }
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                *retry_after
            }
            Self::Rejected { .. }
            | Self::CutOff { .. }
            | Self::Timeout
            | Self::Malformed { .. }
            | Self::TooLarge => None,
        }
    }
}

/// The last failure, and after how many tries.
#[derive(Debug)]
pub(crate) struct GaveUp {
    pub(crate) failure: Failure,
    pub(crate) attempts: u32,
    /// Tries that may have been billed, the last included.
    pub(crate) unanswered: u32,
}

/// A success, and what it took.
#[derive(Debug)]
pub(crate) struct Done<T> {
    pub(crate) value: T,
    /// What was granted for the try that succeeded, where limits are shared: to be given back with what it did not use.
    pub(crate) slot: Option<Slot>,
    /// Tries, this one included.
    pub(crate) attempts: u32,
    /// Failed tries that may have been billed.
    pub(crate) unanswered: u32,
    /// How long the try that succeeded took; not the ones before, nor any wait.
    pub(crate) took: Duration,
}

/// Draws waits, from a seed.
#[derive(Debug)]
pub(crate) struct Jitter(Mutex<ChaCha8Rng>);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// A wait between zero and `longest`.
    fn up_to(&self, longest: Duration) -> Duration {
        let share: f64 = self
            .0
            .lock()
            .expect("nothing panics while the jitter's state is held")
            .random();
        longest.mul_f64(share)
    }

    /// The wait before try `attempt + 1`.
    fn delay(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        match retry_after {
            // Spread out those who were all told the same time.
            Some(wait) => wait + self.up_to(BASE),
            None => self.up_to(BASE.saturating_mul(1 << (attempt - 1).min(16)).min(CEILING)),
        }
    }
}

/// Calls up to `attempts` times, each time with a permit and, where limits are shared, once its wish is granted. Neither is held
/// while waiting for the next try.
pub(crate) async fn run<T, F, C>(
    limiter: &Arc<Limiter>,
    wish: Option<&Wish>,
    jitter: &Jitter,
    attempts: u32,
    waits: &Waits,
    mut call: F,
) -> Result<Done<T>, GaveUp>
where
    F: FnMut() -> C,
    C: Future<Output = Result<T, Failure>>,
{
    let (mut attempt, mut unanswered) = (0, 0);
    loop {
        let permit = match waits.during(limiter.acquire()).await {
            Ok(permit) => permit,
            Err(paused) => {
                return Err(GaveUp {
                    failure: Failure::Overloaded {
                        status: 429,
                        retry_after: Some(paused.left),
                    },
                    attempts: attempt,
                    unanswered,
                });
            }
        };
        let slot = match wish {
            Some(wish) => waits.during(wish.granted()).await,
            None => None,
        };
        attempt += 1;
        let began = Instant::now();
        let failure = match call().await {
            Ok(value) => {
                permit.succeeded();
                return Ok(Done {
                    value,
                    slot,
                    attempts: attempt,
                    unanswered,
                    took: began.elapsed(),
                });
            }
            Err(failure) => failure,
        };
        waits.forgive(began.elapsed());
        unanswered += u32::from(failure.may_be_billed());
        if let (Some(slot), Some(wish)) = (slot, wish) {
            let all = wish.tokens();
            slot.end(if failure.may_be_billed() { 0 } else { all });
        }
        let retry_after = failure.retry_after();
        match &failure {
            Failure::Overloaded { .. } => permit.overloaded(retry_after),
            // The provider answered, though not kindly: its capacity is not in question.
            Failure::Rejected { .. }
            | Failure::Unavailable { .. }
            | Failure::CutOff { .. }
            | Failure::Timeout
            | Failure::Malformed { .. }
            | Failure::TooLarge => drop(permit),
        }
        if attempt >= attempts
            || !failure.can_pass()
            || retry_after.is_some_and(|wait| wait > MAX_PAUSE)
        {
            return Err(GaveUp {
                failure,
                attempts: attempt,
                unanswered,
            });
        }
        let delay = jitter.delay(attempt, retry_after);
        tracing::debug!(
            ?failure,
            attempt,
            delay_ms = delay.as_millis(),
            "trying again"
        );
        waits.during(tokio::time::sleep(delay)).await;
    }
}

#[cfg(test)]
mod tests;
