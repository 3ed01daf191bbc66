//! `fapo eval`: scores a variant on a split.

mod failures;
mod result;

use fapo_domain::JobId;
use fapo_domain::model::job::{JobGoal, JobSpec};
use fapo_domain::model::score::ScoreStatus;
use fapo_domain::problem::Problems;

use self::result::EvalResult;
use super::args::EvalArgs;
use super::session::Session;
use super::{Context, advice::Advice, find};
use crate::exit::Exit;
use crate::output::format;
use crate::output::style::printable;
use crate::project::read_tree;
use crate::report::assemble::read_state;

pub async fn run(context: &Context, args: &EvalArgs) -> anyhow::Result<Exit> {
    let session = match Session::open(context, &args.dir).await? {
        Ok(session) => session,
        Err(exit) => return Ok(exit),
    };
    let goal = JobGoal::Evaluate {
        split: args.split.into(),
        cases: args.cases,
        sample: args.sample,
    };
    let mut spec = match session.import(context, goal).await? {
        Ok(spec) => spec,
        Err(exit) => return Ok(exit),
    };
    if let Some(name) = &args.variant {
        let current = || Ok(read_tree(&args.dir, &mut Problems::new())?);
        let variant = find::variant(&session.ports, name, None, current).await?;
        spec.baseline = variant.id;
    }
    let coverage = spec.project.acceptance.coverage;
    let job = start(context, &session, spec).await?;
    let (ended, interrupted) = Box::pin(session.run_job(context, job)).await?;
    if !ended.status.is_final() {
        context
            .output
            .note("stopped; the same command goes on where it was");
        return Ok(if interrupted {
            Exit::Interrupted
        } else {
            Exit::Incomplete
        });
    }
    let state = read_state(&ended)?;
    let Some(measured) = &state.evaluated else {
        let reason = state
            .dead
            .values()
            .next()
            .cloned()
            .or_else(|| state.stop.map(|stop| stop.reason))
            .unwrap_or_else(|| "no task left a reason".to_owned());
        let error = Advice::new(
            format!("the evaluation has no result: {reason}"),
            format!(
                "mend the cause, then run it again; `fapo status {} --job {}` shows more",
                args.dir.display(),
                ended.id.short()
            ),
        )
        .named_as_in(&reason);
        super::fail(&context.output, &error.into(), Exit::Incomplete);
        return Ok(Exit::Incomplete);
    };
    let result = EvalResult::gather(&session.ports, &ended, measured, args.show_failures).await?;
    if context.output.json {
        context.output.json(&result)?;
    } else {
        context.output.data(&result.text(context.output.style))?;
    }
    let summary = &measured.summary;
    let covered = summary.counted() as f64 / summary.total().max(1) as f64;
    if summary.count(ScoreStatus::Missing) > 0 {
        let why = result
            .missing_because
            .as_ref()
            .map_or_else(String::new, |why| {
                format!(": {}", printable(&format::one_line(why, 300)))
            });
        context.output.note(&format!(
            "{}: {} no result{why}\nsuch cases do not count; running it again asks only for them",
            context.output.notes.warn("warning"),
            match summary.count(ScoreStatus::Missing) {
                1 => "1 case has".to_owned(),
                more => format!("{} cases have", format::count(more)),
            },
        ));
    }
    Ok(if covered < coverage {
        Exit::Incomplete
    } else {
        super::optimize::exit_of(ended.status)
    })
}

/// The same evaluation where one was interrupted or failed, else a new one.
async fn start(context: &Context, session: &Session, spec: JobSpec) -> anyhow::Result<JobId> {
    let same = find::jobs(&session.ports)
        .await?
        .into_iter()
        .find(|job| job.spec == spec);
    if let Some(job) = same {
        if !job.status.is_final() {
            context
                .output
                .note(&format!("goes on with job {}", job.id.short()));
            return Ok(job.id);
        }
        if find::revive(context, &session.ports, &job).await? {
            return Ok(job.id);
        }
    }
    session.engine.submit(spec).await
}
