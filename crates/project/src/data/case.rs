//! From a record to a case.

use std::collections::BTreeSet;

use csv::StringRecord;
use fapo_domain::ids::CaseId;
use fapo_domain::model::case::Case;
use serde_json::{Map, Value};

use super::Fault;
use crate::problems::nearest;

/// Longest case id, in characters.
const MAX_ID: usize = 200;

/// A case from a JSON object. Where it is no case, the keys of its input are put into `seen`, if it has one.
pub(super) fn from_object(
    mut object: Map<String, Value>,
    seen: &mut BTreeSet<String>,
) -> Result<Case, Fault> {
    let names: Vec<String> = object.keys().cloned().collect();
    let case_id = match object.shift_remove("case_id") {
        Some(value) => id("case_id", &value),
        None => Err(missing("case_id", &names, "every case needs a name")),
    };
    let case_id = match case_id {
        Ok(case_id) => case_id,
        Err(fault) => {
            let inputs = ["input", "context"].map(|name| object.get(name));
            for input in inputs.into_iter().flatten().filter_map(Value::as_object) {
                seen.extend(input.keys().cloned());
            }
            return Err(fault);
        }
    };
    let input = match (object.shift_remove("input"), object.shift_remove("context")) {
        (Some(_), Some(_)) => {
            return Err(
                Fault::new("case-key", "both `input` and `context` are given")
                    .help("`context` is another name of `input`: keep one of them"),
            );
        }
        (Some(input), None) => keys("input", input, &case_id)?,
        (None, Some(context)) => keys("context", context, &case_id)?,
        (None, None) => {
            let fault = missing("input", &names, "it holds what the pipeline sees");
            return Err(fault.of(&case_id));
        }
    };
    let mut part = |name: &str| match object.shift_remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(value) => keys(name, value, &case_id),
    };
    let parts = part("expected").and_then(|expected| Ok((expected, part("metadata")?)));
    let (expected, mut metadata) = match parts {
        Ok(parts) => parts,
        Err(fault) => {
            seen.extend(input.keys().cloned());
            return Err(fault);
        }
    };
    for (key, value) in object {
        metadata.entry(key).or_insert(value);
    }
    Ok(Case {
        case_id: CaseId::new(&case_id),
        input,
        expected,
        metadata,
    })
}

/// A case from a row of texts.
pub(super) fn from_row(columns: &[String], row: &StringRecord) -> Result<Case, Fault> {
    let (mut input, mut expected, mut metadata) = (Map::new(), Map::new(), Map::new());
    let mut case_id = None;
    for (column, value) in columns.iter().zip(row) {
        let text = Value::from(value);
        let part = match target(column) {
            (Part::Name, _) => {
                case_id = Some(id("case_id", &text)?);
                continue;
            }
            (Part::Input, key) => (&mut input, key),
            (Part::Expected, key) => (&mut expected, key),
            (Part::Metadata, key) => (&mut metadata, key),
        };
        part.0.insert(part.1.to_owned(), text);
    }
    let case_id = case_id.ok_or_else(|| missing("case_id", columns, "every case needs a name"))?;
    Ok(Case {
        case_id: CaseId::new(&case_id),
        input,
        expected,
        metadata,
    })
}

/// A part of a case that a column gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Name,
    Input,
    Expected,
    Metadata,
}

impl Part {
    /// What the part is called.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Name => "case_id",
            Self::Input => "input",
            Self::Expected => "expected",
            Self::Metadata => "metadata",
        }
    }
}

/// The part and the key that a column gives.
pub(super) fn target(column: &str) -> (Part, &str) {
    match column.split_once('.') {
        _ if column == "case_id" => (Part::Name, column),
        Some(("input" | "context", key)) => (Part::Input, key),
        Some(("expected", key)) => (Part::Expected, key),
        Some(("metadata", key)) => (Part::Metadata, key),
        _ => (Part::Input, column),
    }
}

/// The keys of the input that columns give, as far as they are names at all: the first row of a file without a header is not
/// taken for one.
pub(super) fn input_keys(columns: &[String]) -> BTreeSet<String> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let named = || columns.iter().filter(|name| !name.is_empty());
    if !named().all(|name| is_name(name)) {
        return BTreeSet::new();
    }
    named()
        .map(|name| target(name))
        .filter(|(part, _)| *part == Part::Input)
        .map(|(_, key)| key.to_owned())
        .collect()
}

/// Checks the columns of a file of cases.
pub(super) fn check_columns(columns: &[String]) -> Result<(), Fault> {
    if !columns.iter().any(|column| column == "case_id") {
        let fault = missing("case_id", columns, "every case needs a name");
        return Err(fault.saying("there is no column `case_id`"));
    }
    let mut seen = std::collections::BTreeMap::new();
    for column in columns {
        if let Some(other) = seen.insert(target(column), column) {
            return Err(Fault::new(
                "bad-header",
                format!("columns `{other}` and `{column}` give the same key"),
            )
            .help("a column without `input.` in front is a key of the input"));
        }
    }
    Ok(())
}

impl Fault {
    /// Says it in other words, with the same help.
    pub(super) fn saying(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Names the case.
    fn of(mut self, case_id: &str) -> Self {
        self.message = format!("case `{case_id}`: {}", self.message);
        self
    }
}

/// A name: a text that is not empty and stands on one line.
pub(super) fn id(key: &str, value: &Value) -> Result<String, Fault> {
    let text = match value {
        Value::String(text) => text.trim(),
        Value::Number(number) => {
            return Err(Fault::new(
                "bad-id",
                format!("`{key}` is the number {number}, and must be a text"),
            )
            .help(format!("put it in quotes: \"{number}\"")));
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err(Fault::new("bad-id", format!("`{key}` must be a text")));
        }
    };
    if text.is_empty() {
        return Err(Fault::new("bad-id", format!("`{key}` is empty"))
            .help("every record needs a name of its own"));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::new(
            "bad-id",
            format!("`{key}` holds a line break or another control character"),
        ));
    }
    if text.chars().count() > MAX_ID {
        return Err(Fault::new(
            "bad-id",
            format!("`{key}` is longer than {MAX_ID} characters"),
        ));
    }
    Ok(text.to_owned())
}

/// A part that must be an object.
pub(super) fn keys(name: &str, value: Value, case_id: &str) -> Result<Map<String, Value>, Fault> {
    let what = match value {
        Value::Object(map) => return Ok(map),
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
    };
    let example = if name == "expected" {
        "answer"
    } else {
        "question"
    };
    Err(Fault::new(
        "case-key",
        format!("`{name}` is {what}, and must be an object"),
    )
    .help(format!(
        "give it a key: {{\"{name}\": {{\"{example}\": ...}}}}"
    ))
    .of(case_id))
}

pub(super) fn missing(key: &str, there: &[String], why: &str) -> Fault {
    let fault = Fault::new("missing-key", format!("key `{key}` is missing"));
    let names = || there.iter().map(String::as_str);
    let part = || names().find(|name| name.len() >= 2 && key.ends_with(&format!("_{name}")));
    match nearest(key, names()).or_else(part) {
        Some(near) => fault.help(format!("there is `{near}`: rename it to `{key}`")),
        None => fault.help(why),
    }
}
