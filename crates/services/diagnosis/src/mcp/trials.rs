//! The tool that runs the files as they are now on a few train cases: `try`.
//!
//! A case that was begun is let finish for [`DRAIN`] when the session ends or the request is taken back, because its calls are
//! paid for and their replies are stored. The claimed task pays, so what a killed process left reserved is settled with its
//! claim.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::case::Case;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::trace::{RunRecord, StepOutput};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::work::WorkError;
use fapo_domain::{MicroUsd, Spend};
use futures::future::join_all;
use rmcp::schemars;
use rmcp::schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer::{rounded, shorten};
use super::files::{checked, named};
use super::page::cluster_of;
use super::session::{Session, ToolError, broken};
use crate::text::{cut, one_line};

/// How long a case that is under way may go on once the session has ended.
pub(super) const DRAIN: Duration = Duration::from_secs(5);
/// Cases of one call.
const MOST: u32 = 32;
/// Cases of one call that says nothing of them.
const DEFAULT: u32 = 8;
/// Scores looked through for passing cases.
const LOOK: u64 = 2048;
/// Scores read at a time.
const PAGE: u32 = 256;

/// What to try.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct Trial {
    /// Ids of train cases; chosen for you where left out.
    #[serde(default)]
    cases: Option<Vec<String>>,
    /// How many cases to choose, at most 32; 8 where left out.
    #[serde(default)]
    count: Option<u32>,
    /// Ask the model anew instead of reading replies to the same messages from the cache.
    #[serde(default)]
    fresh: bool,
}

/// A case of a trial, and what became of it.
struct Tried {
    case: Case,
    before: Option<CaseScore>,
    run_before: Option<RunRecord>,
    after: After,
}

/// What became of it.
enum After {
    /// It ran, and has a score.
    Scored(Box<(RunRecord, CaseScore)>),
    /// The house failed at it.
    Failed,
    /// It was not begun, or not ended in time.
    NotRun,
}

/// Runs the files as they are now.
pub(super) async fn run(session: &Arc<Session>, asked: Trial) -> Result<Value, ToolError> {
    if session.tries.left() == 0 {
        return Err(ToolError::Refused(
            "this session has tried as many cases as it may".to_owned(),
        ));
    }
    let ordinals = match &asked.cases {
        Some(ids) => named_cases(session, ids).await?,
        None => choose(session, asked.count.unwrap_or(DEFAULT).clamp(1, MOST)).await?,
    };
    if ordinals.is_empty() {
        return Err(ToolError::Wrong("there is no case to try".to_owned()));
    }
    let checked = checked(session).await?;
    if !checked.report.passed() {
        return Err(ToolError::Refused(format!(
            "the files would be refused as they are ({}); `check` says why",
            named(&checked.report.refusals)
        )));
    }
    let wanted = ordinals.len() as u32;
    let had = session.tries.take(wanted);
    if had == 0 {
        return Err(ToolError::Refused(
            "this session has tried as many cases as it may".to_owned(),
        ));
    }
    let ordinals = &ordinals[..had as usize];
    let tried = match Box::pin(all(session, &checked.tree, ordinals, asked.fresh)).await {
        Ok(tried) => tried,
        Err(error) => {
            session.tries.give_back(had);
            return Err(error);
        }
    };
    let not_begun = tried
        .iter()
        .filter(|one| matches!(one.after, After::NotRun))
        .count() as u32;
    session.tries.give_back(not_begun);
    Ok(answer(session, &tried, wanted - had))
}

/// The cases that were asked for by id, each once. All of them are train cases, or none is run.
async fn named_cases(session: &Session, ids: &[String]) -> Result<Vec<u64>, ToolError> {
    if ids.len() > MOST as usize {
        return Err(ToolError::Wrong(format!(
            "at most {MOST} cases may be tried at once"
        )));
    }
    let mut ordinals = Vec::new();
    for id in ids {
        let (ordinal, _) = session.train_case(id).await?;
        if !ordinals.contains(&ordinal) {
            ordinals.push(ordinal);
        }
    }
    Ok(ordinals)
}

/// Failing cases, those of the session's cluster first and those that lost most before others, and a quarter that pass. The
/// same state gives the same cases.
async fn choose(session: &Session, count: u32) -> Result<Vec<u64>, ToolError> {
    let target = session.grant.cluster.as_ref().map(|cluster| &cluster.id);
    let all = session.findings().await?;
    let mut findings: Vec<_> = all.iter().collect();
    findings.sort_by(|a, b| {
        let other = |finding| target.is_some_and(|target| cluster_of(finding) != *target);
        other(a)
            .cmp(&other(b))
            .then(b.lost.total_cmp(&a.lost))
            .then(a.ordinal.cmp(&b.ordinal))
    });
    let count = count as usize;
    let passing = passing(session, count).await?;
    let of_passing = (count / 4).max(count.saturating_sub(findings.len()));
    let of_passing = of_passing.min(passing.len());
    let failing = findings.into_iter().map(|finding| finding.ordinal);
    let mut chosen: Vec<u64> = failing.take(count - of_passing).collect();
    chosen.extend(passing.into_iter().take(of_passing));
    Ok(chosen)
}

/// The first passing cases.
async fn passing(session: &Session, count: usize) -> Result<Vec<u64>, ToolError> {
    let id = session.grant.evaluation.id();
    let mut found = Vec::new();
    let (mut from, mut looked) = (0u64, 0u64);
    while found.len() < count && looked < LOOK {
        let page = session.ports.scores.scores(id, from, PAGE).await;
        let page = page.map_err(broken("cannot read scores"))?;
        let Some(last) = page.last() else { break };
        from = last.score.ordinal.saturating_add(1);
        looked += page.len() as u64;
        found.extend(
            page.iter()
                .map(|row| &row.score)
                .filter(|score| score.status.counts() && !session.fails(score))
                .map(|score| score.ordinal),
        );
    }
    found.truncate(count);
    Ok(found)
}

async fn all(
    session: &Arc<Session>,
    tree: &VariantTree,
    ordinals: &[u64],
    fresh: bool,
) -> Result<Vec<Tried>, ToolError> {
    let cases = session.train_cases(ordinals).await?;
    let runs = session.runs(ordinals).await?;
    let mut runs: BTreeMap<u64, RunRecord> =
        runs.into_iter().map(|run| (run.ordinal, run)).collect();
    // dropped with this call: what has not begun then does not begin
    let taken_back = session.stop.child_token();
    let _guard = taken_back.clone().drop_guard();
    let tree = Arc::new(tree.clone());
    let mut tried = Vec::new();
    let mut under_way = Vec::new();
    for (ordinal, case) in ordinals.iter().zip(cases) {
        let work = one(
            session.clone(),
            tree.clone(),
            case.clone(),
            fresh,
            taken_back.clone(),
        );
        under_way.push(session.tasks.spawn(work));
        tried.push(Tried {
            case,
            before: session.score(*ordinal).await?,
            run_before: runs.remove(ordinal),
            after: After::NotRun,
        });
    }
    for (tried, ended) in tried.iter_mut().zip(join_all(under_way).await) {
        // a panic in one case is that case's
        tried.after = ended.unwrap_or_else(|error| {
            tracing::error!(case.id = %tried.case.case_id, %error, "a tried case panicked");
            After::Failed
        });
    }
    Ok(tried)
}

/// One case.
async fn one(
    session: Arc<Session>,
    tree: Arc<VariantTree>,
    case: Case,
    fresh: bool,
    stop: CancellationToken,
) -> After {
    let place = tokio::select! {
        biased;
        () = stop.cancelled() => return After::NotRun,
        place = session.running.clone().acquire_owned() => place,
    };
    let Ok(_place) = place else {
        return After::NotRun;
    };
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    let spec: &JobSpec = &session.grant.spec;
    let work = async {
        let grant = &session.grant;
        let payer = Some(grant.fence);
        let runner = &session.ports.runner;
        let run = runner
            .run_case(grant.job, spec, &tree, &case, fresh, payer)
            .await?;
        session.log.tried(run.spend);
        let score = session.ports.scorer.score_run(spec, &case, &run).await?;
        Ok::<_, WorkError>((run, score))
    };
    tokio::select! {
        ended = work => match ended {
            Ok(ended) => After::Scored(Box::new(ended)),
            Err(error) => {
                tracing::warn!(
                    case.id = %case.case_id,
                    reason = error.reason,
                    error = %error,
                    cause = error.source.as_deref().map(tracing::field::display),
                    "a case could not be tried"
                );
                After::Failed
            }
        },
        () = stopped => After::NotRun,
    }
}

fn answer(session: &Session, tried: &[Tried], left_out: u32) -> Value {
    let mut spend = Spend::default();
    let (mut better, mut worse, mut same, mut missing) = (0u32, 0u32, 0u32, 0u32);
    let (mut before, mut after, mut pairs) = (0.0, 0.0, 0u32);
    for one in tried {
        let After::Scored(ended) = &one.after else {
            missing += 1;
            continue;
        };
        let (run, score) = &**ended;
        spend += run.spend;
        if !score.status.counts() {
            missing += 1;
            continue;
        }
        let Some(old) = one.before.as_ref().filter(|old| old.status.counts()) else {
            continue;
        };
        pairs += 1;
        before += old.score;
        after += score.score;
        match score.score.total_cmp(&old.score) {
            std::cmp::Ordering::Greater => better += 1,
            std::cmp::Ordering::Less => worse += 1,
            std::cmp::Ordering::Equal => same += 1,
        }
    }
    let mean = |sum: f64| (pairs > 0).then(|| rounded(sum / f64::from(pairs)));
    let left = session.tries.left();
    shorten(|limit| {
        let mut value = json!({
            "cases": tried.len(),
            "better": better,
            "worse": worse,
            "same": same,
            "missing": missing,
            "mean_before": mean(before),
            "mean_after": mean(after),
            "cost_usd": spend.cost.usd(),
            "model_calls": spend.model_calls,
            "tries_left": left,
            "results": tried.iter().map(|one| row(one, limit / 4)).collect::<Vec<_>>(),
        });
        if left_out > 0 {
            value["note"] = json!(format!("{left_out} cases were left out: no tries are left"));
        }
        value
    })
}

fn row(tried: &Tried, limit: usize) -> Value {
    let output = |run: &RunRecord| run.output_text.as_deref().map(|text| cut(text, limit));
    let shown = |score: &CaseScore| score.status.counts().then(|| rounded(score.score));
    let mut row = json!({
        "case_id": tried.case.case_id,
        "before": {
            "score": tried.before.as_ref().and_then(shown),
            "output": tried.run_before.as_ref().and_then(output),
        },
    });
    row["after"] = match &tried.after {
        After::Scored(ended) => {
            let (run, score) = &**ended;
            row["changed_steps"] = json!(changed(tried.run_before.as_ref(), run));
            row["cost_usd"] = json!(MicroUsd::usd(run.spend.cost));
            json!({
                "score": shown(score),
                "status": score.status,
                "reason": run.reason,
                "output": output(run),
                "feedback": one_line(&score.feedback, limit),
            })
        }
        After::Failed => json!({"status": "missing", "reason": "it could not be run"}),
        After::NotRun => json!({"status": "missing", "reason": "it was not run"}),
    };
    row
}

/// Steps whose value is another one now, is new, or is gone.
fn changed<'a>(before: Option<&'a RunRecord>, after: &'a RunRecord) -> Vec<&'a str> {
    let old = before.map(RunRecord::outputs).unwrap_or_default();
    let new = after.outputs();
    let differs = |a: Option<&&StepOutput>, b: Option<&&StepOutput>| a != b;
    let mut names: Vec<&str> = new
        .iter()
        .filter(|(step, output)| differs(old.get(*step), Some(output)))
        .map(|(step, _)| *step)
        .collect();
    names.extend(old.keys().filter(|step| !new.contains_key(*step)));
    names
}
