//! Following a job that a server runs.

use std::time::Duration;

use fapo_domain::JobId;
use fapo_domain::ports::optimizer::{JobSummary, OptimizerError};
use tokio_util::sync::CancellationToken;

use super::{PAGE, View};
use crate::output::Output;
use crate::remote::{Remote, may_pass};

/// How long the server holds a question for news.
const WAIT: Duration = Duration::from_secs(2);

/// The first and the longest pause after a try that failed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// How following a job ended.
#[derive(Debug)]
pub enum Followed {
    /// The job is over.
    Ended(Box<JobSummary>),
    /// The follower was told to stop; the job goes on without it.
    Left,
}

/// Shows a job's progress, its whole history first, until it is over or `stop` is cancelled. A server that is gone for a while is
/// asked again and again, and the person is told once.
///
/// # Errors
/// What trying again cannot mend: the job does not exist, the token is not valid.
pub async fn follow(
    remote: &Remote,
    job: JobId,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Followed, OptimizerError> {
    let mut view = View::new(output, 0);
    let followed = tokio::select! {
        ended = to_its_end(remote, job, output, &mut view) => ended.map(Followed::Ended),
        () = stop.cancelled() => Ok(Followed::Left),
    };
    view.clear();
    followed
}

async fn to_its_end(
    remote: &Remote,
    job: JobId,
    output: &Output,
    view: &mut View,
) -> Result<Box<JobSummary>, OptimizerError> {
    let mut gone = Gone::default();
    loop {
        match news(remote, job, view).await {
            Ok(summary) => {
                if let Some(line) = gone.back(remote) {
                    output.note(&line);
                }
                if summary.status.is_final() {
                    return Ok(Box::new(summary));
                }
            }
            Err(error) if may_pass(&error) => {
                if let Some(line) = gone.again(remote, &error) {
                    output.note(&line);
                }
                tokio::time::sleep(gone.pause).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits for news a while, takes in what there is, and returns the job as it then stands: with every event of it said where it is
/// over.
async fn news(remote: &Remote, job: JobId, view: &mut View) -> Result<JobSummary, OptimizerError> {
    let (optimizer, caller) = (&remote.optimizer, &remote.caller);
    let mut wait = WAIT;
    loop {
        let events = optimizer.events(caller, job, view.seq, PAGE, wait).await?;
        let full = events.len() >= PAGE as usize;
        view.say(&events);
        if full {
            wait = Duration::ZERO;
            continue;
        }
        let summary = optimizer.job(caller, job).await?;
        if !summary.status.is_final() {
            view.show(&summary);
            return Ok(summary);
        }
        // its last events were written with its end, which may have come after the look above
        if events.is_empty() {
            return Ok(summary);
        }
        wait = Duration::ZERO;
    }
}

/// A server that does not answer.
#[derive(Debug, Default)]
struct Gone {
    tries: u32,
    pause: Duration,
}

impl Gone {
    /// One more try failed; what to say, the first time.
    fn again(&mut self, remote: &Remote, error: &OptimizerError) -> Option<String> {
        self.tries += 1;
        self.pause = (self.pause * 2).clamp(PAUSE.0, PAUSE.1);
        (self.tries == 1).then(|| {
            format!(
                "{}; the job is not touched by that, trying again",
                remote.silent(error)
            )
        })
    }

    /// A try succeeded; what to say, where others had failed.
    fn back(&mut self, remote: &Remote) -> Option<String> {
        let was_gone = self.tries > 0;
        *self = Self::default();
        was_gone.then(|| format!("{} answers again", remote.server))
    }
}
