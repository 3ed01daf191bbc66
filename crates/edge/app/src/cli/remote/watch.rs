//! `fapo watch`: a server's job as it goes, and the summary of its end.

use anyhow::Context as _;
use fapo_domain::JobId;
use fapo_domain::model::job::{JobGoal, JobStatus};
use fapo_domain::ports::optimizer::JobSummary;
use tokio_util::sync::CancellationToken;

use super::super::Context;
use super::super::args::WatchArgs;
use super::super::optimize::{Next, Summary, exit_of};
use super::super::signals::Signals;
use super::super::status::{self, Row};
use super::{command, connect, job};
use crate::exit::Exit;
use crate::output::Output;
use crate::progress::{Followed, follow};
use crate::remote::Remote;

pub async fn run(context: &Context, args: &WatchArgs) -> anyhow::Result<Exit> {
    let remote = connect(context, &args.server)?;
    let job = job(&remote, args.job.as_deref()).await?;
    Box::pin(to_its_end(context, &remote, job.id)).await
}

/// Shows a job until it is over, and sums it up. Ctrl-C leaves it running on the server.
pub async fn to_its_end(context: &Context, remote: &Remote, job: JobId) -> anyhow::Result<Exit> {
    let signals = Signals::take().context("cannot listen for Ctrl-C")?;
    let stop = CancellationToken::new();
    let waiting = tokio::spawn(leave(signals, stop.clone()));
    let followed = watched(context, remote, job, &stop).await;
    waiting.abort();
    followed
}

/// The first Ctrl-C (or a polite kill) ends the watching: there is nothing here to hand back.
async fn leave(mut signals: Signals, stop: CancellationToken) {
    signals.next().await;
    stop.cancel();
}

/// The same, until `stop` is cancelled.
pub(super) async fn watched(
    context: &Context,
    remote: &Remote,
    job: JobId,
    stop: &CancellationToken,
) -> anyhow::Result<Exit> {
    match follow(remote, job, &context.output, stop).await? {
        Followed::Left => {
            said_to_go_on(&context.output, remote, job);
            Ok(Exit::Interrupted)
        }
        Followed::Ended(job) => sum_up(context, remote, &job).await,
    }
}

fn said_to_go_on(output: &Output, remote: &Remote, job: JobId) {
    output.note(&format!(
        "job {} goes on at the server; `{}` watches on, `{}` ends it",
        job.short(),
        command("watch", remote, job),
        command("cancel", remote, job)
    ));
}

async fn sum_up(context: &Context, remote: &Remote, job: &JobSummary) -> anyhow::Result<Exit> {
    if job.goal == JobGoal::Optimize {
        let data = remote.report(job.id).await?;
        let next = Next {
            export: format!("{} --to best", command("export", remote, job.id)),
            report: command("report", remote, job.id),
        };
        Summary::new(&data, job.baseline, None).show(context, &data, &next)?;
    } else {
        status::show(context, &[Row::new(job, true)])?;
    }
    if job.status == JobStatus::Failed {
        context.output.note(&format!(
            "{}: {}",
            context.output.notes.accent("hint"),
            again(remote, job)
        ));
    }
    Ok(exit_of(job.status))
}

/// What helps after a failed job: it goes on only where a task that died can be tried again.
fn again(remote: &Remote, job: &JobSummary) -> String {
    if job.dead.is_empty() {
        "mend the cause; then submit the project again, for which the replies that are stored cost nothing".to_owned()
    } else {
        let retry = command("tasks retry", remote, job.id);
        format!("mend the cause; then `{retry}` tries the tasks that died again")
    }
}
