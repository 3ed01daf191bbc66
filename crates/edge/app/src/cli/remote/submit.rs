//! `fapo submit`: sends a project to a server, as a job.

use fapo_domain::model::job::JobGoal;
use fapo_domain::ports::optimizer::{JobSummary, OptimizerError, Submission};
use serde::Serialize;

use super::super::Context;
use super::super::args::SubmitArgs;
use super::super::session::{list_problems, no_project};
use super::super::status::Row;
use super::{command, connect, watch};
use crate::exit::Exit;
use crate::output::format;
use crate::output::table::Columns;
use crate::project::{LoadError, ProjectFiles, project_files};
use crate::remote::{Remote, Upload, request_id};

pub async fn run(context: &Context, args: &SubmitArgs) -> anyhow::Result<Exit> {
    let project = match project_files(&args.dir) {
        Ok(project) => project,
        Err(LoadError::Problems(problems)) => {
            list_problems(&context.output, &problems);
            return Ok(Exit::Problems);
        }
        Err(LoadError::NoProject { .. }) => return Err(no_project(&args.dir).into()),
        Err(error @ LoadError::Read { .. }) => return Err(error.into()),
    };
    if args.dry_run {
        dry_run(context, &project)?;
        return Ok(Exit::Ok);
    }
    let remote = connect(context, &args.server)?;
    submit(context, &remote, project, args).await
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Submitted {
    request_id: String,
    #[serde(flatten)]
    job: Row,
}

/// Sends the project to `remote`, and watches the job where that is asked for.
pub(super) async fn submit(
    context: &Context,
    remote: &Remote,
    project: ProjectFiles,
    args: &SubmitArgs,
) -> anyhow::Result<Exit> {
    let output = &context.output;
    let upload = Upload::new(project.files);
    let request_id = match &args.request_id {
        Some(id) => id.clone(),
        None => request_id(upload.manifest()),
    };
    // said before anything is sent: whoever is cut off can repeat it
    output.note(&format!("request {request_id}"));
    upload.send(remote, output).await?;
    let submission = Submission {
        request_id: request_id.clone(),
        project: project.spec.name,
        files: upload.manifest().clone(),
        goal: JobGoal::Optimize,
    };
    let send = async || {
        let submission = submission.clone();
        remote
            .optimizer
            .submit(&remote.caller, submission, None)
            .await
    };
    let job = match remote.patiently(output, send).await {
        Ok(job) => job,
        Err(OptimizerError::Project(problems)) => {
            list_problems(output, &problems);
            return Ok(Exit::Problems);
        }
        Err(error) => return Err(error.into()),
    };
    output.note(&format!("job {} begins", job.id.short()));
    if args.watch {
        return watch::to_its_end(context, remote, job.id).await;
    }
    show(context, remote, &job, request_id)?;
    Ok(Exit::Ok)
}

fn show(
    context: &Context,
    remote: &Remote,
    job: &JobSummary,
    request_id: String,
) -> std::io::Result<()> {
    if context.output.json {
        let job = Row::new(job, true);
        return context.output.json(&Submitted { request_id, job });
    }
    context.output.note(&format!(
        "`{}` shows it as it goes",
        command("watch", remote, job.id)
    ));
    context.output.data(&job.id.to_string())
}

/// Lists the files that would be sent.
fn dry_run(context: &Context, project: &ProjectFiles) -> std::io::Result<()> {
    let sizes = project
        .files
        .iter()
        .map(|(path, content)| (path, content.len() as u64));
    let total: u64 = sizes.clone().map(|(_, bytes)| bytes).sum();
    if context.output.json {
        let files: Vec<_> = sizes
            .map(|(path, bytes)| serde_json::json!({ "path": path, "bytes": bytes }))
            .collect();
        return context.output.json(&serde_json::json!({
            "project": project.spec.name, "files": files, "bytes": total,
        }));
    }
    let mut table = Columns::new(&["file", ">size"]);
    for (path, bytes) in sizes {
        table.row([path.clone(), format::bytes(bytes)]);
    }
    context.output.data(&table.finish())?;
    context.output.note(&format!(
        "{} of {}, {} in all; nothing is sent",
        format::counted(project.files.len() as u64, "file"),
        project.spec.name,
        format::bytes(total)
    ));
    Ok(())
}
