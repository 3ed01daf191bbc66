//! `fapo status`: how the project's jobs stand.

use fapo_domain::model::job::{Job, JobGoal, JobStatus};
use fapo_domain::ports::ledger::Balance;
use fapo_policy::JobState;
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
use crate::report::assemble::{all_events, read_state};
use crate::wiring::Embedded;

/// Jobs listed.
const SHOWN: usize = 20;

/// Events shown of one job.
const EVENTS: usize = 12;

pub async fn run(context: &Context, args: &StatusArgs) -> anyhow::Result<Exit> {
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
        let balance = ports.ledger.balance(job.id).await?;
        let state = read_state(job).ok();
        rows.push(Row::new(job, state.as_ref(), &balance, at_work));
    }
    if context.output.json {
        context.output.json(&rows)?;
        return Ok(Exit::Ok);
    }
    context.output.data(&text(&rows))?;
    if rows.iter().any(Row::is_interrupted) {
        context.output.note(
            "an interrupted job goes on where it was: the command that began it takes it up again",
        );
    }
    if let (Some(_), Some(job)) = (&args.job, jobs.first()) {
        let lines: Vec<String> = all_events(&ports, job)
            .await?
            .iter()
            .filter_map(|event| serde_json::from_value(event.body.clone()).ok())
            .filter_map(|event| event_line(&event, Style::new(context.output.style.is_on())))
            .collect();
        let from = lines.len().saturating_sub(EVENTS);
        context
            .output
            .data(&format!("\n{}", lines[from..].join("\n")))?;
    } else if jobs.len() > SHOWN {
        context
            .output
            .note(&format!("... and {} older", jobs.len() - SHOWN));
    }
    Ok(Exit::Ok)
}

/// A job in figures.
#[derive(Debug, Serialize)]
struct Row {
    job: String,
    short: String,
    goal: String,
    status: JobStatus,
    /// Whether a process works on it now; one that is running and is not worked on was interrupted.
    at_work: bool,
    phase: Option<fapo_policy::Phase>,
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
    /// A process at work takes up whatever is not ended, so `at_work` is that of the project.
    fn new(job: &Job, state: Option<&JobState>, balance: &Balance, at_work: bool) -> Self {
        let goal = match &job.spec.goal {
            JobGoal::Optimize => "optimize".to_owned(),
            JobGoal::Evaluate { split, .. } => format!("eval {split}"),
        };
        let evaluated = state
            .and_then(|state| state.evaluated.as_ref())
            .and_then(|measured| measured.summary.mean());
        Self {
            job: job.id.to_string(),
            short: job.id.short(),
            goal,
            status: job.status,
            at_work: at_work && !job.status.is_final(),
            phase: state.map(|state| state.phase),
            created_at: job.created_at.0,
            updated_at: job.updated_at.0,
            started: format::moment(job.created_at),
            took: job
                .status
                .is_final()
                .then(|| format::duration(job.updated_at.since(job.created_at))),
            baseline: evaluated.or_else(|| state.and_then(|state| state.baseline.val_mean())),
            best: state
                .filter(|state| state.incumbent.iteration > 0)
                .and_then(|state| state.incumbent.val_mean()),
            proposals: state
                .filter(|_| job.spec.goal == JobGoal::Optimize)
                .map(|state| state.proposals_asked),
            stopped: state
                .and_then(|state| state.stop.as_ref())
                .map(|stop| stop.reason.clone()),
            dead: state
                .map(|state| state.dead.values().cloned().collect())
                .unwrap_or_default(),
            spending: spending(balance),
        }
    }

    const fn is_interrupted(&self) -> bool {
        matches!(self.status, JobStatus::Running) && !self.at_work
    }

    /// The status for people.
    const fn shown_status(&self) -> &'static str {
        if self.is_interrupted() {
            "interrupted"
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
    use super::*;
    use crate::report::fixture::{job, report, state};

    #[test]
    fn jobs_are_listed_with_their_figures() {
        let data = report();
        let row = Row::new(&job(), Some(&state()), &data.balance, true);
        insta::assert_snapshot!(text(&[row]));
    }

    #[test]
    fn a_state_of_a_newer_program_leaves_blanks_instead_of_failing() {
        let row = Row::new(&job(), None, &Balance::default(), false);
        let shown = text(&[row]);
        assert!(shown.contains("optimize") && shown.contains('–'), "{shown}");
    }
}
