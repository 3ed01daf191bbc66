//! What every [`fapo_domain::ports::jobs::Findings`] must do.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use fapo_domain::model::finding::{
    Attribution, CaseReading, Cluster, FailureKind, Finding, Points, ReaderSummary, Reading, Rule,
};
use fapo_domain::model::level::Level;
use fapo_domain::model::session::SessionId;
use fapo_domain::ports::StoreError;
use fapo_domain::{CaseId, ContentHash, StepId};

use super::Ports;
use super::tasks::{LEASE, claim, with_tasks};
use crate::sample;

fn finding(ordinal: u64, rule: Rule) -> Finding {
    Finding {
        evaluation: sample::evaluation_id("e"),
        ordinal,
        case_id: CaseId::new(format!("c{ordinal}")),
        step: StepId::new("answer"),
        rule,
        level: Level::Prompt,
        confidence: 0.7,
        lost: 1.0 / 3.0,
        detail: "it says \"unknown\"".to_owned(),
        // of some, as in life
        reading: (rule == Rule::Refusal).then(reading),
    }
}

fn reading() -> Reading {
    Reading {
        kind: FailureKind::Knowledge,
        step: StepId::new("answer"),
        quote: "no passage names it".to_owned(),
        explanation: "what is asked for was not retrieved".to_owned(),
    }
}

fn points(estimate: f64) -> Points {
    Points {
        estimate,
        low: estimate / 2.0,
        high: 0.75,
    }
}

fn cluster(rule: Rule, estimate: f64) -> Cluster {
    Cluster {
        id: format!("{}@answer", rule.name()),
        label: "answers in the wrong form".to_owned(),
        step: StepId::new("answer"),
        rule,
        level: Level::Prompt,
        count: 12,
        cases: vec![CaseId::new("c1"), CaseId::new("c2")],
        confidence: 0.9,
        recoverable: points(estimate),
        direction: "say what form the answer has".to_owned(),
        readings: vec![CaseReading {
            case: CaseId::new("c1"),
            reading: reading(),
        }],
    }
}

fn attribution() -> Attribution {
    Attribution {
        cases: 100,
        failures: 30,
        missing: 2,
        mean: 0.7,
        clusters: vec![
            cluster(Rule::AnswerForm, 0.25),
            cluster(Rule::Refusal, 0.125),
        ],
        ceilings: BTreeMap::from([
            (Level::Prompt, points(0.375)),
            (Level::Structure, points(0.5)),
        ]),
        reader: Some(ReaderSummary {
            unclear: 9,
            asked: 4,
            kept: 3,
            discarded: 1,
            note: Some("no call is left".to_owned()),
            session: Some(SessionId(ContentHash::of(b"session"))),
            ..ReaderSummary::default()
        }),
    }
}

/// Whole, and nothing of the earlier one is left.
pub async fn an_attribution_comes_back_and_can_be_replaced(ports: &Ports) -> Result<()> {
    let e = sample::evaluation_id("e");
    ensure!(ports.findings.attribution(e).await?.is_none());
    ensure!(ports.findings.findings(e).await?.is_empty());
    let unsorted = vec![
        finding(9, Rule::Refusal),
        finding(3, Rule::AnswerForm),
        finding(9, Rule::CutOffOutput),
    ];
    ports
        .findings
        .record_attribution(None, e, unsorted.clone(), &attribution())
        .await?;
    ensure!(ports.findings.attribution(e).await? == Some(attribution()));
    let sorted = [
        unsorted[1].clone(),
        unsorted[0].clone(),
        unsorted[2].clone(),
    ];
    ensure!(ports.findings.findings(e).await? == sorted);

    let nothing = Attribution {
        cases: 100,
        mean: 1.0,
        ..Attribution::default()
    };
    ports
        .findings
        .record_attribution(None, e, Vec::new(), &nothing)
        .await?;
    ensure!(ports.findings.attribution(e).await? == Some(nothing));
    ensure!(ports.findings.findings(e).await?.is_empty());
    ensure!(
        ports
            .findings
            .attribution(sample::evaluation_id("x"))
            .await?
            .is_none()
    );
    Ok(())
}

/// The earlier attribution stays.
pub async fn a_stale_fence_stores_no_attribution(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    let e = sample::evaluation_id("e");
    let stale = claim(ports, job, 0).await?;
    ports.clock.advance(LEASE);
    let live = claim(ports, job, 0).await?;
    ports
        .findings
        .record_attribution(
            Some(live),
            e,
            vec![finding(1, Rule::Refusal)],
            &attribution(),
        )
        .await?;
    let refused = ports
        .findings
        .record_attribution(Some(stale), e, Vec::new(), &Attribution::default())
        .await;
    ensure!(matches!(refused, Err(StoreError::StaleLease { .. })));
    ensure!(ports.findings.attribution(e).await? == Some(attribution()));
    ensure!(ports.findings.findings(e).await?.len() == 1);
    Ok(())
}
