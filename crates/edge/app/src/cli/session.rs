//! A project opened for work: its folder read, its store open, its services ready.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use fapo_domain::JobId;
use fapo_domain::model::job::{Job, JobGoal, JobSpec};
use fapo_domain::problem::{Problems, Severity};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::advice::Advice;
use super::signals::Signals;
use crate::exit::Exit;
use crate::output::Output;
use crate::output::format;
use crate::ports::Ports;
use crate::progress;
use crate::project::{ImportError, LoadError, LoadedProject, import_project, load_project};
use crate::wiring::{Embedded, EmbeddedOptions};

/// A project and everything needed to run it.
pub struct Session {
    /// The folder's content.
    pub project: LoadedProject,
    /// Store, services and workers.
    pub engine: Embedded,
    /// The store's ports.
    pub ports: Ports,
}

/// Something, or the exit code of a command that has already said why there is nothing.
pub type Found<T> = Result<T, Exit>;

/// Reads the project folder. Its problems are listed on standard error and end the command.
pub fn load(context: &Context, dir: &Path) -> anyhow::Result<Found<LoadedProject>> {
    let env = context.config.env.clone();
    match load_project(dir, &|name| env.get(name).map(str::to_owned)) {
        Ok(project) => {
            for warning in project.warnings.iter() {
                context.output.note(&problem_line(&context.output, warning));
            }
            Ok(Ok(project))
        }
        Err(LoadError::Problems(problems)) => {
            list_problems(&context.output, &problems);
            Ok(Err(Exit::Problems))
        }
        Err(LoadError::NoProject { .. }) => Err(no_project(dir).into()),
        Err(error @ LoadError::Read { .. }) => Err(error.into()),
    }
}

/// Lists a project's problems on standard error, with their number.
pub fn list_problems(output: &Output, problems: &Problems) {
    list_problems_of("the project has problems", output, problems);
}

/// The same for what `error` says has them.
pub fn list_problems_of(error: &str, output: &Output, problems: &Problems) {
    if output.json {
        let body = serde_json::json!({
            "error": error,
            "problems": problems,
            "exit": Exit::Problems.code(),
        });
        output.error(&body.to_string());
        return;
    }
    for problem in problems.iter() {
        output.error(&problem_line(output, problem));
    }
    let errors = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .count() as u64;
    output.error(&format!(
        "{}: {}",
        output.notes.bad("error"),
        format::counted(errors, "problem")
    ));
}

/// A problem as it is shown: place, what is wrong, what to do.
pub fn problem_line(output: &Output, problem: &fapo_domain::problem::Problem) -> String {
    let text = crate::output::style::printable(&problem.to_string());
    let style = output.notes;
    match problem.severity {
        Severity::Error => text.replacen("error[", &format!("{}[", style.bad("error")), 1),
        Severity::Warning => text.replacen("warning[", &format!("{}[", style.warn("warning")), 1),
    }
}

impl Session {
    /// Reads the project and opens its store and services.
    pub async fn open(context: &Context, dir: &Path) -> anyhow::Result<Found<Self>> {
        let project = match load(context, dir)? {
            Ok(project) => project,
            Err(exit) => return Ok(Err(exit)),
        };
        let options = EmbeddedOptions {
            env: context.config.env.clone(),
            worlds: project.worlds.clone(),
            recording: project.recording.clone(),
            abort_after_commits: context.config.abort_after_commits,
        };
        let engine = Embedded::open(&project.dir, options)
            .await
            .with_context(|| format!("cannot open the project's store in {}", dir.display()))?;
        let ports = Ports::over(Arc::clone(engine.store()));
        Ok(Ok(Self {
            project,
            engine,
            ports,
        }))
    }

    /// Checks that the models of a job can be called, before anything is paid: the key of the one that proposes would be
    /// missed only after the whole baseline.
    pub async fn check_models(&self, spec: &JobSpec) -> anyhow::Result<()> {
        let pipeline = &self.project.pipeline;
        let callable = self.engine.callable();
        callable.check(&spec.project, &spec.goal, pipeline).await
    }

    /// Imports the data, and checks that its models can be called. Problems of the data are listed and end the command.
    pub async fn import(&self, context: &Context, goal: JobGoal) -> anyhow::Result<Found<JobSpec>> {
        match import_project(&self.project, &self.ports, goal).await {
            Ok(imported) => {
                if !imported.dataset.near_duplicates.is_empty() {
                    context
                        .output
                        .note(&near_duplicates(&imported.dataset.near_duplicates));
                }
                self.check_models(&imported.spec).await?;
                Ok(Ok(imported.spec))
            }
            Err(ImportError::Problems(problems)) => {
                list_problems(&context.output, &problems);
                Ok(Err(Exit::Problems))
            }
            Err(error @ ImportError::Store(_)) => Err(error.into()),
        }
    }

    /// Runs a job to its end with live progress. Ctrl-C hands the work back and ends with what there is.
    pub async fn run_job(&self, context: &Context, job: JobId) -> anyhow::Result<(Job, bool)> {
        let stop = CancellationToken::new();
        let done = CancellationToken::new();
        // what an earlier process did is not news
        let seen = last_event(&self.ports, job).await?;
        let watcher = tokio::spawn(progress::watch(
            self.ports.clone(),
            job,
            seen,
            context.output.clone(),
            done.clone(),
        ));
        let signals = Signals::take().context("cannot listen for Ctrl-C")?;
        let interrupts = tokio::spawn(interrupted(signals, stop.clone(), context.output.clone()));
        let ended = Box::pin(self.engine.run_job(job, stop.clone())).await;
        interrupts.abort();
        done.cancel();
        // the watcher only shows; its end is waited for so that its lines come before the summary
        let _ = watcher.await;
        // so that a copy of the database file is a copy of the store; where it cannot be, the log has everything
        if let Err(error) = self.engine.store().fold_log().await {
            tracing::debug!(%error, "the write-ahead log stays");
        }
        Ok((ended?, stop.is_cancelled()))
    }
}

/// The first Ctrl-C (or a polite kill) hands work back; a second one ends the process at once.
async fn interrupted(mut signals: Signals, stop: CancellationToken, output: Output) {
    while signals.next().await {
        if stop.is_cancelled() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        output.note("stopping: what is under way is handed back (again to end at once)");
        stop.cancel();
    }
}

async fn last_event(ports: &Ports, job: JobId) -> anyhow::Result<u64> {
    let row = ports.jobs.get_job(job).await?;
    Ok(crate::report::assemble::all_events(ports, &row)
        .await?
        .last()
        .map_or(0, |event| event.seq))
}

fn near_duplicates(found: &[fapo_domain::ports::datasets::NearDuplicate]) -> String {
    let examples = found
        .iter()
        .take(3)
        .map(|pair| {
            let ((split_a, a), (split_b, b)) = (&pair.a, &pair.b);
            format!("{a} ({split_a}) and {b} ({split_b})")
        })
        .collect::<Vec<_>>();
    format!(
        "warning: cases of different splits are nearly the same, which flatters scores: {}{}",
        examples.join("; "),
        if found.len() > 3 { "; ..." } else { "" }
    )
}

/// Opens only the store, for commands that read. A project without one is told how to get one.
pub async fn open_store(context: &Context, dir: &Path) -> anyhow::Result<Ports> {
    let store = open_store_if_any(context, dir).await?;
    Ok(store.ok_or_else(|| nothing_was_run(dir))?)
}

/// The same; `None` in a project in which nothing was run yet.
pub async fn open_store_if_any(context: &Context, dir: &Path) -> anyhow::Result<Option<Ports>> {
    let store = Embedded::open_store(dir, context.config.abort_after_commits)
        .await
        .with_context(|| format!("cannot open the project's store in {}", dir.display()))?;
    if store.is_none() && !dir.join("fapo.yaml").is_file() {
        return Err(no_project(dir).into());
    }
    Ok(store.map(Ports::over))
}

/// What is said of a folder that is no project.
pub fn no_project(dir: &Path) -> Advice {
    Advice::new(
        format!("{} is not a project: it has no fapo.yaml", dir.display()),
        format!("`fapo init {}` makes one", dir.display()),
    )
}

/// What is said of a project without a store.
pub fn nothing_was_run(dir: &Path) -> Advice {
    Advice::new(
        format!("nothing was run in {} yet", dir.display()),
        format!("`fapo eval {0}` or `fapo optimize {0}`", dir.display()),
    )
}
