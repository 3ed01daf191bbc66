//! `fapo cancel`, `fapo pause`, `fapo resume`: what is to become of a server's job.

use fapo_domain::model::job::JobStatus;
use fapo_domain::ports::optimizer::JobSummary;

use super::super::Context;
use super::super::args::ControlArgs;
use super::super::status::{self, Row};
use super::{connect, job};
use crate::exit::Exit;
use crate::remote::Remote;

pub async fn cancel(context: &Context, args: &ControlArgs) -> anyhow::Result<Exit> {
    let remote = connect(context, &args.server)?;
    cancelled(context, &remote, &args.job).await
}

pub async fn pause(context: &Context, args: &ControlArgs, paused: bool) -> anyhow::Result<Exit> {
    let remote = connect(context, &args.server)?;
    set_paused(context, &remote, &args.job, paused).await
}

pub(super) async fn cancelled(
    context: &Context,
    remote: &Remote,
    name: &str,
) -> anyhow::Result<Exit> {
    let id = job(remote, Some(name)).await?.id;
    let cancel = async || remote.optimizer.cancel(&remote.caller, id).await;
    let job = remote.patiently(&context.output, cancel).await?;
    let words = match job.status {
        JobStatus::Cancelled => "is cancelled".to_owned(),
        other => format!("was {} before", crate::report::status(other)),
    };
    show(context, &job, &words)
}

pub(super) async fn set_paused(
    context: &Context,
    remote: &Remote,
    name: &str,
    paused: bool,
) -> anyhow::Result<Exit> {
    let id = job(remote, Some(name)).await?.id;
    let set = async || {
        let (optimizer, caller) = (&remote.optimizer, &remote.caller);
        optimizer.set_paused(caller, id, paused).await
    };
    let job = remote.patiently(&context.output, set).await?;
    let words = if job.paused {
        "is paused: what is under way ends, nothing new is begun"
    } else {
        "goes on"
    };
    show(context, &job, words)
}

fn show(context: &Context, job: &JobSummary, words: &str) -> anyhow::Result<Exit> {
    context
        .output
        .note(&format!("job {} {words}", job.id.short()));
    status::show(context, &[Row::new(job, true)])?;
    Ok(Exit::Ok)
}
