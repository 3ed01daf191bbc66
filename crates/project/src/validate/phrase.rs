//! A schema error in a person's words.

use std::collections::BTreeSet;

use fapo_domain::problem::Problems;
use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use super::shape::{Shaped, listed};
use crate::problems::{ProblemExt, error, suggestion};
use crate::yaml::{Document, join};

/// Tells of one error and notes, by JSON pointer, what would have to be left out to get past it. `stands_in` says of a
/// pointer whether something is put there when it is missing, so that what is around it can stay.
pub(super) fn phrase(
    found: &ValidationError<'_>,
    document: &Document,
    shaped: &Shaped,
    stands_in: &dyn Fn(&str) -> bool,
    problems: &mut Problems,
    gone: &mut BTreeSet<String>,
) {
    let pointer = found.instance_path().as_str();
    let path = shaped.path(pointer);
    let file = &document.file;
    let instance = found.instance().as_ref();
    let (rule, message, help) = match found.kind() {
        Kind::AdditionalProperties { unexpected } => {
            for key in unexpected {
                let problem = unknown_key(key, pointer, document, shaped);
                problems.push(document.at_key(problem, &join(&path, key)));
                gone.insert(format!(
                    "{pointer}/{}",
                    key.replace('~', "~0").replace('/', "~1")
                ));
            }
            return;
        }
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let problem = error("missing-key", file, format!("key `{key}` is missing"));
            let problem = match about(shaped, pointer, key) {
                Some(help) => problem.help(help),
                None => problem,
            };
            problems.push(document.at_value(problem, &path));
            let inner = format!("{pointer}/{key}");
            gone.insert(if stands_in(&inner) {
                inner
            } else {
                pointer.to_owned()
            });
            return;
        }
        Kind::Type { kind } => {
            let expected = expected(kind);
            (
                "wrong-type",
                format!("expected {expected}, found {}", describe(instance)),
                mend(&expected, instance),
            )
        }
        Kind::Enum { options } => {
            let names: Vec<&str> = options
                .as_array()
                .map(|names| names.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            let word = instance.as_str().unwrap_or_default();
            (
                "unknown-value",
                format!("{} is none of the allowed values", describe(instance)),
                suggestion(word, names.iter().copied(), "allowed")
                    .or_else(|| Some(format!("allowed: {}", listed(&names)))),
            )
        }
        Kind::Minimum { limit } => (
            "out-of-range",
            format!("{instance} is too small: at least {}", number(limit)),
            None,
        ),
        Kind::Maximum { limit } => (
            "out-of-range",
            format!("{instance} is too large: at most {}", number(limit)),
            None,
        ),
        Kind::Pattern { .. } => (
            "bad-name",
            format!("{} is not a name that can be used here", describe(instance)),
            Some(
                if path == "name" {
                    "use letters, digits, `-` and `_`"
                } else {
                    "use lower-case letters, digits and `_`, and start with a letter"
                }
                .to_owned(),
            ),
        ),
        Kind::MinItems { limit } | Kind::MaxItems { limit } => (
            "wrong-length",
            format!(
                "expected {limit} values, found {}",
                instance.as_array().map_or(0, Vec::len)
            ),
            path.starts_with("scope.ranges")
                .then(|| "a range is written `[smallest, largest]`".to_owned()),
        ),
        _ => ("not-allowed", found.to_string(), None),
    };
    let problem = error(rule, file, message);
    let problem = match help {
        Some(help) => problem.help(help),
        None => problem,
    };
    problems.push(document.at_value(problem, &path));
    gone.insert(pointer.to_owned());
}

fn unknown_key(
    key: &str,
    pointer: &str,
    document: &Document,
    shaped: &Shaped,
) -> fapo_domain::problem::Problem {
    let problem = error(
        "unknown-key",
        &document.file,
        format!("unknown key `{key}`"),
    );
    let Some(known) = shaped.keys.get(pointer) else {
        return problem;
    };
    // a key that is there already is not what was meant
    let here = document.value.pointer(pointer).and_then(Value::as_object);
    let free: Vec<&str> = known
        .keys()
        .map(String::as_str)
        .filter(|name| !here.is_some_and(|here| here.contains_key(*name)))
        .collect();
    match suggestion(key, free.iter().copied(), "keys that can still be added") {
        Some(help) => problem.help(help),
        None => problem.help("remove it"),
    }
}

/// What a key is for, from its description: the first sentence.
fn about(shaped: &Shaped, pointer: &str, key: &str) -> Option<String> {
    let description = shaped.keys.get(pointer)?.get(key)?.get("description")?;
    let text = description.as_str()?;
    let sentence = text.split(". ").next().unwrap_or(text);
    Some(format!("`{key}`: {}", sentence.trim_end_matches('.')))
}

fn expected(kind: &TypeKind) -> String {
    let name = |kind: &str| match kind {
        "string" => "a text",
        "number" => "a number",
        "integer" => "a whole number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "keys and values",
        _ => "nothing",
    };
    match kind {
        TypeKind::Single(kind) => name(&kind.to_string()).to_owned(),
        TypeKind::Multiple(kinds) => kinds
            .iter()
            .map(|kind| kind.to_string())
            .filter(|kind| kind != "null")
            .map(|kind| name(&kind))
            .collect::<Vec<_>>()
            .join(" or "),
    }
}

/// What a value is, short enough for a message.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() <= 40 => format!("the text `{text}`"),
        Value::String(text) => {
            let start: String = text.chars().take(40).collect();
            format!("the text `{start}…`")
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "keys and values".to_owned(),
    }
}

fn mend(expected: &str, instance: &Value) -> Option<String> {
    Some(match (expected, instance) {
        (_, Value::Null) => "give it a value, or remove the key".to_owned(),
        ("a text", Value::Number(_) | Value::Bool(_)) => {
            format!("put it in quotes: \"{instance}\"")
        }
        ("a list", Value::String(text)) => format!("write a list: [{text}]"),
        ("a list", Value::Number(_)) => format!("write a list: [{instance}]"),
        ("a whole number", Value::String(text)) if text.parse::<i64>().is_ok() => {
            format!("without quotes: {text}")
        }
        ("a number", Value::String(text)) if text.parse::<f64>().is_ok() => {
            format!("without quotes: {text}")
        }
        ("`true` or `false`", Value::String(text)) => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" => "write `true`".to_owned(),
            "no" | "off" | "n" => "write `false`".to_owned(),
            _ => return None,
        },
        _ => return None,
    })
}

/// `1.0` reads better as `1`.
fn number(limit: &Value) -> String {
    match limit.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        _ => limit.to_string(),
    }
}
