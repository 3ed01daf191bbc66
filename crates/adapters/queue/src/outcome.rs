//! What becomes of a task after its handler ended.

use std::time::Duration;

use fapo_domain::error::chain;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::work::WorkError;
use fapo_domain::{Retry, TaskId};
use serde_json::Value;
use tokio::task::JoinError;

/// How a handler ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// With a result.
    Done(Value),
    /// It was told to end, and has not finished.
    Interrupted,
    /// It failed in a way that may pass, not to be tried again before the given time.
    Failed(String, Duration),
    /// It failed for good.
    Hopeless(String),
}

impl Outcome {
    /// Its kind, in one word: what metrics and traces call it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Interrupted => "interrupted",
            Self::Failed(..) => "failed",
            Self::Hopeless(_) => "hopeless",
        }
    }

    /// Reads a handler's answer. A panic is a failure that may pass: the next try may meet other data or another time.
    ///
    /// # Errors
    /// When the handler met a store that cannot be written: no fault of its task, and nothing can be noted about it.
    pub fn of(ended: Result<Result<Value, WorkError>, JoinError>) -> Result<Self, WorkError> {
        match ended {
            Ok(Ok(result)) => Ok(Self::Done(result)),
            Ok(Err(error)) if error.reason == StoreError::UNWRITABLE => Err(error),
            Ok(Err(error)) => Ok(Self::of_error(&error)),
            Err(joined) if joined.is_cancelled() => Ok(Self::Interrupted),
            Err(joined) => Ok(Self::Failed(
                format!("PANIC: {}", panic_message(joined)),
                Duration::ZERO,
            )),
        }
    }

    fn of_error(error: &WorkError) -> Self {
        if error.reason == WorkError::interrupted().reason {
            return Self::Interrupted;
        }
        let words = format!("{}: {}", error.reason, chain(error));
        match error.retry {
            Retry::Never => Self::Hopeless(words),
            Retry::Now => Self::Failed(words, Duration::ZERO),
            Retry::After(at_least) => Self::Failed(words, at_least),
        }
    }
}

fn panic_message(joined: JoinError) -> String {
    let Ok(payload) = joined.try_into_panic() else {
        return "the handler ended without a result".to_owned();
    };
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the handler panicked without a message".to_owned())
}

/// How long to wait before a task is tried again after its `epoch`-th claim failed: doubling from `base` to `cap`, at
/// least what the failure asked for, and up to a quarter more depending on the task, so that tasks that failed together
/// do not come back together.
pub(crate) fn backoff(
    task: TaskId,
    epoch: u64,
    base: Duration,
    cap: Duration,
    at_least: Duration,
) -> Duration {
    let doublings = u32::try_from(epoch.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(30);
    let doubled = base.saturating_mul(2u32.saturating_pow(doublings)).min(cap);
    let spread = f64::from(task.0.as_bytes()[0]) / 255.0 * 0.25;
    doubled.max(at_least).mul_f64(1.0 + spread)
}

#[cfg(test)]
mod tests {
    use fapo_domain::hash::ContentHash;

    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_never_undercut_what_was_asked_for() {
        let task = TaskId(ContentHash::from_bytes([0; 32]));
        let second = Duration::from_secs(1);
        let wait = |epoch, at_least| {
            backoff(
                task,
                epoch,
                second,
                second * 60,
                Duration::from_secs(at_least),
            )
            .as_secs()
        };
        assert_eq!([1, 2, 3, 4].map(|epoch| wait(epoch, 0)), [1, 2, 4, 8]);
        assert_eq!(wait(100, 0), 60);
        assert_eq!(wait(u64::MAX, 0), 60);
        assert_eq!(wait(1, 90), 90);
    }

    #[test]
    fn tasks_that_failed_together_do_not_come_back_together() {
        let second = Duration::from_secs(1);
        let wait = |byte| {
            let task = TaskId(ContentHash::from_bytes([byte; 32]));
            backoff(task, 1, second, second * 60, Duration::ZERO)
        };
        assert!(wait(255) > wait(1));
        assert!(wait(255) <= second.mul_f64(1.25));
    }
}
