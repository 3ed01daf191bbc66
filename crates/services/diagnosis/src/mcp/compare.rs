//! The tool that compares two variants: `compare`.

use std::collections::BTreeSet;

use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::proposal::AttemptOutcome;
use fapo_domain::model::score::CaseScore;
use fapo_domain::{CaseId, EvaluationId, VariantId};
use rmcp::schemars;
use rmcp::schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::rounded;
use super::page::SplitName;
use super::read::attempt_row;
use super::session::{Session, ToolError, broken, sealed};
use crate::text::one_line;

/// Case ids each way, at most.
const SHOWN: usize = 10;
/// Rows read at a time.
const PAGE: u32 = 256;
/// An evaluation is begun anew a few times at most.
const ATTEMPTS: u32 = 3;
/// Hex digits that name a variant.
const PREFIX: usize = 6;

/// Two variants.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct Two {
    /// A variant of this job as `history` names it, `parent` or `baseline`; the parent where left out.
    #[serde(default)]
    a: Option<String>,
    /// The other one; the variant tried last where left out.
    #[serde(default)]
    b: Option<String>,
    /// Case ids each way, at most 10.
    #[serde(default)]
    limit: Option<u32>,
    /// train where left out.
    #[serde(default)]
    split: Option<SplitName>,
}

/// Two variants on the train cases that both ran.
pub(super) async fn compare(session: &Session, asked: Two) -> Result<Value, ToolError> {
    let grant = &session.grant;
    let a = match &asked.a {
        Some(name) => variant(session, name)?,
        None => grant.parent,
    };
    let b = match &asked.b {
        Some(name) => variant(session, name)?,
        None => last_tried(session)?,
    };
    match asked.split {
        None | Some(SplitName::Train) => {}
        Some(SplitName::Test) => return Err(sealed()),
        Some(SplitName::Val) => return Ok(on_val(session, b)),
    }
    let limit = asked
        .limit
        .map_or(SHOWN, |limit| (limit as usize).min(SHOWN));
    // reads both evaluations whole
    let _alone = session
        .heavy
        .acquire()
        .await
        .map_err(|_| ToolError::Ended)?;
    let (of_a, of_b) = (evaluated(session, a).await?, evaluated(session, b).await?);
    let pairs = pairs(session, (of_a, of_b)).await?;
    if pairs.count == 0 {
        return Err(ToolError::Wrong(
            "there is no train case that both variants have a result for".to_owned(),
        ));
    }
    let count = pairs.count as f64;
    let mean = pairs.sum / count;
    let variance = (pairs.squares / count - mean * mean).max(0.0);
    Ok(json!({
        "split": "train",
        "a": a.short(),
        "b": b.short(),
        "cases": pairs.count,
        "mean_a": rounded(pairs.sum_a / count),
        "mean_b": rounded((pairs.sum_a + pairs.sum) / count),
        "b_minus_a": rounded(mean),
        "standard_error": rounded((variance / count).sqrt()),
        "b_wins": pairs.wins.count,
        "b_loses": pairs.losses.count,
        "ties": pairs.count - pairs.wins.count - pairs.losses.count,
        "won_by_b": pairs.wins.named(limit),
        "lost_by_b": pairs.losses.named(limit),
    }))
}

/// Of validation only what `history` tells anyway.
fn on_val(session: &Session, b: VariantId) -> Value {
    let told = session.grant.history.iter().rev().find(|attempt| {
        attempt.variant == Some(b)
            && matches!(
                attempt.outcome,
                AttemptOutcome::RejectedOnVal | AttemptOutcome::Branched | AttemptOutcome::Promoted
            )
    });
    match told {
        Some(attempt) => json!({"split": "val", "told_by_history": attempt_row(attempt)}),
        None => json!({
            "split": "val",
            "note": "of validation nothing is told but the outcomes in `history`; this variant has none",
        }),
    }
}

/// The job's variants that may be named.
fn known(session: &Session) -> BTreeSet<VariantId> {
    let grant = &session.grant;
    let mut known: BTreeSet<VariantId> = grant.earlier.iter().copied().collect();
    known.extend([grant.parent, grant.spec.baseline]);
    for attempt in &grant.history {
        known.insert(attempt.parent);
        known.extend(attempt.variant);
    }
    known
}

/// A variant by name. One of another job is unknown here, whether it exists or not.
fn variant(session: &Session, name: &str) -> Result<VariantId, ToolError> {
    match name {
        "parent" => return Ok(session.grant.parent),
        "baseline" => return Ok(session.grant.spec.baseline),
        _ => {}
    }
    let known = known(session);
    let found: Vec<&VariantId> = known
        .iter()
        .filter(|id| name.len() >= PREFIX && id.to_string().starts_with(name))
        .collect();
    match found.as_slice() {
        [one] => Ok(**one),
        _ => Err(ToolError::Refused(format!(
            "`{}` is not a variant of this job; `history` names those there are",
            one_line(name, 80)
        ))),
    }
}

fn last_tried(session: &Session) -> Result<VariantId, ToolError> {
    let grant = &session.grant;
    grant
        .history
        .iter()
        .rev()
        .filter_map(|attempt| attempt.variant)
        .find(|variant| *variant != grant.parent)
        .ok_or_else(|| ToolError::Wrong("nothing else was tried yet; name `a` and `b`".to_owned()))
}

/// The train evaluation of a variant in this job that has results.
async fn evaluated(session: &Session, variant: VariantId) -> Result<EvaluationId, ToolError> {
    let own = &session.grant.evaluation;
    if variant == own.variant {
        return Ok(own.id());
    }
    for attempt in (0..ATTEMPTS).rev() {
        let id = EvaluationSpec {
            variant,
            attempt,
            ..own.clone()
        }
        .id();
        if !rows(session, id, 0, 1).await?.is_empty() {
            return Ok(id);
        }
    }
    Err(ToolError::Wrong(format!(
        "variant {} has no results on train",
        variant.short()
    )))
}

async fn rows(
    session: &Session,
    evaluation: EvaluationId,
    from: u64,
    limit: u32,
) -> Result<Vec<CaseScore>, ToolError> {
    let page = session.ports.scores.scores(evaluation, from, limit).await;
    let page = page.map_err(broken("cannot read scores"))?;
    Ok(page.into_iter().map(|row| row.score).collect())
}

/// Cases that one side wins, those with the largest difference kept by name.
#[derive(Debug, Default)]
struct Side {
    count: u64,
    largest: Vec<(f64, u64, CaseId)>,
}

impl Side {
    fn add(&mut self, difference: f64, score: &CaseScore) {
        self.count += 1;
        let row = (difference, score.ordinal, score.case_id.clone());
        let at = self
            .largest
            .partition_point(|known| known.0 > row.0 || (known.0 == row.0 && known.1 < row.1));
        if at < SHOWN {
            self.largest.insert(at, row);
            self.largest.truncate(SHOWN);
        }
    }

    fn named(&self, limit: usize) -> Vec<&CaseId> {
        self.largest.iter().take(limit).map(|row| &row.2).collect()
    }
}

#[derive(Debug, Default)]
struct Pairs {
    count: u64,
    sum_a: f64,
    /// Sum of b minus a, and of its square.
    sum: f64,
    squares: f64,
    wins: Side,
    losses: Side,
}

/// Walks both evaluations by ordinal. Memory: a page of each.
async fn pairs(
    session: &Session,
    (a, b): (EvaluationId, EvaluationId),
) -> Result<Pairs, ToolError> {
    let mut pairs = Pairs::default();
    let mut from = 0u64;
    loop {
        let of_a = rows(session, a, from, PAGE).await?;
        let Some(last) = of_a.last().map(|score| score.ordinal) else {
            return Ok(pairs);
        };
        let mut of_b = Vec::new();
        let mut next = from;
        while next <= last {
            let page = rows(session, b, next, PAGE).await?;
            let Some(end) = page.last() else { break };
            next = end.ordinal.saturating_add(1);
            of_b.extend(page);
        }
        let mut of_b = of_b.into_iter().peekable();
        for score in &of_a {
            while of_b
                .next_if(|other| other.ordinal < score.ordinal)
                .is_some()
            {}
            let Some(other) = of_b.next_if(|other| other.ordinal == score.ordinal) else {
                continue;
            };
            let both = score.status.counts() && other.status.counts();
            if !both || score.scorer != other.scorer {
                continue;
            }
            let difference = other.score - score.score;
            pairs.count += 1;
            pairs.sum_a += score.score;
            pairs.sum += difference;
            pairs.squares += difference * difference;
            if difference > 0.0 {
                pairs.wins.add(difference, score);
            } else if difference < 0.0 {
                pairs.losses.add(-difference, score);
            }
        }
        from = last.saturating_add(1);
    }
}
