//! Clusters in words: what they are called, and what to try.

use std::collections::BTreeMap;

use fapo_domain::StepId;
use fapo_domain::model::finding::{FailureKind, Rule};
use fapo_domain::model::level::Level;

/// The cluster's name for people.
pub(super) fn label(rule: Rule, step: &StepId) -> String {
    let what = match rule {
        Rule::CutOffOutput => "output cut off",
        Rule::StepFailed => "step failed",
        Rule::CapHit => "case limit hit",
        Rule::EmptyStep => "empty output",
        Rule::Refusal => "model declined",
        Rule::RetrievalTooShallow => "gold document ranked below the last one taken",
        Rule::RetrievalPartial => "only part of the gold documents found",
        Rule::RetrievalMiss => "no gold document found",
        Rule::RetrievalLowOverlap => "retrieved text shares little with the query",
        Rule::AnswerBuried => "right answer inside a longer output",
        Rule::AnswerForm => "right answer in the wrong form",
        Rule::Abstained => "said that the answer is unknown",
        Rule::WrongAnswer => "wrong answer",
    };
    format!("{what} at {step}")
}

/// What to try for a pattern.
pub(super) fn direction(rule: Rule, level: Level, step: &StepId) -> String {
    match (rule, level) {
        (Rule::CutOffOutput, Level::Prompt) => {
            format!(
                "ask {step} for a shorter reply; its token limit is at the end of the allowed range"
            )
        }
        (Rule::CutOffOutput, _) => format!("raise max_tokens of {step}"),
        (Rule::StepFailed, Level::Prompt) => format!("say exactly what form {step} must reply in"),
        (Rule::StepFailed, _) => format!("mend the template or wiring of {step}"),
        (Rule::CapHit, Level::Structure) => format!("make fewer model calls around {step}"),
        (Rule::CapHit, _) => format!("lower k, n or max_tokens of {step}"),
        (Rule::EmptyStep, Level::Prompt) => format!("tell {step} that it must always reply"),
        (Rule::EmptyStep, _) => format!("mend what {step} takes from the steps before it"),
        (Rule::Refusal, _) => format!("tell {step} what the task is for and that it is harmless"),
        (Rule::RetrievalTooShallow, _) => format!("raise k of {step}"),
        (
            Rule::RetrievalPartial | Rule::RetrievalMiss | Rule::RetrievalLowOverlap,
            Level::Prompt,
        ) => format!("let the step that writes the query of {step} ask for what is still missing"),
        (Rule::RetrievalPartial, _) => {
            format!("retrieve again after {step}, with a query written from what it found")
        }
        (Rule::RetrievalMiss | Rule::RetrievalLowOverlap, _) => {
            format!("ask {step} several questions, or write its query by a model")
        }
        (Rule::AnswerBuried, _) => format!("let {step} reply with only the answer"),
        (Rule::AnswerForm, _) => format!("say exactly how {step} must write the answer"),
        (Rule::Abstained, _) => format!("let {step} always commit to its best answer"),
        (Rule::WrongAnswer, Level::Structure) => format!("change what surrounds {step}"),
        (Rule::WrongAnswer, _) => format!("make the instructions of {step} clearer"),
    }
}

/// What a model read in a cluster's failures, for its name: ` (read: 4 knowledge, 1 reasoning)`.
pub(super) fn read_as(kinds: &BTreeMap<FailureKind, u64>) -> String {
    if kinds.is_empty() {
        return String::new();
    }
    let mut counts: Vec<(u64, FailureKind)> =
        kinds.iter().map(|(kind, count)| (*count, *kind)).collect();
    counts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let words: Vec<String> = counts
        .iter()
        .map(|(count, kind)| format!("{count} {}", kind.as_str()))
        .collect();
    format!(" (read: {})", words.join(", "))
}

/// What to try for failures of which most were read as one kind; `None` where that kind says no more than the rule.
pub(super) fn read_direction(kind: FailureKind, step: &StepId) -> Option<String> {
    match kind {
        FailureKind::Knowledge => Some(format!(
            "bring what is missing to {step}: another search, more documents, or a hop that uses what was found"
        )),
        FailureKind::Reasoning => Some(format!(
            "what {step} needs is there: have it work through that in named parts before it answers"
        )),
        FailureKind::Format => Some(format!("say exactly in which form {step} must write")),
        FailureKind::Content => None,
    }
}
