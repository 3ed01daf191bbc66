//! `fapo status`: how the project's jobs stand.

use fapo_domain::model::job::{JobEvent, JobGoal, JobStatus};
use fapo_domain::ports::optimizer::JobSummary;
use fapo_orchestrator::{UNKNOWN_PHASE, read_summary};
use serde::Serialize;

use super::args::StatusArgs;
use super::session::{nothing_was_run, open_store_if_any};
use super::summary::{Spending, spending};
use super::{Context, find};
use crate::exit::Exit;
use crate::output::format;
use crate::output::style::Style;
use crate::output::table::Columns;
use crate::progress::event_line;
use crate::report::assemble::all_events;
use crate::wiring::Embedded;

/// Jobs listed.
pub const SHOWN: usize = 20;

/// Events shown of one job.
const EVENTS: usize = 12;

pub async fn run(context: &Context, args: &StatusArgs) -> anyhow::Result<Exit> {
    if let Some(server) = args.server.named() {
        return super::remote::show::status(context, args, &server).await;
    }
    let Some(ports) = open_store_if_any(context, &args.dir).await? else {
        if args.job.is_some() {
            return Err(nothing_was_run(&args.dir).into());
        }
        // no job is an answer, and no failure
        if context.output.json {
            context.output.json(&[(); 0])?;
        }
        context
            .output
            .note(&format!("{}", nothing_was_run(&args.dir)));
        return Ok(Exit::Ok);
    };
    // before the jobs are read: one that ends in between is not taken for an interrupted one
    let at_work = Embedded::is_at_work(&args.dir)?;
    let jobs = match &args.job {
        Some(name) => vec![find::job(&ports, Some(name)).await?],
        None => find::jobs(&ports).await?,
    };
    let mut rows = Vec::new();
    for job in jobs.iter().take(SHOWN) {
        let summary = read_summary(&*ports.jobs, &*ports.ledger, job).await?;
        rows.push(Row::new(&summary, at_work));
    }
    show(context, &rows)?;
    if context.output.json {
        return Ok(Exit::Ok);
    }
    if rows.iter().any(Row::is_interrupted) {
        context.output.note(
            "an interrupted job goes on where it was: the command that began it takes it up again",
        );
    }
    if let (Some(_), Some(job)) = (&args.job, jobs.first()) {
        show_events(context, &all_events(&ports, job).await?)?;
    } else if jobs.len() > SHOWN {
        context
            .output
            .note(&format!("... and {} older", jobs.len() - SHOWN));
    }
    Ok(Exit::Ok)
}

/// Writes the table of jobs, or its JSON.
pub fn show(context: &Context, rows: &[Row]) -> std::io::Result<()> {
    if context.output.json {
        context.output.json(&rows)
    } else {
        context.output.data(&text(rows))
    }
}

/// Writes the end of a job's history.
pub fn show_events(context: &Context, events: &[JobEvent]) -> std::io::Result<()> {
    let lines: Vec<String> = events
        .iter()
        .filter_map(|event| serde_json::from_value(event.body.clone()).ok())
        .filter_map(|event| event_line(&event, Style::new(context.output.style.is_on())))
        .collect();
    let from = lines.len().saturating_sub(EVENTS);
    context
        .output
        .data(&format!("\n{}", lines[from..].join("\n")))
}

/// A job in figures.
#[derive(Debug, Serialize)]
pub struct Row {
    job: String,
    short: String,
    goal: String,
    status: JobStatus,
    /// Whether it was paused, and waits to be resumed.
    paused: bool,
    /// Whether a process works on it now; one that is running and is not worked on was interrupted.
    at_work: bool,
    phase: Option<String>,
    created_at: i64,
    updated_at: i64,
    started: String,
    /// None before the end.
    took: Option<String>,
    baseline: Option<f64>,
    best: Option<f64>,
    proposals: Option<u32>,
    stopped: Option<String>,
    dead: Vec<String>,
    spending: Spending,
}

impl Row {
    /// A process at work takes up whatever is not ended, so `at_work` is that of the project; a server is always at work.
    pub fn new(job: &JobSummary, at_work: bool) -> Self {
        let goal = match &job.goal {
            JobGoal::Optimize => "optimize".to_owned(),
            JobGoal::Evaluate { split, .. } => format!("eval {split}"),
        };
        let is_known = job.phase != UNKNOWN_PHASE;
        Self {
            job: job.id.to_string(),
            short: job.id.short(),
            goal,
            status: job.status,
            paused: job.paused,
            at_work: at_work && !job.status.is_final(),
            phase: is_known.then(|| job.phase.clone()),
            created_at: job.created_at.0,
            updated_at: job.updated_at.0,
            started: format::moment(job.created_at),
            took: job
                .status
                .is_final()
                .then(|| format::duration(job.updated_at.since(job.created_at))),
            baseline: job.baseline_mean,
            best: job.best_mean.filter(|_| job.best != job.baseline),
            proposals: (is_known && job.goal == JobGoal::Optimize).then_some(job.proposals.0),
            stopped: job.stopped.clone(),
            dead: job.dead.clone(),
            spending: spending(&job.balance),
        }
    }

    const fn is_interrupted(&self) -> bool {
        matches!(self.status, JobStatus::Running) && !self.at_work
    }

    /// The status for people.
    const fn shown_status(&self) -> &'static str {
        if self.is_interrupted() {
            "interrupted"
        } else if self.paused && matches!(self.status, JobStatus::Running) {
            "paused"
        } else {
            crate::report::status(self.status)
        }
    }
}

fn text(rows: &[Row]) -> String {
    let mut table = Columns::new(&[
        "job",
        "what",
        "status",
        "started",
        ">took",
        ">score",
        ">best",
        ">proposals",
        ">spent",
        ">calls",
    ]);
    let mut notes = Vec::new();
    for row in rows {
        let percent = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), format::percent);
        table.row([
            row.short.clone(),
            row.goal.clone(),
            row.shown_status().to_owned(),
            row.started.clone(),
            row.took.clone().unwrap_or_else(|| "–".to_owned()),
            percent(row.baseline),
            percent(row.best),
            row.proposals
                .map_or_else(|| "–".to_owned(), |count| count.to_string()),
            fapo_domain::MicroUsd::from_usd(row.spending.usd()).to_string(),
            format::count(row.spending.model_calls()),
        ]);
        for reason in &row.dead {
            notes.push(format!(
                "{}: a task died: {}",
                row.short,
                format::one_line(reason, 200)
            ));
        }
    }
    let mut text = table.finish();
    if !notes.is_empty() {
        text.push_str("\n\n");
        text.push_str(&crate::output::style::printable(&notes.join("\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use fapo_domain::ContentHash;
    use fapo_domain::model::job::Job;
    use fapo_domain::ports::ledger::Balance;
    use fapo_orchestrator::summarize;

    use super::*;
    use crate::report::fixture::{job, report, state};

    fn row(job: &Job, balance: Balance, at_work: bool) -> Row {
        Row::new(&summarize(job, balance, ContentHash::of(b"")), at_work)
    }

    #[test]
    fn jobs_are_listed_with_their_figures() {
        let data = report();
        let job = Job {
            state: serde_json::to_value(state()).unwrap(),
            ..job()
        };
        let row = row(&job, data.balance, true);
        insta::assert_snapshot!(text(&[row]));
    }

    #[test]
    fn a_state_of_a_newer_program_leaves_blanks_instead_of_failing() {
        let job = Job {
            state: serde_json::json!({ "format": 99 }),
            ..job()
        };
        let row = row(&job, Balance::default(), false);
        let shown = text(&[row]);
        assert!(shown.contains("optimize") && shown.contains('–'), "{shown}");
    }
}
