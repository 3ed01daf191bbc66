//! Trying again: only what can pass, with exponential backoff and full jitter (Brooker 2015, "Exponential Backoff And
//! Jitter"), never while the provider asked to be left alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fapo_domain::ports::models::Waits;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::limiter::{Limiter, MAX_PAUSE};

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

/// Calls up to `attempts` times, each time with a permit, which is not held while waiting.
pub(crate) async fn run<T, F, C>(
    limiter: &Arc<Limiter>,
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
        attempt += 1;
        let began = Instant::now();
        let failure = match call().await {
            Ok(value) => {
                permit.succeeded();
                return Ok(Done {
                    value,
                    attempts: attempt,
                    unanswered,
                    took: began.elapsed(),
                });
            }
            Err(failure) => failure,
        };
        waits.forgive(began.elapsed());
        unanswered += u32::from(failure.may_be_billed());
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
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn unavailable() -> Failure {
        Failure::Unavailable {
            message: "down".into(),
            retry_after: None,
        }
    }

    fn overloaded(seconds: Option<u64>) -> Failure {
        Failure::Overloaded {
            status: 429,
            retry_after: seconds.map(Duration::from_secs),
        }
    }

    /// Runs a script of failures, then success; returns the outcome and the time of each try.
    async fn play(failures: Vec<Failure>, attempts: u32) -> (Result<u32, GaveUp>, Vec<Duration>) {
        let limiter = Limiter::new(8);
        let jitter = Jitter::new(1);
        let mut script = VecDeque::from(failures);
        let start = Instant::now();
        let mut times = Vec::new();
        let result = run(&limiter, &jitter, attempts, &Waits::default(), || {
            times.push(start.elapsed());
            std::future::ready(script.pop_front().map_or(Ok(()), Err))
        })
        .await
        .map(|done| done.attempts);
        assert_eq!(limiter.snapshot().in_flight, 0);
        (result, times)
    }

    #[tokio::test(start_paused = true)]
    async fn passing_failures_are_tried_again_with_growing_bounded_waits() {
        let (result, times) = play(vec![unavailable(); 9], 10).await;
        assert_eq!(result.unwrap(), 10);
        for (index, pair) in times.windows(2).enumerate() {
            let bound = BASE.saturating_mul(1 << index).min(CEILING);
            // tokio's timer rounds up to whole milliseconds
            assert!(pair[1] - pair[0] <= bound + Duration::from_millis(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lasting_failures_are_tried_once() {
        for failure in [
            Failure::Rejected {
                status: 400,
                message: String::new(),
            },
            Failure::TooLarge,
        ] {
            let (result, times) = play(vec![failure], 5).await;
            assert_eq!(result.unwrap_err().attempts, 1);
            assert_eq!(times.len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_the_limit() {
        let (result, times) = play(vec![Failure::Timeout; 9], 3).await;
        let gave_up = result.unwrap_err();
        assert_eq!((gave_up.attempts, gave_up.failure), (3, Failure::Timeout));
        assert_eq!(times.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_waited_out_with_a_little_spread() {
        let (result, times) = play(vec![overloaded(Some(20))], 5).await;
        assert_eq!(result.unwrap(), 2);
        let waited = times[1].as_secs_f64();
        assert!((20.0..20.6).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_hours_fails_at_once_and_for_later_callers_too() {
        let limiter = Limiter::new(8);
        let jitter = Jitter::new(1);
        let mut calls = 0;
        for _ in 0..3 {
            let result: Result<Done<()>, _> = run(&limiter, &jitter, 5, &Waits::default(), || {
                calls += 1;
                std::future::ready(Err(overloaded(Some(3600))))
            })
            .await;
            assert!(matches!(
                result.unwrap_err().failure,
                Failure::Overloaded { retry_after: Some(wait), .. } if wait > Duration::from_secs(3500)
            ));
        }
        assert_eq!(calls, 1, "the provider is left alone");
    }

    #[tokio::test(start_paused = true)]
    async fn tries_that_may_have_been_billed_are_told_apart() {
        let limiter = Limiter::new(8);
        let mut script = VecDeque::from([
            unavailable(),
            Failure::Timeout,
            Failure::CutOff {
                message: String::new(),
            },
            Failure::Malformed {
                message: String::new(),
            },
        ]);
        let call = || std::future::ready(script.pop_front().map_or(Ok(()), Err));
        let done = run(&limiter, &Jitter::new(1), 5, &Waits::default(), call).await;
        let done = done.unwrap();
        assert_eq!((done.attempts, done.unanswered), (5, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn giving_up_counts_every_try_that_may_have_been_billed_whichever_was_the_last() {
        let paused = overloaded(Some(3600));
        for (failures, unanswered) in [
            (vec![Failure::Timeout, unavailable()], 1),
            (vec![unavailable(), Failure::Timeout], 1),
            (vec![Failure::Timeout, paused], 1),
            (vec![Failure::Timeout, Failure::TooLarge], 2),
            (vec![unavailable(), overloaded(None)], 0),
        ] {
            let (result, _) = play(failures.clone(), 2).await;
            assert_eq!(result.unwrap_err().unanswered, unanswered, "{failures:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn queues_pauses_and_failed_tries_are_told_as_waits() {
        let limiter = Limiter::new(1);
        let waits = Waits::default();
        let held = limiter.acquire().await.unwrap();
        let mut failed = false;
        let jitter = Jitter::new(1);
        let call = run(&limiter, &jitter, 5, &waits, || {
            let fails = !std::mem::replace(&mut failed, true);
            async move {
                tokio::time::sleep(Duration::from_secs(7)).await;
                if fails { Err(unavailable()) } else { Ok(()) }
            }
        });
        let mut call = std::pin::pin!(call);
        assert!(futures::poll!(call.as_mut()).is_pending());
        assert_eq!(waits.watch().borrow().waiting, 1, "in the queue");
        drop(held);
        assert!(futures::poll!(call.as_mut()).is_pending());
        assert_eq!(waits.watch().borrow().waiting, 0, "at the provider");
        let done = call.await.unwrap();
        assert_eq!(done.took, Duration::from_secs(7), "one try and no wait");
        let ended = *waits.watch().borrow();
        assert_eq!((ended.waiting, ended.forgiven), (0, Duration::from_secs(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_depend_on_the_seed_only() {
        let waits = |seed| {
            let jitter = Jitter::new(seed);
            (1..9)
                .map(|attempt| jitter.delay(attempt, None))
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_call_cancels_it_and_frees_its_slot() {
        let limiter = Limiter::new(1);
        let jitter = Jitter::new(1);
        let waits = Waits::default();
        let call = run(
            &limiter,
            &jitter,
            5,
            &waits,
            std::future::pending::<Result<(), Failure>>,
        );
        let cancelled = tokio::time::timeout(Duration::from_secs(1), call).await;
        assert!(cancelled.is_err());
        assert_eq!(limiter.snapshot().in_flight, 0);
    }
}
