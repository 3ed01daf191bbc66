//! The metrics: pure functions from what was given and what was expected to a value in `[0, 1]` and a line of feedback.
//!
//! One file per family. Feedback is written for whoever improves the pipeline: it says what kind of mistake it is, not
//! only that there is one, and it is empty when nothing is wrong.

pub mod choice;
pub mod contains;
pub mod exact;
pub mod json;
pub mod numeric;
pub mod pattern;
pub mod set;
pub mod squad;

use std::borrow::Cow;

use serde_json::Value;

use crate::text::{contains_words, quote, quote_expected, squad_normalize};

/// What a metric says about one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// In `[0, 1]`.
    pub value: f64,
    /// What was wrong, in one line; empty when nothing was.
    pub feedback: String,
}

impl Mark {
    /// Nothing is wrong.
    pub const fn right() -> Self {
        Self {
            value: 1.0,
            feedback: String::new(),
        }
    }

    /// No points.
    pub fn wrong(feedback: impl Into<String>) -> Self {
        Self {
            value: 0.0,
            feedback: feedback.into(),
        }
    }

    /// Some points; feedback is made only when it is needed.
    pub fn partial(value: f64, feedback: impl FnOnce() -> String) -> Self {
        if value >= 1.0 {
            Self::right()
        } else {
            Self {
                value: value.max(0.0),
                feedback: feedback(),
            }
        }
    }
}

/// The right answers that an expected value names: a text, number or truth value is one answer, a list is several of
/// which any is right. Anything else, and an empty list, is refused with the reason.
pub fn answers(expected: &Value) -> Result<Vec<Cow<'_, str>>, String> {
    let one = |value: &'_ Value| -> Option<String> {
        match value {
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::String(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    };
    match expected {
        Value::String(text) => Ok(vec![Cow::Borrowed(text)]),
        Value::Array(items) if items.is_empty() => {
            Err("the list of right answers is empty".to_owned())
        }
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok(Cow::Borrowed(text.as_str())),
                other => one(other).map(Cow::Owned).ok_or_else(|| {
                    format!("a list may hold texts and numbers, not {}", kind(other))
                }),
            })
            .collect(),
        other => one(other)
            .map(|text| vec![Cow::Owned(text)])
            .ok_or_else(|| {
                format!(
                    "it must be a text, a number or a list, and is {}",
                    kind(other)
                )
            }),
    }
}

/// What a JSON value is, in words.
pub(crate) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Says how an output that is not the answer differs from it.
pub(crate) fn explain_miss<S: AsRef<str>>(output: &str, expected: &[S]) -> String {
    let wanted = quote_expected(expected);
    let given = output.trim();
    if given.is_empty() {
        return format!("expected {wanted}; the output is empty");
    }
    let any = |test: &dyn Fn(&str) -> bool| expected.iter().any(|text| test(text.as_ref().trim()));
    if any(&|text| text.to_lowercase() == given.to_lowercase()) {
        return format!(
            "expected {wanted}, got {}: upper and lower case differ",
            quote(given)
        );
    }
    let normal = squad_normalize(given);
    if any(&|text| squad_normalize(text) == normal) {
        return format!(
            "expected {wanted}, got {}: only punctuation, articles or white space differ",
            quote(given)
        );
    }
    if any(&|text| contains_words(given, text)) {
        return format!(
            "expected {wanted}; the answer is inside a longer text ({} characters): {}",
            given.chars().count(),
            quote(given)
        );
    }
    if any(&|text| contains_words(text, given)) {
        return format!("expected {wanted}, got only a part of it: {}", quote(given));
    }
    format!("expected {wanted}, got {}", quote(given))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_names_several_answers_and_an_object_none() {
        assert_eq!(answers(&json!("x")).unwrap(), ["x"]);
        assert_eq!(answers(&json!(["x", 2])).unwrap(), ["x", "2"]);
        assert_eq!(answers(&json!(true)).unwrap(), ["true"]);
        assert!(answers(&json!([])).is_err());
        assert!(answers(&json!({"a": 1})).unwrap_err().contains("an object"));
        assert!(answers(&json!([["x"]])).unwrap_err().contains("a list"));
    }

    #[test]
    fn feedback_names_the_kind_of_mistake() {
        let table = [
            ("", "the output is empty"),
            ("paris", "upper and lower case"),
            ("Paris.", "punctuation"),
            (
                "The capital of France is Paris, as everybody knows.",
                "inside a longer text (51 characters)",
            ),
            ("London", "got `London`"),
        ];
        for (output, part) in table {
            let feedback = explain_miss(output, &["Paris"]);
            assert!(
                feedback.contains(part) && feedback.contains("`Paris`"),
                "{feedback}"
            );
        }
        assert!(explain_miss("Adams", &["Douglas Adams"]).contains("only a part"));
    }
}
