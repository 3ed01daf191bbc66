//! `fapo tasks`: tasks that failed for good, and trying them again.

use fapo_domain::JobId;
use fapo_domain::model::job::JobStatus;
use fapo_domain::ports::tasks::DeadTask;

use super::advice::Advice;
use super::args::{JobArgs, TasksCommand};
use super::remote::{self, connect};
use super::session::open_store;
use super::{Context, find};
use crate::exit::Exit;
use crate::output::format;
use crate::output::table::Columns;
use crate::remote::Remote;
use crate::wiring::Embedded;

pub async fn run(context: &Context, command: &TasksCommand) -> anyhow::Result<Exit> {
    let (TasksCommand::List(args) | TasksCommand::Retry(args)) = command;
    let retry = matches!(command, TasksCommand::Retry(_));
    match args.server.named() {
        Some(server) => {
            let remote = connect(context, &server)?;
            let name = remote::show::named(&args.dir, args.job.as_deref());
            there(context, &remote, name, retry).await
        }
        None => here(context, args, retry).await,
    }
}

/// In a folder's own store.
async fn here(context: &Context, args: &JobArgs, retry: bool) -> anyhow::Result<Exit> {
    let ports = open_store(context, &args.dir).await?;
    let job = find::job(&ports, args.job.as_deref()).await?;
    if !retry {
        let dead = ports.tasks.dead_tasks(job.id).await?;
        list(context, job.id, &dead)?;
        return Ok(Exit::Ok);
    }
    // it alone may write while it works
    if Embedded::is_at_work(&args.dir)? {
        return Err(Advice::new(
            format!("another fapo works in {}", args.dir.display()),
            "wait for it: once the job has failed, its dead tasks can be tried again",
        )
        .into());
    }
    let revived = match job.status {
        JobStatus::Failed => ports.tasks.retry_dead_tasks(job.id).await?,
        JobStatus::Running | JobStatus::Done | JobStatus::Cancelled => 0,
    };
    let next = format!("`fapo optimize {}` goes on with it", args.dir.display());
    retried(context, job.id, revived, &next)
}

/// At a server.
pub async fn there(
    context: &Context,
    remote: &Remote,
    name: Option<&str>,
    retry: bool,
) -> anyhow::Result<Exit> {
    let id = remote::job(remote, name).await?.id;
    let (optimizer, caller) = (&remote.optimizer, &remote.caller);
    if retry {
        let call = async || optimizer.retry_dead_tasks(caller, id).await;
        let revived = remote.patiently(&context.output, call).await?;
        let next = format!(
            "`{}` shows it as it goes",
            remote::command("watch", remote, id)
        );
        return retried(context, id, revived, &next);
    }
    list(context, id, &optimizer.dead_tasks(caller, id).await?)?;
    Ok(Exit::Ok)
}

fn list(context: &Context, job: JobId, dead: &[DeadTask]) -> std::io::Result<()> {
    if context.output.json {
        return context.output.json(&dead);
    }
    if dead.is_empty() {
        context
            .output
            .note(&format!("job {} has no dead tasks", job.short()));
        return Ok(());
    }
    let mut table = Columns::new(&["task", "what", "reason"]);
    for task in dead {
        table.row([
            task.id.short(),
            task.topic.as_str().to_owned(),
            format::one_line(&task.reason, 300),
        ]);
    }
    context.output.data(&table.finish())
}

fn retried(context: &Context, job: JobId, revived: u64, next: &str) -> anyhow::Result<Exit> {
    if context.output.json {
        context.output.json(&serde_json::json!({
            "job": job.to_string(), "retried": revived,
        }))?;
    }
    if revived == 0 {
        context.output.note(&format!(
            "job {} has no dead tasks that could be tried again",
            job.short()
        ));
    } else {
        let tasks = format::counted(revived, "task");

        context.output.note(&format!(
            "job {}: {tasks} put back to work; {next}",
            job.short()
        ));
    }
    Ok(Exit::Ok)
}
