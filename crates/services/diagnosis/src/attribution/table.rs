//! The rules as a table: name, threshold, confidence. docs/attribution.md says the same for people, and a test compares.

use fapo_domain::model::finding::Rule;

use super::rules::{CaseView, Hit};
use super::{answers, execution, retrieval};

/// A rule: a pure function of the case.
pub type RuleFn = for<'a, 'b> fn(&'b CaseView<'a>) -> Option<Hit>;

/// A rule, what its threshold is called, and how sure it is.
#[derive(Debug, Clone, Copy)]
pub struct RuleSpec {
    /// Its name.
    pub rule: Rule,
    /// What it asks.
    pub ask: RuleFn,
    /// The key of `diagnosis:` in fapo.yaml that holds its threshold.
    pub threshold: Option<&'static str>,
    /// The confidence of what it finds, in `[0, 1]`: a judgement, not a measurement. Below one half, what it finds may as
    /// well be a matter of a deeper level.
    pub confidence: f64,
    /// The confidence of a [`Hit`] that is doubtful; for rules that know such a case.
    pub doubtful: Option<f64>,
}

/// A short answer can stand in a long text by chance: one word of at most so many characters makes `answer_buried` doubtful.
pub const SHORT_ANSWER: usize = 3;

/// Below this share of its threshold an overlap is far off; between it and the threshold, it may be chance, and
/// `retrieval_low_overlap` is doubtful.
pub const FAR_OFF: f64 = 0.5;

const fn rule(rule: Rule, ask: RuleFn, confidence: f64) -> RuleSpec {
    RuleSpec {
        rule,
        ask,
        threshold: None,
        confidence,
        doubtful: None,
    }
}

impl RuleSpec {
    const fn threshold(self, key: &'static str) -> Self {
        Self {
            threshold: Some(key),
            ..self
        }
    }

    const fn doubtful(self, confidence: f64) -> Self {
        Self {
            doubtful: Some(confidence),
            ..self
        }
    }

    /// How sure the rule is of a hit.
    pub fn confidence_of(&self, hit: &Hit) -> f64 {
        self.doubtful
            .filter(|_| hit.doubtful)
            .unwrap_or(self.confidence)
    }
}

/// Every rule, in the order in which they are asked: the first that fires has its way.
pub const RULES: [RuleSpec; 13] = [
    rule(Rule::CutOffOutput, execution::cut_off_output, 0.9),
    rule(Rule::StepFailed, execution::step_failed, 0.9),
    rule(Rule::CapHit, execution::cap_hit, 0.8),
    rule(Rule::EmptyStep, execution::empty_step, 0.85),
    rule(Rule::Refusal, execution::refusal, 0.8),
    rule(Rule::RetrievalTooShallow, retrieval::too_shallow, 0.9).threshold("probe_depth"),
    // doubtful where a model wrote the query: its prompt may be at fault, or what it was given
    rule(Rule::RetrievalPartial, retrieval::partial, 0.8).doubtful(0.6),
    rule(Rule::RetrievalMiss, retrieval::miss, 0.85).doubtful(0.6),
    rule(Rule::RetrievalLowOverlap, retrieval::low_overlap, 0.6)
        .threshold("overlap")
        .doubtful(0.4),
    rule(Rule::AnswerBuried, answers::buried, 0.85)
        .threshold("buried_ratio")
        .doubtful(0.65),
    // sure where JSON was asked for and none came, doubtful about another spelling
    rule(Rule::AnswerForm, answers::form, 0.85).doubtful(0.8),
    rule(Rule::Abstained, answers::abstained, 0.75),
    rule(Rule::WrongAnswer, answers::wrong, 0.3),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_asked_in_the_order_of_the_domain() {
        let order: Vec<Rule> = RULES.iter().map(|spec| spec.rule).collect();
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn the_documented_table_is_this_one() {
        let page = include_str!("../../../../../docs/attribution.md");
        let written: Vec<Vec<&str>> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.split('|').skip(1).take(4).map(str::trim).collect())
            .collect();
        let meant: Vec<Vec<String>> = RULES
            .iter()
            .map(|spec| {
                vec![
                    format!("`{}`", spec.rule.name()),
                    spec.threshold
                        .map(|key| format!("`{key}`"))
                        .unwrap_or_default(),
                    spec.confidence.to_string(),
                    spec.doubtful
                        .map(|value| value.to_string())
                        .unwrap_or_default(),
                ]
            })
            .collect();
        assert_eq!(written, meant);
    }
}
