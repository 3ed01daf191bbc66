//! A made-up job for tests and for looking at the page: a two-hop question pipeline whose fault is a missing hop.

pub mod rows;

use std::collections::BTreeMap;

use fapo_domain::clock::Timestamp;
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{
    Decision, DecisionKind, GateOutcome, LevelLeft, Refuser, StopReason,
};
use fapo_domain::model::finding::{Attribution, Cluster, Points, Rule};
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::score::Comparison;
use fapo_domain::model::variant::DiffStats;
use fapo_domain::money::{Spend, SpendRole, Usage};
use fapo_domain::ports::ledger::{Amount, Balance};
use fapo_domain::{CaseId, ContentHash, JobId, MicroUsd, StepId, VariantId};
use serde_json::json;

pub use self::rows::{job, state};
use super::data::{Candidate, Outcome, ReportData, Score, SpendPoint, Versus};

/// A variant's id from its number.
pub fn variant(number: u32) -> VariantId {
    VariantId(ContentHash::of(&number.to_le_bytes()))
}

fn score(mean: f64, cases: u64) -> Score {
    // near enough to Wilson for a picture
    let half = 1.96 * (mean * (1.0 - mean) / cases as f64).sqrt();
    Score {
        mean,
        low: (mean - half).max(0.0),
        high: (mean + half).min(1.0),
        counted: cases,
        cases,
        partial: false,
        full_cost: MicroUsd(420 * cases),
        full_calls: 2 * cases,
        metrics: BTreeMap::from([
            ("exact_match".to_owned(), mean),
            ("f1".to_owned(), (mean + 0.08).min(1.0)),
        ]),
    }
}

fn comparison(mean_a: f64, mean_b: f64, p_value: f64, pairs: u64) -> Comparison {
    let gain = mean_b - mean_a;
    Comparison {
        pairs,
        expected_pairs: pairs,
        mean_a,
        mean_b,
        gain,
        interval: (gain - 0.06, gain + 0.06),
        confidence: 0.9,
        p_value,
        wins: (pairs as f64 * (gain.max(0.0) + 0.05)) as u64,
        losses: (pairs as f64 * 0.05) as u64,
        resamples: 2000,
        protected_regressions: Vec::new(),
        protected_missing: Vec::new(),
        cost_ratio: Some(1.0 + gain.max(0.0) * 2.0),
        latency_p95_s: Some(3.2),
    }
}

const PATCH: &str = "diff --git a/pipeline/prompts/answer.md b/pipeline/prompts/answer.md
--- a/pipeline/prompts/answer.md
+++ b/pipeline/prompts/answer.md
@@ -1,5 +1,7 @@
 system:
-Answer the question from the passages.
+Answer the question from the passages. <script>alert('case text')</script>
+Give the answer alone: no sentence, no full stop.
 
 user:
 {{ question }}
";

#[expect(clippy::too_many_arguments, reason = "a table of made-up candidates")]
fn candidate(
    iteration: u32,
    parent: u32,
    technique: Technique,
    train: Option<f64>,
    val: Option<f64>,
    outcome: Outcome,
    reason: &str,
    patch: &str,
) -> Candidate {
    Candidate {
        variant: variant(iteration),
        parent: Some(variant(parent)),
        iteration,
        level: Some(technique.level()),
        technique: Some(technique),
        hypothesis: format!(
            "Failures at `answer` share a pattern that {technique} should mend; expected +4 points."
        ),
        diff: DiffStats {
            files: 1,
            added: 2,
            removed: 1,
        },
        patch: patch.to_owned(),
        train: train.map(|mean| score(mean, 120)),
        val: val.map(|mean| score(mean, 200)),
        outcome,
        reason: reason.to_owned(),
        session: None,
        reviewed_in: None,
    }
}

fn cluster(rule: Rule, step: &str, level: Level, count: u64, label: &str) -> Cluster {
    let share = count as f64 / 120.0;
    Cluster {
        id: format!("{}@{step}", rule.name()),
        label: label.to_owned(),
        step: StepId::new(step),
        rule,
        level,
        count,
        cases: vec![
            CaseId::new("q-014"),
            CaseId::new("q-027"),
            CaseId::new("q-031"),
        ],
        confidence: 0.8,
        recoverable: Points {
            estimate: share,
            low: (share - 0.05).max(0.0),
            high: share + 0.06,
        },
        direction: "ask for the second document with a query written from the first".to_owned(),
        readings: Vec::new(),
    }
}

fn attribution(mean: f64, clusters: Vec<Cluster>) -> Attribution {
    let ceilings = Level::ALL
        .into_iter()
        .map(|level| {
            let estimate: f64 = clusters
                .iter()
                .filter(|cluster| cluster.level == level)
                .map(|cluster| cluster.recoverable.estimate)
                .fold(0.0, |sum, points| sum + points);
            let points = Points {
                estimate,
                low: (estimate - 0.04).max(0.0),
                high: estimate + 0.05,
            };
            (level, points)
        })
        .collect();
    Attribution {
        cases: 120,
        failures: clusters.iter().map(|cluster| cluster.count).sum(),
        missing: 0,
        mean,
        clusters,
        ceilings,
        reader: None,
    }
}

fn gate(
    iteration: u32,
    parent: u32,
    split: Split,
    outcome: GateOutcome,
    figures: Comparison,
    reason: &str,
) -> (u32, DecisionKind, String, serde_json::Value) {
    let kind = DecisionKind::Gate {
        candidate: variant(iteration),
        parent: variant(parent),
        split,
        outcome,
        comparison: Some(figures),
    };
    (
        iteration,
        kind,
        reason.to_owned(),
        json!({"alpha": 0.05, "min_gain": 0.01}),
    )
}

fn decisions() -> Vec<Decision> {
    let level =
        |iteration, kind, reason: &str, evidence| (iteration, kind, reason.to_owned(), evidence);
    let rows = vec![
        gate(
            1,
            0,
            Split::Train,
            GateOutcome::Pass,
            comparison(0.33, 0.40, 0.02, 120),
            "gain of 7 points on train",
        ),
        gate(
            1,
            0,
            Split::Val,
            GateOutcome::Promote,
            comparison(0.342, 0.412, 0.011, 200),
            "p 0.011 is at most 0.05 and the gain at least 1 point",
        ),
        gate(
            2,
            1,
            Split::Train,
            GateOutcome::Reject,
            comparison(0.40, 0.38, 0.81, 64),
            "no better after 64 cases (p 0.81 at the half-way look)",
        ),
        level(
            3,
            DecisionKind::Refusal {
                candidate: Some(variant(3)),
                by: Refuser::Lints,
            },
            "train_leak: prompts/answer.md repeats 14 words of case q-027",
            json!({"lint": "train_leak"}),
        ),
        gate(
            4,
            1,
            Split::Val,
            GateOutcome::Branch,
            comparison(0.412, 0.43, 0.19, 200),
            "gain of 2 points, but p 0.19 is above 0.05",
        ),
        level(
            5,
            DecisionKind::LevelLeft {
                level: Level::Prompt,
                why: LevelLeft::Plateau,
            },
            "3 candidates in a row without a promotion, 4 techniques tried on the incumbent",
            json!({"candidates": 3, "techniques": ["role", "step_by_step", "output_constraint", "ablation"]}),
        ),
        level(
            5,
            DecisionKind::LevelSkipped {
                level: Level::Parameter,
            },
            "attribution gives the level 0.8 points (0.0 to 3.1); 2.0 are needed",
            json!({"estimate": 0.008}),
        ),
        level(
            5,
            DecisionKind::LevelOpened {
                level: Level::Structure,
            },
            "retrieval_miss@retrieve loses 33.3 points (28.3 to 39.3): the second document is never asked for",
            json!({"clusters": [{"id": "retrieval_miss@retrieve", "points": 0.333}]}),
        ),
        gate(
            6,
            1,
            Split::Val,
            GateOutcome::Promote,
            comparison(0.412, 0.705, 0.0005, 200),
            "p 0.0005 is at most 0.05 and the gain at least 1 point",
        ),
        gate(
            7,
            6,
            Split::Val,
            GateOutcome::Promote,
            comparison(0.705, 0.785, 0.004, 200),
            "p 0.004 is at most 0.05 and the gain at least 1 point",
        ),
        level(
            9,
            DecisionKind::Stopped {
                why: StopReason::LevelsExhausted,
            },
            "every allowed level is left",
            json!(null),
        ),
    ];
    rows.into_iter()
        .enumerate()
        .map(|(seq, (iteration, what, reason, evidence))| Decision {
            seq: seq as u32,
            iteration,
            what,
            reason,
            evidence,
        })
        .collect()
}

fn candidates() -> Vec<Candidate> {
    let baseline = Candidate {
        variant: variant(0),
        parent: None,
        iteration: 0,
        level: None,
        technique: None,
        hypothesis: String::new(),
        diff: DiffStats::default(),
        patch: String::new(),
        train: Some(score(0.33, 120)),
        val: Some(score(0.342, 200)),
        outcome: Outcome::Baseline,
        reason: String::new(),
        session: None,
        reviewed_in: None,
    };
    let mut list = vec![
        baseline,
        candidate(
            1,
            0,
            Technique::OutputConstraint,
            Some(0.40),
            Some(0.412),
            Outcome::Promoted,
            "+7.0 points on val, p = 0.011",
            PATCH,
        ),
        candidate(
            2,
            1,
            Technique::StepByStep,
            Some(0.38),
            None,
            Outcome::RejectedOnTrain,
            "no better after 64 cases",
            PATCH,
        ),
        candidate(
            3,
            1,
            Technique::SyntheticFewShot,
            None,
            None,
            Outcome::Refused,
            "train_leak: repeats 14 words of q-027 | `quoted`",
            PATCH,
        ),
        candidate(
            4,
            1,
            Technique::Role,
            Some(0.43),
            Some(0.43),
            Outcome::Branched,
            "+1.8 points on val, p = 0.19",
            PATCH,
        ),
        candidate(
            5,
            1,
            Technique::Ablation,
            Some(0.405),
            Some(0.408),
            Outcome::RejectedOnVal,
            "−0.4 points on val",
            PATCH,
        ),
        candidate(
            6,
            1,
            Technique::ExtraHop,
            Some(0.69),
            Some(0.705),
            Outcome::Promoted,
            "+29.3 points on val, p < 0.001",
            PATCH,
        ),
        candidate(
            7,
            6,
            Technique::InstructionClarity,
            Some(0.79),
            Some(0.785),
            Outcome::Promoted,
            "+8.0 points on val, p = 0.004",
            PATCH,
        ),
        candidate(
            8,
            7,
            Technique::Vote,
            Some(0.80),
            Some(0.79),
            Outcome::RejectedOnVal,
            "+0.5 points on val, p = 0.41",
            PATCH,
        ),
        candidate(
            9,
            7,
            Technique::Decomposition,
            Some(0.74),
            None,
            Outcome::RejectedOnTrain,
            "lost on train",
            PATCH,
        ),
    ];
    // dropped at a look
    for number in [2, 9] {
        if let Some(train) = &mut list[number].train {
            train.partial = true;
            train.counted = 64;
            train.cases = 64;
        }
    }
    list
}

/// The made-up job, finished.
pub fn report() -> ReportData {
    let before = attribution(
        0.33,
        vec![
            cluster(
                Rule::RetrievalMiss,
                "retrieve",
                Level::Structure,
                40,
                "no gold document was found",
            ),
            cluster(
                Rule::AnswerBuried,
                "answer",
                Level::Prompt,
                24,
                "the answer is inside a longer <b>sentence</b>",
            ),
            cluster(
                Rule::WrongAnswer,
                "answer",
                Level::Prompt,
                12,
                "everything was there, the answer is wrong",
            ),
            cluster(
                Rule::RetrievalTooShallow,
                "retrieve",
                Level::Parameter,
                4,
                "gold ranked just below k",
            ),
        ],
    );
    let after = attribution(
        0.79,
        vec![
            cluster(
                Rule::WrongAnswer,
                "answer",
                Level::Prompt,
                14,
                "everything was there, the answer is wrong",
            ),
            cluster(
                Rule::RetrievalMiss,
                "retrieve2",
                Level::Structure,
                8,
                "no gold document was found",
            ),
            cluster(
                Rule::AnswerBuried,
                "answer",
                Level::Prompt,
                3,
                "the answer is inside a longer <b>sentence</b>",
            ),
        ],
    );
    let spend = |calls: u64, micro: u64| Spend {
        cost: MicroUsd(micro),
        model_calls: calls,
        usage: Usage {
            input_tokens: calls * 640,
            output_tokens: calls * 22,
            ..Usage::default()
        },
    };
    ReportData {
        project: "two-hop-qa".to_owned(),
        description: Some("Questions whose answer needs two documents.".to_owned()),
        job: JobId::at(1_790_000_000_000, [7; 10]),
        status: JobStatus::Done,
        created_at: Timestamp(1_790_000_000_000),
        updated_at: Timestamp(1_790_000_412_000),
        metric: "exact_match".to_owned(),
        rule: "a paired bootstrap test on validation at an error rate of 5 %, with a gain of at least 1.0 points".to_owned(),
        alpha: 0.05,
        allowed: Level::ALL.to_vec(),
        candidates: candidates(),
        best: variant(7),
        val: Some(Versus {
            baseline: score(0.342, 200),
            best: score(0.785, 200),
            comparison: Some(comparison(0.342, 0.785, 0.0005, 200)),
        }),
        test: Some(Versus {
            baseline: score(0.328, 250),
            best: score(0.744, 250),
            comparison: Some(comparison(0.328, 0.744, 0.0005, 250)),
        }),
        before: Some(before),
        after: Some(after),
        decisions: decisions(),
        spending: (0..=9)
            .map(|iteration| SpendPoint {
                iteration,
                cost: MicroUsd(90_000 + u64::from(iteration) * 61_000 + u64::from(iteration % 3) * 14_000),
                model_calls: 320 + u64::from(iteration) * 190,
            })
            .collect(),
        balance: Balance {
            spent: vec![
                (SpendRole::Task, spend(2030, 612_400)),
                (SpendRole::Proposer, spend(9, 41_300)),
            ],
            lost: Amount {
                cost: MicroUsd(1_200),
                model_calls: 2,
            },
            ..Balance::default()
        },
        facts: vec![
            ("job".to_owned(), JobId::at(1_790_000_000_000, [7; 10]).to_string()),
            ("dataset".to_owned(), ContentHash::of(b"dataset").to_string()),
            ("seed".to_owned(), "7".to_owned()),
        ],
    }
}

/// The same job over data without test cases.
pub fn untested() -> ReportData {
    let mut data = report();
    data.test = None;
    data.decisions.push(Decision {
        seq: data.decisions.len() as u32,
        iteration: 9,
        what: DecisionKind::TestSkipped,
        reason: "no sealed test: the dataset has no test cases".to_owned(),
        evidence: json!({}),
    });
    data
}
