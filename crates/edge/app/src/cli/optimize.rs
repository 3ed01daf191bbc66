//! `fapo optimize`: starts the optimizer or goes on with it, and sums up what came of it.

use std::path::Path;

use fapo_domain::model::job::{Job, JobGoal, JobSpec, JobStatus};
use fapo_domain::model::project::BudgetSpec;
use fapo_domain::ports::ledger::Caps;
use fapo_domain::{JobId, VariantId};
use serde::Serialize;

use super::advice::Advice;
use super::args::OptimizeArgs;
use super::session::{Session, load};
use super::summary::{Side, Spending, per_case, spending};
use super::{Context, check, find, report};
use crate::exit::Exit;
use crate::output::format;
use crate::output::style::{Style, printable};
use crate::report::assemble::read_state;
use crate::report::bare_reason;
use crate::report::data::{ReportData, Versus};
use crate::report::verdict::{evidence, verdict};

pub async fn run(context: &Context, args: &OptimizeArgs) -> anyhow::Result<Exit> {
    if args.dry_run {
        return dry_run(context, args).await;
    }
    let session = match Session::open(context, &args.dir).await? {
        Ok(session) => session,
        Err(exit) => return Ok(exit),
    };
    let job = match start(context, &session, args).await? {
        Ok(job) => job,
        Err(exit) => return Ok(exit),
    };
    let (ended, interrupted) = Box::pin(session.run_job(context, job)).await?;
    if !ended.status.is_final() {
        context.output.note(&format!(
            "stopped; `fapo optimize {}` goes on where it was",
            args.dir.display()
        ));
        return Ok(if interrupted {
            Exit::Interrupted
        } else {
            Exit::Incomplete
        });
    }
    let (data, written) = report::write(&session.ports, &ended, &args.dir, None).await?;
    let baseline = ended.spec.baseline;
    let summary = Summary::new(&data, baseline, Some(&written.html));
    let next = Next {
        export: format!("fapo export {} --to best", args.dir.display()),
        report: written.html.display().to_string(),
    };
    summary.show(context, &data, &next)?;
    if ended.status == JobStatus::Failed {
        context.output.note(&format!(
            "{}: {}",
            context.output.notes.accent("hint"),
            again(!read_state(&ended)?.dead.is_empty(), &args.dir)
        ));
    }
    Ok(exit_of(ended.status))
}

/// What the same command does after a failed job: it goes on only where a task that died can be tried again.
fn again(task_died: bool, dir: &Path) -> String {
    let dir = dir.display();
    if task_died {
        format!("mend the cause; then `fapo optimize {dir}` tries the tasks that died again")
    } else {
        format!(
            "mend the cause; then `fapo optimize {dir}` begins a new job with a budget of its own, for which the replies \
             that are stored cost nothing"
        )
    }
}

/// How a finished job ends the command.
pub const fn exit_of(status: JobStatus) -> Exit {
    match status {
        JobStatus::Done => Exit::Ok,
        JobStatus::Failed | JobStatus::Cancelled | JobStatus::Running => Exit::Incomplete,
    }
}

/// The project's running optimization, or a new one.
async fn start(
    context: &Context,
    session: &Session,
    args: &OptimizeArgs,
) -> anyhow::Result<Result<JobId, Exit>> {
    let newest = find::jobs(&session.ports)
        .await?
        .into_iter()
        .find(|job| job.spec.goal == JobGoal::Optimize);
    if let Some(job) = &newest {
        if !job.status.is_final() && !args.new {
            return resume(context, session, args, job).await;
        }
        if !job.status.is_final() {
            session.engine.cancel_job(job.id).await?;
            context
                .output
                .note(&format!("job {} is cancelled", job.id.short()));
        } else if !args.new
            && changed(&job.spec, session, args).is_none()
            && find::revive(context, &session.ports, job).await?
        {
            return Ok(Ok(job.id));
        }
    }
    let mut spec = match session.import(context, JobGoal::Optimize).await? {
        Ok(spec) => spec,
        Err(exit) => return Ok(Err(exit)),
    };
    limit(&mut spec.project.budget, args);
    // a process killed after the last commit, or a command typed twice: what is done is not paid for again
    if let Some(job) = newest
        && job.status == JobStatus::Done
        && job.spec == spec
        && !args.new
    {
        context.output.note(&format!(
            "job {} did exactly this already (--new does it again)",
            job.id.short()
        ));
        return Ok(Ok(job.id));
    }
    let id = session.engine.submit(spec).await?;
    context.output.note(&format!("job {} begins", id.short()));
    Ok(Ok(id))
}

/// Goes on with a job, under the caps that the command line gives now.
async fn resume(
    context: &Context,
    session: &Session,
    args: &OptimizeArgs,
    job: &Job,
) -> anyhow::Result<Result<JobId, Exit>> {
    let begun = &job.spec.project.budget;
    if let Some(proposals) = args.max_proposals
        && proposals != begun.proposals
    {
        return Err(Advice::new(
            format!(
                "job {} was begun with {} and goes on; that number cannot change",
                job.id.short(),
                format::counted(u64::from(begun.proposals), "proposal")
            ),
            "leave --max-proposals out, or begin anew with --new",
        )
        .into());
    }
    session.check_models(&job.spec).await?;
    let mut now = job.spec.clone();
    limit(&mut now.project.budget, args);
    if args.max_usd.is_some() || args.max_calls.is_some() {
        let caps = session
            .engine
            .set_caps(job.id, args.max_usd, args.max_calls)
            .await?;
        context.output.note(&format!("from now on {}", words(caps)));
    }
    context.output.note(&format!(
        "goes on with job {}, begun {}",
        job.id.short(),
        format::moment(job.created_at)
    ));
    if let Some(change) = changed(&now, session, args) {
        context.output.note(&format!(
            "{}: {change} changed since then; the job goes on with what it began with (--new starts anew)",
            context.output.notes.warn("warning")
        ));
    }
    Ok(Ok(job.id))
}

/// Caps as a person reads them.
fn words(caps: Caps) -> String {
    let usd = caps.cost.map(|cost| cost.to_string());
    let calls = caps
        .model_calls
        .map(|calls| format::counted(calls, "model call"));
    let parts: Vec<String> = usd.into_iter().chain(calls).collect();
    format!("at most {}", parts.join(" and "))
}

/// What differs between a running job's frozen specification and the folder as it is.
fn changed(spec: &JobSpec, session: &Session, args: &OptimizeArgs) -> Option<&'static str> {
    let mut budget = session.project.spec.budget.clone();
    limit(&mut budget, args);
    let mut project = session.project.spec.clone();
    project.budget = spec.project.budget.clone();
    if session.project.tree.id() != spec.baseline {
        Some("pipeline/")
    } else if project != spec.project {
        Some("fapo.yaml")
    } else if budget != spec.project.budget {
        Some("the budget")
    } else {
        None
    }
}

/// Puts what the command line says in the place of what fapo.yaml says.
fn limit(budget: &mut BudgetSpec, args: &OptimizeArgs) {
    if let Some(proposals) = args.max_proposals {
        budget.proposals = proposals;
    }
    if args.max_usd.is_some() {
        budget.usd = args.max_usd;
    }
    if args.max_calls.is_some() {
        budget.model_calls = args.max_calls;
    }
}

async fn dry_run(context: &Context, args: &OptimizeArgs) -> anyhow::Result<Exit> {
    let mut project = match load(context, &args.dir)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    limit(&mut project.spec.budget, args);
    check::show(context, &project, true).await
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
pub struct Summary {
    job: String,
    status: JobStatus,
    verdict: String,
    /// Whether a variant was promoted over the baseline on validation.
    promoted: bool,
    /// The same, and the sealed test, where it was run, shows a gain too.
    improved: bool,
    stopped: Option<String>,
    /// Why the sealed test was not run.
    test_skipped: Option<String>,
    baseline: String,
    best: String,
    metric: String,
    val: Option<Side>,
    test: Option<Side>,
    levels: Vec<String>,
    proposals: usize,
    /// The same for every job that decided alike: over variants, parents, levels, techniques and outcomes.
    lineage_hash: String,
    spending: Spending,
    /// Where the report was written; null where it was not.
    report: Option<String>,
}

/// Where a person finds more, for the end of the summary.
#[derive(Debug)]
pub struct Next {
    /// The command that writes the best variant.
    pub export: String,
    /// The report, or the command that writes it.
    pub report: String,
}

impl Summary {
    /// Sums up a finished job that began with `baseline`.
    pub fn new(data: &ReportData, baseline: VariantId, report: Option<&Path>) -> Self {
        Self {
            job: data.job.to_string(),
            status: data.status,
            verdict: verdict(data),
            promoted: data.improved(),
            improved: data.holds(),
            stopped: data.stopped().map(|(_, reason)| reason.to_owned()),
            test_skipped: data.test_skipped().map(str::to_owned),
            baseline: baseline.to_string(),
            best: data.best.to_string(),
            metric: data.metric.clone(),
            val: data.val.as_ref().map(Side::new),
            test: data.test.as_ref().map(Side::new),
            levels: levels(data),
            proposals: data.candidates.len().saturating_sub(1),
            lineage_hash: data
                .facts
                .iter()
                .find(|(name, _)| name == "lineage")
                .map(|(_, hash)| hash.clone())
                .unwrap_or_default(),
            spending: spending(&data.balance),
            report: report.map(|path| path.display().to_string()),
        }
    }

    /// Writes it, as the person wants it.
    pub fn show(&self, context: &Context, data: &ReportData, next: &Next) -> std::io::Result<()> {
        if context.output.json {
            context.output.json(self)
        } else {
            let style = context.output.style;
            context.output.data(&text(data, self, next, style))
        }
    }
}

/// The path through the levels, one line each.
fn levels(data: &ReportData) -> Vec<String> {
    use fapo_domain::model::decision::DecisionKind;
    data.decisions
        .iter()
        .filter_map(|decision| {
            let what = match decision.what {
                DecisionKind::LevelLeft { level, .. } => format!("{level} left"),
                DecisionKind::LevelOpened { level } => format!("{level} opened"),
                DecisionKind::LevelSkipped { level } => format!("{level} passed over"),
                DecisionKind::Gate { .. }
                | DecisionKind::Refusal { .. }
                | DecisionKind::SentBack { .. }
                | DecisionKind::Stopped { .. }
                | DecisionKind::TestSkipped => return None,
            };
            Some(format!("{what}: {}", bare_reason(decision)))
        })
        .collect()
}

/// The summary for a terminal.
fn text(data: &ReportData, summary: &Summary, next: &Next, style: Style) -> String {
    let mut head = vec![style.bold(&summary.verdict)];
    if let Some(reason) = &summary.stopped {
        head.push(format!("The search ended: {}", printable(reason)));
    }
    if let Some(reason) = &summary.test_skipped {
        head.push(format!("No sealed test was run: {}", printable(reason)));
    }
    let mut figures = Vec::new();
    for (split, versus) in [("validation", &data.val), ("sealed test", &data.test)] {
        if let Some(versus) = versus {
            figures.extend(split_lines(split, versus, data.improved(), style));
        }
    }
    let levels: Vec<String> = summary.levels.iter().map(|line| printable(line)).collect();
    let mut end = vec![summary.spending.line()];
    if data.improved() {
        end.push(format!("best    {}   {}", data.best.short(), next.export));
    }
    end.push(format!("report  {}", next.report));
    [head, figures, levels, end]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| part.join("\n"))
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// Baseline and best on one split.
fn split_lines(split: &str, versus: &Versus, improved: bool, style: Style) -> Vec<String> {
    let mut line = format!("{split:<12} {}", format::percent(versus.baseline.mean));
    if improved {
        let best = style.good(&format::percent(versus.best.mean));
        line.push_str(&format!(" → {best}"));
        if let Some(comparison) = &versus.comparison {
            line.push_str(&format!("  {}", evidence(comparison)));
        }
    }
    let takes = per_case(versus, improved).map(|takes| format!("{:<12} {takes}", ""));
    [line].into_iter().chain(takes).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use fapo_domain::model::project::BudgetSpec;

    use super::*;
    use crate::report::fixture::{job, report, untested};

    fn next(report: &str) -> Next {
        Next {
            export: "fapo export p --to best".to_owned(),
            report: report.to_owned(),
        }
    }

    #[test]
    fn the_summary_names_result_path_cost_and_report() {
        let data = report();
        let report = Path::new("p/.fapo/reports/07/report.html");
        let summary = Summary::new(&data, job().spec.baseline, Some(report));
        let next = next("p/.fapo/reports/07/report.html");
        insta::assert_snapshot!(text(&data, &summary, &next, Style::new(false)));
        insta::assert_snapshot!(serde_json::to_string_pretty(&summary).unwrap());
    }

    #[test]
    fn a_free_model_shows_its_calls_per_case() {
        let mut data = report();
        let test = data.test.as_mut().unwrap();
        test.comparison.as_mut().unwrap().cost_ratio = None;
        for score in [&mut test.baseline, &mut test.best] {
            score.full_cost = fapo_domain::MicroUsd::ZERO;
        }
        test.best.full_calls *= 2;
        let lines = split_lines("sealed test", test, true, Style::new(false));
        let takes = "per case: model calls 2.0 → 4.0, cost $0.00 → $0.00";
        assert_eq!(lines[1].trim(), takes);
        let lines = split_lines("sealed test", test, false, Style::new(false));
        assert_eq!(lines[1].trim(), "per case: model calls 2.0, cost $0.00");
    }

    #[test]
    fn a_sealed_test_that_was_not_run_is_said_with_its_reason() {
        let data = untested();
        let summary = Summary::new(&data, job().spec.baseline, Some(Path::new("r.html")));
        let text = text(&data, &summary, &next("r.html"), Style::new(false));
        let line = "\nNo sealed test was run: the dataset has no test cases\n";
        assert!(text.contains(line), "{text}");
        assert_eq!(
            serde_json::to_value(&summary).unwrap()["test_skipped"],
            "the dataset has no test cases"
        );
    }

    #[test]
    fn an_end_without_improvement_is_no_failure() {
        assert_eq!(exit_of(JobStatus::Done), Exit::Ok);
        assert_eq!(exit_of(JobStatus::Failed), Exit::Incomplete);
        assert_eq!(exit_of(JobStatus::Cancelled), Exit::Incomplete);
    }

    #[test]
    fn a_failed_job_is_said_to_go_on_only_where_a_task_died() {
        assert!(
            again(true, Path::new("p"))
                .ends_with("`fapo optimize p` tries the tasks that died again")
        );
        let anew = again(false, Path::new("p"));
        assert!(
            anew.contains("`fapo optimize p` begins a new job"),
            "{anew}"
        );
        assert!(!anew.contains("died"), "{anew}");
    }

    #[test]
    fn flags_tighten_only_what_they_name() {
        let args = OptimizeArgs {
            dir: PathBuf::from("."),
            dry_run: false,
            new: false,
            max_proposals: Some(3),
            max_usd: None,
            max_calls: None,
        };
        let mut budget = BudgetSpec {
            usd: Some(2.0),
            ..BudgetSpec::default()
        };
        limit(&mut budget, &args);
        assert_eq!((budget.proposals, budget.usd), (3, Some(2.0)));
    }
}
