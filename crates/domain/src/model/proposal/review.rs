//! Reviews: what an independent reader thinks of a change before anything is spent on it.
//!
//! A reviewer is asked for a verdict and findings, and trusted with neither: a [`Review`] can be made only through
//! [`Review::judged`] and [`Review::unusable`], and read only through the same rule, so that a finding that blocks always
//! means [`ReviewVerdict::Fail`]. The lints come first and are not asked again: nothing a reviewer says can let through what
//! a lint refuses.

use serde::{Deserialize, Serialize};

use crate::hash::ContentHash;
use crate::ids::{JobId, VariantId};
use crate::model::evaluation::EvaluationSpec;
use crate::model::finding::{Attribution, Cluster};
use crate::model::level::{Level, Technique};
use crate::model::proposal::{Attempt, Evidence};
use crate::model::session::SessionId;
use crate::model::variant::VariantTree;
use crate::money::Spend;
use crate::text::one_line;

/// Most findings of one review that are kept; those that weigh most come first.
pub const FINDINGS_KEPT: usize = 12;
/// Longest place, message and summary that are kept, in characters.
const PLACE_KEPT: usize = 120;
const MESSAGE_KEPT: usize = 400;
const SUMMARY_KEPT: usize = 600;

/// What a reviewer says in all. Ordered: of two, the higher holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewVerdict {
    /// Nothing speaks against it.
    Pass,
    /// It may be evaluated; the findings go on record and to later proposers.
    Warn,
    /// It is not evaluated.
    Fail,
}

impl ReviewVerdict {
    /// The name in rows and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What a reviewer looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewCheck {
    /// Text or answers of cases in the change, also in other words.
    Leakage,
    /// A rule that holds only for the cases that were seen.
    OverSpecific,
    /// More than one concern.
    Focus,
    /// What comes out can no longer be scored, or fits the scorer and not the task.
    ScorerCompatibility,
    /// Points bought with calls, documents, samples or length instead of a better answer.
    MetricGaming,
    /// Cases that pass now and will not any more.
    Regression,
    /// Anything else.
    Other,
}

impl ReviewCheck {
    /// All checks.
    pub const ALL: [Self; 7] = [
        Self::Leakage,
        Self::OverSpecific,
        Self::Focus,
        Self::ScorerCompatibility,
        Self::MetricGaming,
        Self::Regression,
        Self::Other,
    ];

    /// The name in rows and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leakage => "leakage",
            Self::OverSpecific => "over_specific",
            Self::Focus => "focus",
            Self::ScorerCompatibility => "scorer_compatibility",
            Self::MetricGaming => "metric_gaming",
            Self::Regression => "regression",
            Self::Other => "other",
        }
    }
}

/// How much a finding weighs. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewSeverity {
    /// Worth knowing.
    Note,
    /// A doubt that the gates may settle.
    Warn,
    /// The change must not be evaluated as it is.
    Block,
}

impl ReviewSeverity {
    /// All severities, the lightest first.
    pub const ALL: [Self; 3] = [Self::Note, Self::Warn, Self::Block];

    /// The name in rows and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Block => "block",
        }
    }

    /// The mildest verdict that a finding of this weight allows.
    const fn least(self) -> ReviewVerdict {
        match self {
            Self::Note => ReviewVerdict::Pass,
            Self::Warn => ReviewVerdict::Warn,
            Self::Block => ReviewVerdict::Fail,
        }
    }
}

/// One thing a reviewer found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewFinding {
    /// What it is about.
    pub check: ReviewCheck,
    /// How much it weighs.
    pub severity: ReviewSeverity,
    /// The file, key path or step.
    #[serde(default)]
    pub place: String,
    /// What is wrong, in one line.
    pub message: String,
}

impl ReviewFinding {
    /// In one line: `leakage at prompts/answer.md: ...`.
    pub fn words(&self) -> String {
        let place = if self.place.is_empty() {
            String::new()
        } else {
            format!(" at {}", self.place)
        };
        format!("{}{place}: {}", self.check.as_str(), self.message)
    }
}

/// A review. See the head of this file for what its verdict guarantees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Said")]
pub struct Review {
    verdict: ReviewVerdict,
    findings: Vec<ReviewFinding>,
    summary: String,
    unusable: bool,
    /// The agent's session, where one reviewed.
    pub session: Option<SessionId>,
    /// Hash over the instructions that the reviewer was given.
    pub prompt_hash: Option<ContentHash>,
    /// Hash over the evidence that it was given.
    pub evidence_hash: Option<ContentHash>,
    /// What asking cost.
    pub spend: Spend,
}

/// A review as it stands in a row; what it claims is judged again when it is read.
#[derive(Deserialize)]
struct Said {
    verdict: ReviewVerdict,
    #[serde(default)]
    findings: Vec<ReviewFinding>,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    unusable: bool,
    #[serde(default)]
    session: Option<SessionId>,
    #[serde(default)]
    prompt_hash: Option<ContentHash>,
    #[serde(default)]
    evidence_hash: Option<ContentHash>,
    #[serde(default)]
    spend: Spend,
}

impl From<Said> for Review {
    fn from(said: Said) -> Self {
        let mut review = if said.unusable {
            Self::unusable(&said.summary)
        } else {
            Self::judged(said.verdict, said.findings, &said.summary)
        };
        review.session = said.session;
        review.prompt_hash = said.prompt_hash;
        review.evidence_hash = said.evidence_hash;
        review.spend = said.spend;
        review
    }
}

impl Review {
    /// A review from what a reviewer said. The verdict is the highest of what it gave and of what its findings ask for: a
    /// finding that blocks fails, one that warns is at least a warning. A failure without a finding that blocks gets one,
    /// so that whoever revises knows what to mend. Texts are cut to one line each.
    pub fn judged(given: ReviewVerdict, findings: Vec<ReviewFinding>, summary: &str) -> Self {
        let summary = one_line(summary, SUMMARY_KEPT);
        let mut findings: Vec<ReviewFinding> = findings
            .into_iter()
            .map(|finding| ReviewFinding {
                place: one_line(&finding.place, PLACE_KEPT),
                message: one_line(&finding.message, MESSAGE_KEPT),
                ..finding
            })
            .collect();
        let asked = findings.iter().map(|finding| finding.severity.least());
        let verdict = asked.max().map_or(given, |least| least.max(given));
        let blocks = |finding: &ReviewFinding| finding.severity == ReviewSeverity::Block;
        if verdict == ReviewVerdict::Fail && !findings.iter().any(blocks) {
            findings.push(ReviewFinding {
                check: ReviewCheck::Other,
                severity: ReviewSeverity::Block,
                place: String::new(),
                message: if summary.is_empty() {
                    "the reviewer refused it without a reason".to_owned()
                } else {
                    one_line(&summary, MESSAGE_KEPT)
                },
            });
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings.truncate(FINDINGS_KEPT);
        Self {
            verdict,
            findings,
            summary,
            unusable: false,
            session: None,
            prompt_hash: None,
            evidence_hash: None,
            spend: Spend::default(),
        }
    }

    /// No usable verdict came: `why`. It fails, because a change that nobody vouched for must not be promoted on the word of
    /// a reviewer that was out of order; and it is not sent back, because there is nothing to mend in it.
    pub fn unusable(why: &str) -> Self {
        let finding = ReviewFinding {
            check: ReviewCheck::Other,
            severity: ReviewSeverity::Block,
            place: String::new(),
            message: format!("the reviewer gave no usable verdict: {why}"),
        };
        Self {
            summary: one_line(why, SUMMARY_KEPT),
            unusable: true,
            ..Self::judged(ReviewVerdict::Fail, vec![finding], "")
        }
    }

    /// The verdict.
    pub const fn verdict(&self) -> ReviewVerdict {
        self.verdict
    }

    /// What was found, the weightiest first.
    pub fn findings(&self) -> &[ReviewFinding] {
        &self.findings
    }

    /// The reviewer's summary in one line; empty where it gave none.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// Whether no usable verdict came.
    pub const fn is_unusable(&self) -> bool {
        self.unusable
    }

    /// Whether the proposer can mend what it failed for.
    pub const fn asks_for_revision(&self) -> bool {
        matches!(self.verdict, ReviewVerdict::Fail) && !self.unusable
    }

    /// The findings of at least this weight in one line; the summary where there are none.
    pub fn words(&self, least: ReviewSeverity) -> String {
        let said: Vec<String> = self
            .findings
            .iter()
            .filter(|finding| finding.severity >= least)
            .map(ReviewFinding::words)
            .collect();
        if said.is_empty() {
            self.summary.clone()
        } else {
            said.join("; ")
        }
    }
}

/// That a proposal is to be written again after a review failed it. Asked for once at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revise {
    /// What was reviewed.
    pub candidate: VariantId,
    /// What the reviewer found.
    pub findings: Vec<ReviewFinding>,
    /// What had been expected and why.
    pub hypothesis: String,
    /// The name of the idea.
    pub idea: String,
    /// What had been tried.
    pub technique: Technique,
    /// The reviewer's summary.
    #[serde(default)]
    pub summary: String,
}

/// A revision, with what is to be revised.
#[derive(Debug, Clone)]
pub struct Revision {
    /// What is asked.
    pub asked: Revise,
    /// The candidate's files.
    pub tree: VariantTree,
}

/// What a case costs under a variant, as far as it can be read off its files: the most, with every condition met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// Model calls.
    pub model_calls: f64,
    /// Documents retrieved, over all searches.
    pub documents: f64,
    /// Dollars, where the project states what its models cost.
    pub usd: Option<f64>,
}

/// Everything a reviewer is given. Like a proposer it sees train evidence only; the same state gives the same value.
#[derive(Debug, Clone)]
pub struct ReviewRequest {
    /// The job.
    pub job: JobId,
    /// The iteration, from 1.
    pub iteration: u32,
    /// The slot among parallel proposals of the iteration, from 0.
    pub slot: u32,
    /// 0 for a proposal, 1 for its revision.
    pub revision: u32,
    /// What it started from.
    pub parent: VariantId,
    /// The candidate.
    pub candidate: VariantId,
    /// The parent's train evaluation.
    pub evaluation: EvaluationSpec,
    /// The parent's files.
    pub parent_tree: VariantTree,
    /// The candidate's files.
    pub candidate_tree: VariantTree,
    /// The level of the change, decided from the diff.
    pub level: Option<Level>,
    /// What the proposer said it tried.
    pub technique: Option<Technique>,
    /// Its name for the idea.
    pub idea: String,
    /// What it expects and why.
    pub hypothesis: String,
    /// The gain it expects, in points of the mean score.
    pub expected_gain: Option<f64>,
    /// The cluster it aims at.
    pub cluster: Option<Cluster>,
    /// What differs, one change a line, in the words of the semantic diff.
    pub changes: Vec<String>,
    /// The changes among them to how replies are drawn: temperature, `top_p`, `n`, models.
    pub sampling: Vec<String>,
    /// What differs, as a patch.
    pub patch: String,
    /// What a case costs under the parent.
    pub parent_footprint: Footprint,
    /// What a case costs under the candidate.
    pub candidate_footprint: Footprint,
    /// Predicted cost of a case over the parent's.
    pub predicted_cost_ratio: Option<f64>,
    /// The parent's attribution on train.
    pub attribution: Attribution,
    /// Failing and passing train cases, chosen as for the proposer.
    pub evidence: Vec<Evidence>,
    /// What was tried before, oldest first.
    pub history: Vec<Attempt>,
    /// The expected answers of train, where they form a small closed set.
    pub labels: Vec<String>,
    /// The project's `PLAYBOOK.md`, where there is one.
    pub playbook: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: ReviewSeverity) -> ReviewFinding {
        ReviewFinding {
            check: ReviewCheck::Focus,
            severity,
            place: "prompts/a.md".to_owned(),
            message: "two\nconcerns".to_owned(),
        }
    }

    #[test]
    fn a_verdict_is_never_milder_than_its_findings() {
        for given in [
            ReviewVerdict::Pass,
            ReviewVerdict::Warn,
            ReviewVerdict::Fail,
        ] {
            for severity in ReviewSeverity::ALL {
                let review = Review::judged(given, vec![finding(severity)], "s");
                assert_eq!(review.verdict(), given.max(severity.least()));
            }
        }
        let passed = Review::judged(ReviewVerdict::Pass, Vec::new(), "fine");
        assert_eq!(passed.verdict(), ReviewVerdict::Pass);
        assert!(passed.findings().is_empty());
    }

    #[test]
    fn a_row_that_claims_to_pass_what_it_blocks_is_read_as_failed() {
        let row = serde_json::json!({
            "verdict": "pass",
            "findings": [{"check": "leakage", "severity": "block", "message": "copied"}],
        });
        let review: Review = serde_json::from_value(row).unwrap();
        assert_eq!(review.verdict(), ReviewVerdict::Fail);
        assert!(review.asks_for_revision());
    }

    #[test]
    fn a_review_survives_the_way_through_its_row() {
        let mut judged = Review::judged(
            ReviewVerdict::Fail,
            vec![finding(ReviewSeverity::Warn)],
            "no",
        );
        judged.prompt_hash = Some(ContentHash::of(b"p"));
        for review in [judged, Review::unusable("cut off at 100 tokens")] {
            let row = serde_json::to_value(&review).unwrap();
            assert_eq!(serde_json::from_value::<Review>(row).unwrap(), review);
        }
    }

    #[test]
    fn a_failure_says_what_to_mend_and_the_weightiest_comes_first() {
        let review = Review::judged(
            ReviewVerdict::Fail,
            vec![finding(ReviewSeverity::Note), finding(ReviewSeverity::Warn)],
            "it repeats what lost before",
        );
        assert_eq!(review.findings()[0].severity, ReviewSeverity::Block);
        assert!(review.findings()[0].message.contains("lost before"));
        assert_eq!(
            review.words(ReviewSeverity::Warn),
            "other: it repeats what lost before; focus at prompts/a.md: two concerns"
        );
    }

    #[test]
    fn no_usable_verdict_fails_and_is_not_sent_back() {
        let review = Review::unusable("not JSON");
        assert_eq!(review.verdict(), ReviewVerdict::Fail);
        assert!(review.is_unusable() && !review.asks_for_revision());
        assert!(review.words(ReviewSeverity::Block).contains("not JSON"));
    }
}
