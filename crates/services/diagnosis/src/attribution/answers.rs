//! Rules about the answer itself: buried, in another form, withheld, or wrong.

use fapo_domain::model::case::Case;
use fapo_domain::model::level::Level;
use fapo_domain::model::project::{Metric, ProjectSpec};
use fapo_domain::model::trace::RunRecord;
use serde_json::Value;

use super::gold;
use super::rules::{CaseView, Hit};
use super::scored::Part;
use super::table::SHORT_ANSWER;
use crate::text::{contains_words, normal_form, quote, words};

/// Keys of `expected` taken for the answer when the scorer names none.
const ANSWER_KEYS: [&str; 6] = [
    "answer",
    "expected_answer",
    "label",
    "output",
    "reference",
    "target",
];

/// Ways in which models say that they do not know, in normal form.
const ABSTENTIONS: [&str; 22] = [
    "unknown",
    "i dont know",
    "i do not know",
    "not known",
    "cannot be determined",
    "can not be determined",
    "could not be determined",
    "cannot determine",
    "not enough information",
    "insufficient information",
    "not enough context",
    "no answer",
    "no information",
    "not mentioned",
    "not provided",
    "not specified",
    "not stated",
    "unable to answer",
    "unable to determine",
    "cannot answer",
    "i am not sure",
    "im not sure",
];

/// The key of `expected` that holds the answer: the metric's, else the first known name the case has, else its only key
/// that names no gold documents.
fn answer_key<'a>(case: &'a Case, project: &'a ProjectSpec, part: &Part<'a>) -> Option<&'a str> {
    if part.expected.is_some() {
        return part.expected;
    }
    if let Some(key) = ANSWER_KEYS
        .into_iter()
        .find(|key| case.expected.contains_key(*key))
    {
        return Some(key);
    }
    let gold = gold::gold_key(case, project);
    let mut rest = case
        .expected
        .keys()
        .filter(|key| Some(key.as_str()) != gold);
    match (rest.next(), rest.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The texts that count as right for a case in one part of what is maximized; empty where it names none or something that
/// is no text.
pub fn expected_answers(case: &Case, project: &ProjectSpec, part: &Part<'_>) -> Vec<String> {
    fn texts(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
    let Some(value) = answer_key(case, project, part).and_then(|key| case.expected.get(key)) else {
        return Vec::new();
    };
    let answers = match value {
        // each is a part of the answer, none is the answer
        Value::Array(items) if scores_sets(part) && items.len() > 1 => Vec::new(),
        Value::Array(items) => items.iter().filter_map(texts).collect(),
        other => texts(other).into_iter().collect(),
    };
    answers
        .into_iter()
        .filter(|answer: &String| !answer.trim().is_empty())
        .collect()
}

fn scores_sets(part: &Part<'_>) -> bool {
    matches!(
        part.metric,
        Some(Metric::SetPrecision | Metric::SetRecall | Metric::SetF1 | Metric::AllGold)
    )
}

/// The text that was scored; `None` where there is none, or documents are scored.
pub fn scored_text(run: &RunRecord, part: &Part<'_>) -> Option<String> {
    let Some(from) = part.from else {
        return run.output_text.clone();
    };
    let (step, rest) = from.split_once('.').unwrap_or((from, "text"));
    let output = run.step(step)?.output.as_ref()?;
    match rest.split_once('.').unwrap_or((rest, "")) {
        ("text", "") => Some(output.text.clone()),
        ("json", path) => {
            let mut value = output.json.as_ref()?;
            for part in path.split('.').filter(|part| !part.is_empty()) {
                value = value.get(part)?;
            }
            Some(match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
        }
        _ => None,
    }
}

/// The text in which the case lost most.
fn said(view: &CaseView<'_>) -> Option<String> {
    scored_text(view.run, &view.part())
}

/// What it should have been.
fn expected(view: &CaseView<'_>) -> Vec<String> {
    expected_answers(view.case, view.project, &view.part())
}

/// Whether a right answer stands in the scored text, in whatever form.
pub fn is_present(view: &CaseView<'_>) -> bool {
    let Some(output) = said(view) else {
        return false;
    };
    let said = words(&output);
    expected(view).iter().any(|answer| {
        contains_words(&said, &words(answer)) || same_in_another_form(&output, answer)
    })
}

fn at_answer(view: &CaseView<'_>, doubtful: bool, detail: String) -> Hit {
    Hit {
        step: view.answer().spec.id().clone(),
        level: Level::Prompt,
        doubtful,
        detail,
    }
}

/// The right answer is inside an output longer than `diagnosis.buried_ratio` times the answer.
pub fn buried(view: &CaseView<'_>) -> Option<Hit> {
    let output = said(view)?;
    if read_json(&output).is_some() {
        return None;
    }
    let said = words(&output);
    let ratio = view.project.diagnosis.buried_ratio;
    expected(view)
        .iter()
        .find(|answer| {
            contains_words(&said, &words(answer))
                && output.trim().chars().count() as f64
                    > ratio * answer.trim().chars().count() as f64
                && normal_form(&output) != normal_form(answer)
        })
        .map(|answer| {
            at_answer(
                view,
                words(answer).len() <= 1 && answer.chars().count() <= SHORT_ANSWER,
                format!("the answer {} is inside {}", quote(answer), quote(&output)),
            )
        })
}

/// The right answer in another case, with other punctuation, as another spelling of a number, or inside JSON.
pub fn form(view: &CaseView<'_>) -> Option<Hit> {
    let output = said(view)?;
    let said = words(&output);
    let wants_json = matches!(
        view.part().metric,
        Some(Metric::JsonField | Metric::JsonSchema)
    );
    if wants_json && read_json(&output).is_none() && !output.trim().is_empty() {
        return Some(at_answer(
            view,
            false,
            format!("not JSON: {}", quote(&output)),
        ));
    }
    expected(view)
        .iter()
        .find(|answer| {
            same_in_another_form(&output, answer) || contains_words(&said, &words(answer))
        })
        .map(|answer| {
            at_answer(
                view,
                true,
                format!("the answer {} came as {}", quote(answer), quote(&output)),
            )
        })
}

fn same_in_another_form(output: &str, answer: &str) -> bool {
    let wanted = normal_form(answer);
    if !wanted.is_empty() && normal_form(output) == wanted {
        return true;
    }
    if let (Some(a), Some(b)) = (number(output), number(answer))
        && (a - b).abs() <= f64::EPSILON * a.abs().max(1.0)
    {
        return true;
    }
    read_json(output).is_some_and(|value| json_holds(&value, &wanted))
}

fn number(text: &str) -> Option<f64> {
    let bare: String = text
        .trim()
        .chars()
        .filter(|c| !matches!(c, ',' | '$' | '€' | '%' | ' '))
        .collect();
    bare.trim_end_matches('.').parse().ok()
}

fn json_holds(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => !wanted.is_empty() && normal_form(text) == wanted,
        Value::Number(_) | Value::Bool(_) => normal_form(&value.to_string()) == wanted,
        Value::Array(items) => items.iter().any(|item| json_holds(item, wanted)),
        Value::Object(map) => map.values().any(|item| json_holds(item, wanted)),
        Value::Null => false,
    }
}

/// The output read as a JSON object or array, with or without a code fence around it.
fn read_json(output: &str) -> Option<Value> {
    let mut text = output.trim();
    if let Some(inner) = text.strip_prefix("```") {
        text = inner
            .strip_prefix("json")
            .unwrap_or(inner)
            .trim_end_matches('`')
            .trim();
    }
    serde_json::from_str(text)
        .ok()
        .filter(|value: &Value| value.is_object() || value.is_array())
}

/// Whether a text says that the answer is unknown.
pub fn says_unknown(text: &str) -> bool {
    let plain = normal_form(text);
    matches!(plain.as_str(), "na" | "none" | "null")
        || ABSTENTIONS.iter().any(|phrase| {
            plain == *phrase
                || (phrase.contains(' ') && contains_words(&words(&plain), &words(phrase)))
        })
        || plain.starts_with("unknown ")
}

/// The output says that the answer is unknown, and that is not what was expected.
pub fn abstained(view: &CaseView<'_>) -> Option<Hit> {
    let output = said(view)?;
    let expects_it = expected(view).iter().any(|answer| says_unknown(answer));
    (!expects_it && says_unknown(&output)).then(|| {
        at_answer(
            view,
            false,
            format!("said that it does not know: {}", quote(&output)),
        )
    })
}

/// Everything needed was there, and the answer is wrong. Where the output is what a retrieval step found, the structure
/// around it must change; else the prompt is asked first, with little confidence.
pub fn wrong(view: &CaseView<'_>) -> Option<Hit> {
    let step = view.answer();
    let expected = expected(view);
    let said = said(view).unwrap_or_default();
    let detail = match expected.first() {
        Some(answer) => format!("said {} for {}", quote(&said), quote(answer)),
        None if view.score.feedback.is_empty() => format!("said {}", quote(&said)),
        None => quote(&view.score.feedback),
    };
    Some(Hit {
        step: step.spec.id().clone(),
        level: if step.writes_text_by_model() {
            Level::Prompt
        } else {
            Level::Structure
        },
        doubtful: false,
        detail,
    })
}
