//! Gathers a report's data from the ports. Everything comes from rows, so a report can be made at any time: while the job
//! runs, after it ended, by another process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{Decision, DecisionKind};
use fapo_domain::model::job::{Job, JobEvent, JobSpec};
use fapo_domain::model::project::{AcceptanceRule, AcceptanceSpec};
use fapo_domain::model::proposal::AttemptOutcome;
use fapo_domain::model::score::{Comparison, ScoreSummary};
use fapo_domain::model::variant::Lineage;
use fapo_domain::ports::scores::ScoredCase;
use fapo_domain::seed::Seed;
use fapo_domain::wilson::wilson;
use fapo_domain::{CaseId, EvaluationId, VariantId};
use fapo_orchestrator::OrchestratorError;
use fapo_policy::{JobState, Measurement};
use fapo_scoring::compare::Pairing;

use super::data::{Candidate, Outcome, ReportData, Score, Versus};
use super::history::History;
use crate::output::format;
use crate::ports::Ports;

/// Rows per read.
const PAGE: u32 = 1000;

/// Confidence of the intervals of means.
const CONFIDENCE: f64 = 0.95;

/// Reads everything that the report of `job` shows.
///
/// # Errors
/// What the store says; a state that this program cannot read.
pub async fn assemble(ports: &Ports, job: &Job) -> anyhow::Result<ReportData> {
    let state = read_state(job)?;
    let events = all_events(ports, job).await?;
    let lineage = ports.jobs.lineage(job.id).await?;
    let decisions = ports.jobs.decisions(job.id).await?;
    let balance = ports.ledger.balance(job.id).await?;
    let history = History::read(&events);
    let candidates = candidates(ports, &state, &lineage, &decisions, &history).await?;
    let best = state.incumbent.variant;
    let before = attribution(ports, state.baseline.train.as_ref()).await?;
    let after = if best == state.baseline.variant {
        None
    } else {
        attribution(ports, state.incumbent.train.as_ref()).await?
    };
    let val = val(ports, job, &state, &decisions).await?;
    let test = state.test.as_ref().map(|test| Versus {
        baseline: score(&test.baseline),
        best: score(test.best.as_ref().unwrap_or(&test.baseline)),
        comparison: test.comparison.clone(),
    });
    let project = &job.spec.project;
    Ok(ReportData {
        project: job.project.clone(),
        description: project.description.clone(),
        job: job.id,
        status: job.status,
        created_at: job.created_at,
        updated_at: job.updated_at,
        metric: project.maximized(),
        rule: rule(&project.acceptance),
        alpha: project.acceptance.alpha,
        allowed: project.scope.allow.clone(),
        candidates,
        best,
        val,
        test,
        before,
        after,
        facts: facts(job, &state, &lineage, &decisions),
        decisions,
        spending: history.spending,
        balance,
    })
}

/// A job's policy state.
///
/// # Errors
/// When it was written by a version of the program that this one does not know.
pub fn read_state(job: &Job) -> anyhow::Result<JobState> {
    let state = serde_json::from_value(job.state.clone());
    Ok(state.map_err(|source| OrchestratorError::State {
        job: job.id,
        source,
    })?)
}

/// All events of a job.
///
/// # Errors
/// What the store says.
pub async fn all_events(ports: &Ports, job: &Job) -> anyhow::Result<Vec<JobEvent>> {
    let mut events: Vec<JobEvent> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let page = ports.jobs.events(job.id, after, PAGE).await?;
        let done = page.len() < PAGE as usize;
        events.extend(page);
        if done {
            return Ok(events);
        }
    }
}

/// A mean with its interval. A split without any counting case has no mean; it shows as zero with the widest interval.
pub fn score(summary: &ScoreSummary) -> Score {
    let counted = summary.counted();
    let mean = summary.mean().unwrap_or(0.0);
    let (low, high) = if counted == 0 {
        (0.0, 1.0)
    } else {
        wilson(mean * counted as f64, counted, CONFIDENCE)
    };
    Score {
        mean,
        low,
        high,
        counted,
        cases: summary.total(),
        partial: false,
        full_cost: summary.full_spend.cost,
        full_calls: summary.full_spend.model_calls,
        metrics: summary
            .metrics_micro
            .keys()
            .filter_map(|name| Some((name.clone(), summary.metric(name)?)))
            .collect::<BTreeMap<_, _>>(),
    }
}

async fn candidates(
    ports: &Ports,
    state: &JobState,
    lineage: &[Lineage],
    decisions: &[Decision],
    history: &History,
) -> anyhow::Result<Vec<Candidate>> {
    let mut list = Vec::with_capacity(lineage.len());
    for row in lineage {
        let parent = row.parents.first().copied();
        let (outcome, reason) = fate(state, decisions, row.child, parent.is_none());
        list.push(Candidate {
            variant: row.child,
            parent,
            iteration: row.iteration,
            level: row.level,
            technique: row.technique,
            hypothesis: row.hypothesis.clone(),
            diff: row.diff,
            patch: patch(ports, parent, row.child).await?,
            train: history.scores.get(&(row.child, Split::Train)).cloned(),
            val: history.scores.get(&(row.child, Split::Val)).cloned(),
            outcome,
            reason,
            session: history.proposed_in.get(&row.child).copied(),
            reviewed_in: history.reviewed_in.get(&row.child).copied(),
        });
    }
    for refused in &state.candidates {
        let attempt = &refused.attempt;
        let Some(variant) = attempt.variant else {
            continue;
        };
        // a duplicate of an earlier variant is that variant
        let known = list.iter().any(|candidate| candidate.variant == variant);
        if attempt.outcome != AttemptOutcome::Refused || known {
            continue;
        }
        list.push(Candidate {
            variant,
            parent: Some(attempt.parent),
            iteration: attempt.iteration,
            level: Some(attempt.level),
            technique: attempt.technique,
            hypothesis: attempt.hypothesis.clone(),
            diff: Default::default(),
            patch: patch(ports, Some(attempt.parent), variant).await?,
            train: None,
            val: None,
            outcome: Outcome::Refused,
            reason: attempt.reason.clone(),
            session: history.proposed_in.get(&variant).copied(),
            reviewed_in: history.reviewed_in.get(&variant).copied(),
        });
    }
    // stable: parallel candidates of one iteration keep their order of creation
    list.sort_by_key(|candidate| candidate.iteration);
    Ok(list)
}

/// What became of a variant: the policy's word for it, and the exact reason from the decision where there is one.
fn fate(
    state: &JobState,
    decisions: &[Decision],
    variant: VariantId,
    baseline: bool,
) -> (Outcome, String) {
    if baseline {
        return (Outcome::Baseline, String::new());
    }
    let attempt = state
        .candidates
        .iter()
        .rev()
        .find(|candidate| candidate.attempt.variant == Some(variant))
        .map(|candidate| (candidate.attempt.outcome, candidate.attempt.reason.as_str()));
    let slot = || {
        state
            .slots
            .iter()
            .find(|slot| {
                slot.idea
                    .as_ref()
                    .is_some_and(|idea| idea.variant == variant)
            })
            .and_then(|slot| Some((slot.outcome?, slot.reason.as_str())))
    };
    let Some((outcome, coarse)) = attempt.or_else(slot) else {
        return (Outcome::Running, String::new());
    };
    let exact = decisions
        .iter()
        .rev()
        .find(|decision| {
            matches!(decision.what, DecisionKind::Gate { candidate, .. } if candidate == variant)
                || matches!(decision.what, DecisionKind::Refusal { candidate, .. } if candidate == Some(variant))
        })
        .map_or(coarse, super::bare_reason);
    let outcome = match outcome {
        AttemptOutcome::Refused => Outcome::Refused,
        AttemptOutcome::RejectedOnTrain => Outcome::RejectedOnTrain,
        AttemptOutcome::RejectedOnVal => Outcome::RejectedOnVal,
        AttemptOutcome::Branched => Outcome::Branched,
        AttemptOutcome::Promoted => Outcome::Promoted,
        AttemptOutcome::Undecided => Outcome::Undecided,
    };
    (outcome, exact.to_owned())
}

async fn patch(
    ports: &Ports,
    parent: Option<VariantId>,
    child: VariantId,
) -> anyhow::Result<String> {
    let Some(parent) = parent else {
        return Ok(String::new());
    };
    let from = ports.variants.get_variant(parent).await?;
    let to = ports.variants.get_variant(child).await?;
    Ok(fapo_project::unified_diff(&from, &to))
}

async fn attribution(
    ports: &Ports,
    measured: Option<&Measurement>,
) -> anyhow::Result<Option<fapo_domain::model::finding::Attribution>> {
    match measured {
        Some(measured) => Ok(ports.findings.attribution(measured.evaluation.id()).await?),
        None => Ok(None),
    }
}

async fn val(
    ports: &Ports,
    job: &Job,
    state: &JobState,
    decisions: &[Decision],
) -> anyhow::Result<Option<Versus>> {
    let (Some(baseline), Some(best)) = (&state.baseline.val, &state.incumbent.val) else {
        return Ok(None);
    };
    let (from, to) = (state.baseline.variant, state.incumbent.variant);
    let decided = decisions
        .iter()
        .rev()
        .find_map(|decision| match &decision.what {
            DecisionKind::Gate {
                candidate,
                parent,
                split: Split::Val,
                comparison: Some(comparison),
                ..
            } if *candidate == to && *parent == from => Some(comparison.clone()),
            DecisionKind::Gate { .. }
            | DecisionKind::Refusal { .. }
            | DecisionKind::SentBack { .. }
            | DecisionKind::LevelLeft { .. }
            | DecisionKind::LevelOpened { .. }
            | DecisionKind::LevelSkipped { .. }
            | DecisionKind::Stopped { .. }
            | DecisionKind::TestSkipped => None,
        });
    let comparison = match decided {
        _ if from == to => None,
        Some(comparison) => Some(comparison),
        None => Some(compare(ports, &job.spec, baseline, best).await?),
    };
    Ok(Some(Versus {
        baseline: score(&baseline.summary),
        best: score(&best.summary),
        comparison,
    }))
}

/// The comparison of two evaluations that no gate compared directly: several promotions lie between them. Both are read
/// page by page, by ordinal.
async fn compare(
    ports: &Ports,
    spec: &JobSpec,
    a: &Measurement,
    b: &Measurement,
) -> anyhow::Result<Comparison> {
    let protect: HashSet<CaseId> = spec.protect.iter().cloned().collect();
    let mut pairing = Pairing::new(Arc::new(protect));
    let mut from = 0;
    loop {
        let first = ports.scores.scores(a.evaluation.id(), from, PAGE).await?;
        let Some(last) = first.last().map(|case| case.score.ordinal) else {
            break;
        };
        let second = until(ports, b.evaluation.id(), from, last).await?;
        for case in &first {
            if let Some(other) = second.get(&case.score.ordinal) {
                pairing.add(case, other)?;
            }
        }
        from = last + 1;
    }
    let project = &spec.project;
    let confidence = 1.0 - 2.0 * project.acceptance.alpha;
    let seed = Seed::derive(project.seed, "report", &[]).as_u64();
    let expected = a.evaluation.cases.min(b.evaluation.cases);
    Ok(pairing.finish(expected, confidence, seed))
}

/// An evaluation's scores with ordinals in `from..=last`.
async fn until(
    ports: &Ports,
    evaluation: EvaluationId,
    mut from: u64,
    last: u64,
) -> anyhow::Result<HashMap<u64, ScoredCase>> {
    let mut scores = HashMap::new();
    while from <= last {
        let page = ports.scores.scores(evaluation, from, PAGE).await?;
        let Some(end) = page.last().map(|case| case.score.ordinal) else {
            break;
        };
        from = end + 1;
        scores.extend(
            page.into_iter()
                .filter(|case| case.score.ordinal <= last)
                .map(|case| (case.score.ordinal, case)),
        );
    }
    Ok(scores)
}

/// The rule of acceptance in words.
pub fn rule(acceptance: &AcceptanceSpec) -> String {
    let gain = format!("{:.1} points", acceptance.min_gain * 100.0);
    match acceptance.rule {
        AcceptanceRule::PairedBootstrap => format!(
            "a paired bootstrap test on validation at an error rate of {:.0} % per promotion, with a gain of at least \
             {gain}",
            acceptance.alpha * 100.0
        ),
        AcceptanceRule::Mean => {
            format!("a higher mean on validation, by at least {gain}, whatever the noise")
        }
    }
}

fn facts(
    job: &Job,
    state: &JobState,
    lineage: &[Lineage],
    decisions: &[Decision],
) -> Vec<(String, String)> {
    let spec = &job.spec;
    let mut facts = vec![
        ("job".to_owned(), job.id.to_string()),
        ("fapo".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("seed".to_owned(), spec.project.seed.to_string()),
        ("baseline".to_owned(), spec.baseline.to_string()),
        ("best".to_owned(), state.incumbent.variant.to_string()),
        ("dataset".to_owned(), spec.dataset.to_string()),
    ];
    let cases = spec
        .cases
        .iter()
        .map(|(split, cases)| format!("{split} {cases}"))
        .collect::<Vec<_>>();
    facts.push(("cases".to_owned(), cases.join(", ")));
    for (name, corpus) in &spec.corpora {
        facts.push((
            format!("corpus {name}"),
            format!(
                "{} ({})",
                corpus.hash,
                format::counted(corpus.documents, "document")
            ),
        ));
    }
    for (entry, model) in &spec.project.models {
        facts.push((format!("model {entry}"), model.model.clone()));
    }
    facts.push((
        "seal (fapo.yaml, data, corpora)".to_owned(),
        spec.seal.to_string(),
    ));
    facts.push((
        "lineage".to_owned(),
        fapo_policy::lineage_hash(lineage, decisions).to_string(),
    ));
    facts
}
