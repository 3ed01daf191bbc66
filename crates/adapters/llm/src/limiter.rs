//! How many calls may be under way at one provider: additive increase, multiplicative decrease (Chiu & Jain 1989).
//!
//! The limit starts at a quarter of the cap, grows by one for every `limit` successes, and is halved when the provider
//! says that it is overloaded. Calls that were already under way when the limit was halved do not halve it again: they
//! were sent under the old limit and say nothing about the new one. A `Retry-After` holds back all callers, not only the
//! one that met it. Waiting is first come, first served.
//!
//! The state is behind a mutex that is never held across an await; the common case (a free slot, nobody waiting) takes it
//! twice per call and allocates nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// The longest pause that callers sit out. When a provider asks for more (a daily quota, say), callers fail at once.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(300);

/// An adaptive concurrency limit.
#[derive(Debug)]
pub struct Limiter {
    cap: u32,
    state: Mutex<State>,
    /// Signalled when a pause begins or grows, so that waiting callers set their alarm.
    paused: Notify,
}

#[derive(Debug)]
struct State {
    limit: u32,
    in_flight: u32,
    /// Successes since the limit last changed.
    successes: u32,
    /// How often the limit was halved.
    cuts: u64,
    paused_until: Option<Instant>,
    queue: VecDeque<oneshot::Sender<Permit>>,
}

/// The provider asked for a pause that is too long to sit out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused {
    /// How long it still lasts.
    pub left: Duration,
}

/// A limiter at one moment, for metrics and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Calls that may be under way.
    pub limit: u32,
    /// Calls under way.
    pub in_flight: u32,
    /// Callers that wait.
    pub waiting: usize,
    /// Whether the provider asked for a pause that still lasts.
    pub paused: bool,
}

/// The right to make one call. Dropping it gives the slot back without a word about the provider.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<Limiter>,
    /// The number of cuts when it was granted.
    cuts: u64,
    armed: bool,
}

impl Limiter {
    /// A limiter that never allows more than `cap` (at least one) calls and starts at a quarter of it.
    pub fn new(cap: u32) -> Arc<Self> {
        let cap = cap.max(1);
        Arc::new(Self {
            cap,
            state: Mutex::new(State {
                limit: (cap / 4).max(1),
                in_flight: 0,
                successes: 0,
                cuts: 0,
                paused_until: None,
                queue: VecDeque::new(),
            }),
            paused: Notify::new(),
        })
    }

    /// Waits for a slot, behind everybody who came before. Dropping the future gives up the place.
    ///
    /// # Errors
    /// [`Paused`] when the provider asked for a pause of more than five minutes that still lasts.
    pub async fn acquire(self: &Arc<Self>) -> Result<Permit, Paused> {
        let mut ticket = {
            let mut state = self.state();
            state.check_pause()?;
            if state.queue.is_empty() && state.may_enter() {
                state.in_flight += 1;
                return Ok(self.permit(&state));
            }
            let (sender, ticket) = oneshot::channel();
            state.forget_the_gone();
            state.queue.push_back(sender);
            ticket
        };
        loop {
            // Created before the pause is read, so a pause that begins in between is not missed.
            let changed = self.paused.notified();
            let alarm = {
                let mut state = self.state();
                let pause = state.check_pause()?;
                self.grant(&mut state);
                pause
            };
            let alarm_rings = async {
                match alarm {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                permit = &mut ticket => {
                    return Ok(permit.expect("a sender leaves the queue only by sending a permit"));
                }
                () = alarm_rings => {}
                () = changed => {}
            }
        }
    }

    /// What it allows now.
    pub fn snapshot(&self) -> Snapshot {
        let mut state = self.state();
        let paused = !matches!(state.check_pause(), Ok(None));
        Snapshot {
            limit: state.limit,
            in_flight: state.in_flight,
            waiting: state
                .queue
                .iter()
                .filter(|sender| !sender.is_closed())
                .count(),
            paused,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while the limiter's state is held")
    }

    fn permit(self: &Arc<Self>, state: &State) -> Permit {
        Permit {
            limiter: Arc::clone(self),
            cuts: state.cuts,
            armed: true,
        }
    }

    /// Hands free slots to those who wait longest.
    fn grant(self: &Arc<Self>, state: &mut State) {
        while state.may_enter() {
            let Some(sender) = state.queue.pop_front() else {
                return;
            };
            match sender.send(self.permit(state)) {
                Ok(()) => state.in_flight += 1,
                // The caller is gone; the permit was never counted.
                Err(mut permit) => permit.armed = false,
            }
        }
    }

    fn release(self: &Arc<Self>, outcome: Outcome, cuts: u64) {
        let mut state = self.state();
        state.in_flight -= 1;
        match outcome {
            Outcome::Silent => {}
            Outcome::Success => {
                state.successes += 1;
                if state.successes >= state.limit && state.limit < self.cap {
                    state.limit += 1;
                    state.successes = 0;
                }
            }
            Outcome::Overloaded(pause) => {
                if cuts == state.cuts {
                    state.limit = (state.limit / 2).max(1);
                    state.cuts += 1;
                    state.successes = 0;
                }
                if let Some(until) = pause.and_then(|pause| Instant::now().checked_add(pause))
                    && state.paused_until.is_none_or(|earlier| earlier < until)
                {
                    state.paused_until = Some(until);
                    self.paused.notify_waiters();
                }
            }
        }
        if state.check_pause() == Ok(None) {
            self.grant(&mut state);
        }
    }
}

impl State {
    /// Whether a slot is free now. The pause is ended by [`Self::check_pause`] only.
    fn may_enter(&self) -> bool {
        self.paused_until.is_none() && self.in_flight < self.limit
    }

    /// Ends a pause that is over; tells when one that lasts ends.
    fn check_pause(&mut self) -> Result<Option<Instant>, Paused> {
        let Some(until) = self.paused_until else {
            return Ok(None);
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.paused_until = None;
            Ok(None)
        } else if left > MAX_PAUSE {
            Err(Paused { left })
        } else {
            Ok(Some(until))
        }
    }

    /// Keeps callers that gave up from piling up in the queue: each clean-up removes at least half of it or is the last
    /// before it has doubled.
    fn forget_the_gone(&mut self) {
        if self.queue.len() >= 64 && self.queue.len().is_power_of_two() {
            self.queue.retain(|sender| !sender.is_closed());
        }
    }
}

enum Outcome {
    Silent,
    Success,
    Overloaded(Option<Duration>),
}

impl Permit {
    /// Gives the slot back after an answer.
    pub fn succeeded(self) {
        self.finish(Outcome::Success);
    }

    /// Gives the slot back after the provider said that it is overloaded, and how long it asked to be left alone.
    pub fn overloaded(self, retry_after: Option<Duration>) {
        self.finish(Outcome::Overloaded(retry_after));
    }

    fn finish(mut self, outcome: Outcome) {
        self.armed = false;
        self.limiter.release(outcome, self.cuts);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.armed {
            self.limiter.release(Outcome::Silent, self.cuts);
        }
    }
}

#[cfg(test)]
mod tests;
