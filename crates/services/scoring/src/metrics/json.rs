//! `json_field` and `json_schema`: metrics over an output that is JSON.

use jsonschema::Validator;
use serde_json::Value;

use super::numeric::Tolerance;
use super::{Mark, kind};
use crate::text::quote;

/// A dotted path into a JSON value: keys of objects, positions of lists, such as `answers.0.label`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// Reads a path. An empty path, or an empty part, is refused.
    pub fn parse(path: &str) -> Result<Self, String> {
        let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            return Err(format!(
                "{path:?} is no path: write keys joined by dots, such as answer.label"
            ));
        }
        Ok(Self(parts))
    }

    /// The value at the path, or the part at which it leaves what is there.
    pub fn find<'v>(&self, value: &'v Value) -> Result<&'v Value, &str> {
        self.0.iter().try_fold(value, |inner, part| {
            match inner {
                Value::Object(map) => map.get(part),
                Value::Array(items) => part.parse::<usize>().ok().and_then(|at| items.get(at)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            }
            .ok_or(part.as_str())
        })
    }
}

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// Reads an output as one JSON value; the error says, for feedback, what it is instead.
pub fn parse(output: &str) -> Result<Value, String> {
    let text = output.trim();
    if text.is_empty() {
        return Err("the output is empty, not JSON".to_owned());
    }
    serde_json::from_str(text).map_err(|error| {
        if text.contains("```") {
            "the output is not bare JSON: it has a code fence".to_owned()
        } else if text.contains(['{', '[']) && !text.starts_with(['{', '[']) {
            format!(
                "the output is not bare JSON: there is text before it: {}",
                quote(text)
            )
        } else {
            format!("the output is not JSON ({error}): {}", quote(text))
        }
    })
}

/// 1 if the field equals the expected value, or, where that is a list and the field is not, one of its members.
/// Numbers are compared as numbers (`1` is `1.0`) within the tolerance, whole ones to the last digit where it is 0, texts after trimming; a number and a text that
/// looks like it differ.
pub fn json_field(
    output: &Value,
    path: &FieldPath,
    expected: &Value,
    ignore_case: bool,
    tolerance: Tolerance,
) -> Mark {
    let shown = || match expected {
        Value::String(text) => quote(text),
        other => quote(&other.to_string()),
    };
    let given = match path.find(output) {
        Ok(given) => given,
        Err(part) => {
            return Mark::wrong(format!(
                "expected {} at `{path}`; the output has no `{part}`: {}",
                shown(),
                quote(&output.to_string())
            ));
        }
    };
    let any_of = match (expected, given) {
        (Value::Array(_), Value::Array(_)) => false,
        (Value::Array(items), _) => items
            .iter()
            .any(|item| equal(given, item, ignore_case, tolerance)),
        _ => false,
    };
    if any_of || equal(given, expected, ignore_case, tolerance) {
        return Mark::right();
    }
    let given_text = match given {
        Value::String(text) => quote(text),
        other => quote(&other.to_string()),
    };
    let alike = std::mem::discriminant(given) == std::mem::discriminant(expected)
        || matches!(expected, Value::Array(_));
    Mark::wrong(if alike {
        format!("expected {} at `{path}`, got {given_text}", shown())
    } else {
        format!(
            "expected {} ({}) at `{path}`, got {given_text} ({})",
            shown(),
            kind(expected),
            kind(given)
        )
    })
}

fn equal(given: &Value, expected: &Value, ignore_case: bool, tolerance: Tolerance) -> bool {
    match (given, expected) {
        (Value::Number(given), Value::Number(expected)) => {
            let whole = |number: &serde_json::Number| number.is_i64() || number.is_u64();
            if tolerance.is_exact() && whole(given) && whole(expected) {
                // a float has not all the digits of a large id
                return given == expected;
            }
            given == expected
                || match (given.as_f64(), expected.as_f64()) {
                    (Some(given), Some(expected)) => tolerance.allows(given, expected),
                    _ => false,
                }
        }
        (Value::String(given), Value::String(expected)) => {
            let (given, expected) = (given.trim(), expected.trim());
            given == expected || (ignore_case && given.to_lowercase() == expected.to_lowercase())
        }
        (Value::Array(given), Value::Array(expected)) => {
            given.len() == expected.len()
                && given
                    .iter()
                    .zip(expected)
                    .all(|(given, expected)| equal(given, expected, ignore_case, tolerance))
        }
        (Value::Object(given), Value::Object(expected)) => {
            given.len() == expected.len()
                && expected.iter().all(|(key, expected)| {
                    given
                        .get(key)
                        .is_some_and(|given| equal(given, expected, ignore_case, tolerance))
                })
        }
        _ => given == expected,
    }
}

/// 1 if the value satisfies the schema, else 0 with the first two breaches.
pub fn json_schema(output: &Value, schema: &Validator) -> Mark {
    let mut breaches = schema.iter_errors(output).map(|error| {
        let place = error.instance_path().to_string();
        if place.is_empty() {
            error.to_string()
        } else {
            format!("at {place}: {error}")
        }
    });
    let Some(first) = breaches.next() else {
        return Mark::right();
    };
    let mut feedback = format!("the output breaks the schema {}", one_line(&first));
    if let Some(second) = breaches.next() {
        feedback.push_str("; ");
        feedback.push_str(&one_line(&second));
        let rest = breaches.count();
        if rest > 0 {
            feedback.push_str(&format!("; and {rest} more"));
        }
    }
    Mark::wrong(feedback)
}

fn one_line(text: &str) -> String {
    const LIMIT: usize = 160;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LIMIT) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(output: &Value, path: &str, expected: &Value) -> Mark {
        json_field(
            output,
            &FieldPath::parse(path).unwrap(),
            expected,
            false,
            Tolerance::default(),
        )
    }

    #[test]
    fn fields_are_found_by_path_and_compared_by_type() {
        let output = json!({"a": {"b": [{"c": 1.0}, "x "]}, "n": null, "s": "3", "l": [1, 2]});
        let table = [
            ("a.b.0.c", json!(1), 1.0),
            ("a.b.1", json!("x"), 1.0),
            ("a.b.1", json!("X"), 0.0),
            ("a.b.1", json!(["y", "x"]), 1.0),
            ("a.b.2", json!("x"), 0.0),
            ("n", json!(null), 1.0),
            ("s", json!(3), 0.0),
            ("s", json!("3"), 1.0),
            ("l", json!([1.0, 2]), 1.0),
            ("l", json!([2, 1]), 0.0),
            ("a.b.0", json!({"c": 1}), 1.0),
            ("a.b.0", json!({"c": 1, "d": 2}), 0.0),
            ("z", json!("x"), 0.0),
        ];
        for (path, expected, value) in table {
            let mark = field(&output, path, &expected);
            assert_eq!(mark.value, value, "{path} {expected} {mark:?}");
            assert_eq!(mark.feedback.is_empty(), value == 1.0);
        }
        assert!(
            field(&output, "s", &json!(3))
                .feedback
                .contains("(a number) at `s`, got `3` (a text)")
        );
        assert!(
            field(&output, "a.z", &json!(3))
                .feedback
                .contains("has no `z`")
        );
        assert!(FieldPath::parse("a..b").is_err());
        assert!(FieldPath::parse("").is_err());
    }

    #[test]
    fn large_whole_numbers_are_compared_to_the_last_digit() {
        for (given, expected, value) in [
            (json!(1234567890), json!(1234567891), 0.0),
            (
                json!(9007199254740993_i64),
                json!(9007199254740992_i64),
                0.0,
            ),
            (json!(u64::MAX), json!(u64::MAX - 1), 0.0),
            (json!(u64::MAX), json!(u64::MAX), 1.0),
            (json!(1e10), json!(10_000_000_000_i64), 1.0),
            (json!(1e10), json!(10_000_000_001_i64), 0.0),
            (json!([-1]), json!([-1]), 1.0),
            (json!(0.1 + 0.2), json!(0.3), 1.0),
        ] {
            let mark = field(&json!({"id": given}), "id", &expected);
            assert_eq!(mark.value, value, "{given} {expected}");
        }
    }

    #[test]
    fn case_and_tolerance_are_options() {
        let path = FieldPath::parse("x").unwrap();
        let within = Tolerance {
            value: 0.1,
            relative: false,
        };
        let ask = |given: Value, expected: Value| {
            json_field(&json!({"x": given}), &path, &expected, true, within).value
        };
        assert_eq!(ask(json!("YES"), json!("yes")), 1.0);
        assert_eq!(ask(json!(1.05), json!(1)), 1.0);
        assert_eq!(ask(json!(1.2), json!(1)), 0.0);
    }

    #[test]
    fn what_is_not_bare_json_is_told_apart() {
        assert!(
            parse("```json\n{}\n```")
                .unwrap_err()
                .contains("code fence")
        );
        assert!(
            parse("Here: {\"a\":1}")
                .unwrap_err()
                .contains("text before it")
        );
        assert!(parse("{\"a\":").unwrap_err().contains("not JSON"));
        assert!(parse("  ").unwrap_err().contains("empty"));
        assert_eq!(parse(" {\"a\":1} ").unwrap(), json!({"a": 1}));
    }

    #[test]
    fn a_breach_of_the_schema_is_named() {
        let schema = jsonschema::validator_for(&json!({
            "type": "object", "required": ["label"], "additionalProperties": false,
            "properties": {"label": {"enum": ["a", "b"]}, "n": {"type": "integer"}}
        }))
        .unwrap();
        assert_eq!(
            json_schema(&json!({"label": "a", "n": 1}), &schema),
            Mark::right()
        );
        let mark = json_schema(&json!({"label": "c", "n": "1"}), &schema);
        assert_eq!(mark.value, 0.0);
        assert!(
            mark.feedback.contains("/label") && mark.feedback.contains("/n"),
            "{mark:?}"
        );
        assert!(json_schema(&json!({}), &schema).feedback.contains("label"));
    }
}
