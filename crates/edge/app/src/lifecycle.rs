//! The tasks of a server's process, and their end: in order, and within a bound.
//!
//! ```text
//! intake (HTTP) ─▶ work (workers, ticks, what runs now and then) ─▶ servers (gRPC, probes)
//! ```
//!
//! Each phase is told to stop once the one before it has ended or used up its part of the grace period. What has not ended by then
//! is aborted: a task whose lease nobody renews is done by another process, so nothing is lost by it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// When a task is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Intake,
    Work,
    Serve,
}

/// The phases in order, each with the part of the grace period, in percent, at which it has to be over. The rest is for telemetry.
const PHASES: [(Phase, u32); 3] = [(Phase::Intake, 20), (Phase::Work, 80), (Phase::Serve, 90)];

/// What kind of task it is: when it is told to stop, and what its end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Takes in what is asked. Waited for; without it the process is of no use.
    Intake,
    /// Claims work. Waited for, as it hands leases back; without it the process is of no use.
    Worker,
    /// Does something now and then. Aborted when work ends; its errors are logged and it is not missed.
    Periodic,
    /// Answers other processes. Waited for; without it the process is of no use.
    Server,
}

impl Kind {
    const fn phase(self) -> Phase {
        match self {
            Self::Intake => Phase::Intake,
            Self::Worker | Self::Periodic => Phase::Work,
            Self::Server => Phase::Serve,
        }
    }

    const fn is_needed(self) -> bool {
        !matches!(self, Self::Periodic)
    }
}

/// Why the process cannot go on.
#[derive(Debug)]
pub struct Failure {
    /// The task that ended.
    pub task: String,
    /// What ended it.
    pub error: anyhow::Error,
}

#[derive(Debug, Default)]
struct Group {
    stop: CancellationToken,
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<u64, (String, AbortHandle)>>>,
}

/// The tasks of a process.
#[derive(Debug)]
pub struct TaskSet {
    groups: [Group; PHASES.len()],
    next: Mutex<u64>,
    failed: mpsc::UnboundedSender<Failure>,
    failures: mpsc::UnboundedReceiver<Failure>,
}

impl Default for TaskSet {
    fn default() -> Self {
        let (failed, failures) = mpsc::unbounded_channel();
        Self {
            groups: Default::default(),
            next: Mutex::default(),
            failed,
            failures,
        }
    }
}

impl TaskSet {
    /// Starts a task. `make` is given what tells it to stop; a task of a kind that is aborted need not look at it.
    pub fn spawn<F>(
        &self,
        kind: Kind,
        name: impl Into<String>,
        make: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let name = name.into();
        let group = &self.groups[kind.phase() as usize];
        let id = {
            let mut next = lock(&self.next);
            *next += 1;
            *next
        };
        let work = AssertUnwindSafe(make(group.stop.clone())).catch_unwind();
        let (stop, failed) = (group.stop.clone(), self.failed.clone());
        let (running, task) = (Arc::clone(&group.running), name.clone());
        // held until the task stands in the table, so that it cannot leave it before it is in
        let mut table = lock(&group.running);
        let handle = group.tracker.spawn(async move {
            let ended = if kind.is_needed() {
                work.await
            } else {
                tokio::select! {
                    () = stop.cancelled() => Ok(Ok(())),
                    ended = work => ended,
                }
            };
            let error = match ended {
                Ok(Ok(())) if stop.is_cancelled() || !kind.is_needed() => None,
                Ok(Ok(())) => Some(anyhow!("it ended without being told to")),
                Ok(Err(error)) => Some(error),
                Err(_) => Some(anyhow!("it panicked; the log above has the place")),
            };
            lock(&running).remove(&id);
            match error {
                None => {}
                Some(error) if kind.is_needed() => {
                    // nobody listens any more once the process is shutting down
                    let _ = failed.send(Failure { task, error });
                }
                Some(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(task, error, "a periodic task ended; the process goes on");
                }
            }
        });
        table.insert(id, (name, handle.abort_handle()));
    }

    /// Waits until a task without which the process is of no use has ended by itself.
    pub async fn failure(&mut self) -> Failure {
        match self.failures.recv().await {
            Some(failure) => failure,
            // this set holds a sender itself
            None => std::future::pending().await,
        }
    }

    /// Ends all tasks, phase by phase, and returns the names of those that had to be aborted. Takes at most nine tenths of `grace`.
    pub async fn shut_down(self, grace: Duration) -> Vec<String> {
        let begun = Instant::now();
        let mut aborted = Vec::new();
        for (phase, percent) in PHASES {
            let group = &self.groups[phase as usize];
            group.stop.cancel();
            group.tracker.close();
            let deadline = begun + grace * percent / 100;
            if tokio::time::timeout_at(deadline, group.tracker.wait())
                .await
                .is_ok()
            {
                continue;
            }
            for (name, handle) in lock(&group.running).values() {
                tracing::warn!(
                    task = name,
                    "did not end within the grace period and is aborted"
                );
                handle.abort();
                aborted.push(name.clone());
            }
        }
        aborted
    }
}

/// The part of the grace period in which handlers of tasks have to end: that of their phase.
pub fn grace_of_work(grace: Duration) -> Duration {
    // a little earlier, so that what a handler is dropped with is still written down
    grace * 55 / 100
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // what it guards is whole after every use
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    /// A task that takes `seconds` to end once it is told to.
    fn slow(set: &TaskSet, kind: Kind, name: &'static str, seconds: u64, log: &Log) {
        let log = Arc::clone(log);
        set.spawn(kind, name, move |stop| async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            lock(&log).push(name);
            Ok(())
        });
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_end_phase_by_phase_each_after_the_one_before() {
        let (set, log) = (TaskSet::default(), Log::default());
        slow(&set, Kind::Server, "grpc", 0, &log);
        slow(&set, Kind::Worker, "execute", 2, &log);
        slow(&set, Kind::Intake, "http", 3, &log);
        let begun = Instant::now();
        let aborted = set.shut_down(Duration::from_secs(30)).await;
        assert_eq!(*lock(&log), ["http", "execute", "grpc"]);
        assert_eq!(aborted, Vec::<String>::new());
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_aborted_and_the_rest_still_ends_in_time() {
        let (set, log) = (TaskSet::default(), Log::default());
        slow(&set, Kind::Intake, "http", 1_000, &log);
        slow(&set, Kind::Worker, "execute", 1_000, &log);
        slow(&set, Kind::Server, "grpc", 1, &log);
        let begun = Instant::now();
        let aborted = set.shut_down(Duration::from_secs(20)).await;
        assert_eq!(aborted, ["http", "execute"]);
        assert_eq!(*lock(&log), ["grpc"]);
        assert!(
            begun.elapsed() <= Duration::from_secs(18),
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_needed_ends_the_process_however_it_ends() {
        for (number, said) in [(0, "without being told"), (1, "disk full"), (2, "panicked")] {
            let mut set = TaskSet::default();
            set.spawn(Kind::Worker, "score", move |_| async move {
                match number {
                    0 => Ok(()),
                    1 => Err(anyhow!("disk full")),
                    _ => panic!("planted"),
                }
            });
            let failure = set.failure().await;
            assert_eq!(failure.task, "score");
            assert!(
                failure.error.to_string().contains(said),
                "{}",
                failure.error
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_periodic_task_is_not_missed_and_need_not_listen() {
        let mut set = TaskSet::default();
        set.spawn(Kind::Periodic, "broken", |_| async { Err(anyhow!("no")) });
        set.spawn(Kind::Periodic, "endless", |_| std::future::pending());
        let waited = tokio::time::timeout(Duration::from_secs(60), set.failure()).await;
        assert!(waited.is_err(), "{waited:?}");
        let begun = Instant::now();
        assert!(set.shut_down(Duration::from_secs(30)).await.is_empty());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
