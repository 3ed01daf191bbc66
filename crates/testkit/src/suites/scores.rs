//! What every [`fapo_domain::ports::scores::Scores`] must do.

use anyhow::{Result, ensure};
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::ports::StoreError;
use fapo_domain::{MicroUsd, Spend};

use super::Ports;
use super::tasks::{LEASE, claim, with_tasks};
use crate::sample::{self, case_score};

fn missing(ordinal: u64) -> CaseScore {
    CaseScore {
        status: ScoreStatus::Missing,
        score: 0.0,
        breakdown: std::collections::BTreeMap::new(),
        feedback: String::new(),
        ..case_score(sample::evaluation_id("e"), ordinal, 0.0)
    }
}

async fn all(ports: &Ports) -> Result<Vec<CaseScore>> {
    let scored = ports
        .scores
        .scores(sample::evaluation_id("e"), 0, 1000)
        .await?;
    Ok(scored.into_iter().map(|case| case.score).collect())
}

/// Cost and time are counted without a cache; the time that passed only where no step was a hit.
pub async fn scores_come_back_by_ordinal_with_cost_and_time(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    let mut hit = sample::run_record(e, 1);
    hit.steps[0].cache_hit = true;
    hit.steps[0].spend = Spend::default();
    hit.spend = sample::spend(40);
    hit.full_duration_ms = 23;
    let runs = vec![sample::run_record(e, 0), hit];
    ports.traces.record_runs(None, runs).await?;
    let third = 1.0 / 3.0;
    let scores = vec![
        case_score(e, 2, third),
        case_score(e, 0, 1.0),
        case_score(e, 1, 0.1),
    ];
    ports.scores.record_scores(None, scores).await?;
    let got = ports.scores.scores(e, 0, 10).await?;
    ensure!(got.len() == 3);
    ensure!(got[0].score == case_score(e, 0, 1.0));
    ensure!((got[0].full_cost, got[0].uncached_ms) == (MicroUsd(80), Some(17)));
    ensure!((got[1].full_cost, got[1].uncached_ms) == (MicroUsd(80), None));
    ensure!((got[0].full_ms, got[1].full_ms, got[2].full_ms) == (Some(17), Some(23), None));
    // bit for bit, and without a run there is neither cost nor time
    ensure!(got[2].score.score.to_bits() == third.to_bits());
    ensure!((got[2].full_cost, got[2].uncached_ms) == (MicroUsd::ZERO, None));
    let page = ports.scores.scores(e, 1, 1).await?;
    ensure!(page.len() == 1 && page[0].score.ordinal == 1);
    ensure!(ports.scores.scores(e, 3, 10).await?.is_empty());
    ensure!(
        ports
            .scores
            .scores(sample::evaluation_id("x"), 0, 10)
            .await?
            .is_empty()
    );
    Ok(())
}

/// Repeating a block changes nothing but what was missing.
pub async fn a_score_stays_and_a_missing_one_is_replaced(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    let first = vec![case_score(e, 0, 1.0), missing(1), missing(2)];
    ports.scores.record_scores(None, first.clone()).await?;
    ensure!(all(ports).await? == first);
    let second = vec![case_score(e, 0, 0.5), case_score(e, 1, 0.25), missing(2)];
    ports.scores.record_scores(None, second.clone()).await?;
    ensure!(all(ports).await? == [first[0].clone(), second[1].clone(), missing(2)]);
    ports.scores.record_scores(None, vec![missing(1)]).await?;
    ensure!(all(ports).await?[1] == second[1]);
    Ok(())
}

/// And with it the whole block.
pub async fn another_scorer_is_refused(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    ports
        .scores
        .record_scores(None, vec![case_score(e, 0, 1.0), missing(1)])
        .await?;
    let by_other = |ordinal| CaseScore {
        scorer: sample::hash("another scorer"),
        ..case_score(e, ordinal, 0.5)
    };
    let refused = ports
        .scores
        .record_scores(None, vec![by_other(5), by_other(0)])
        .await;
    ensure!(matches!(refused, Err(StoreError::AlreadyExists { .. })));
    ensure!(all(ports).await? == [case_score(e, 0, 1.0), missing(1)]);
    // a missing one has not been scored by anybody
    ports.scores.record_scores(None, vec![by_other(1)]).await?;
    ensure!(all(ports).await?[1] == by_other(1));
    Ok(())
}

/// As everywhere.
pub async fn a_stale_fence_stores_nothing(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let e = sample::evaluation_id("e");
    let stale = claim(ports, job, 0).await?;
    ports.clock.advance(LEASE);
    let live = claim(ports, job, 0).await?;
    let one = || vec![case_score(e, 0, 1.0)];
    let refused = ports.scores.record_scores(Some(stale), one()).await;
    ensure!(matches!(refused, Err(StoreError::StaleLease { .. })));
    ensure!(all(ports).await?.is_empty());
    ports.scores.record_scores(Some(live), one()).await?;
    ensure!(all(ports).await?.len() == 1);
    Ok(())
}

/// It would spoil every mean it goes into.
pub async fn a_score_outside_the_unit_interval_is_refused(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    for bad in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
        let scores = vec![case_score(e, 0, 1.0), case_score(e, 1, bad)];
        let refused = ports.scores.record_scores(None, scores).await;
        ensure!(matches!(refused, Err(StoreError::Invalid { .. })));
    }
    ensure!(all(ports).await?.is_empty());
    Ok(())
}
