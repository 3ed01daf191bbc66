//! Checks a read document against its schema and says everything that is wrong with it in a person's words.
//!
//! The schema is first *shaped* by the document: references are resolved and of each choice the branch is taken that the
//! document means (`kind`, `method`, or the JSON type). What is left has no alternatives, so every error is about one place.

mod phrase;
mod shape;
mod stand_in;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use fapo_domain::model::pipeline::PipelineSpec;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::problem::Problems;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::problems::error;
use crate::schema;
use crate::yaml::Document;

pub(crate) use stand_in::StandIns;

/// What was left out of a document so that the rest of it could be looked at.
#[derive(Debug, Default)]
pub(crate) struct Repaired(BTreeSet<String>);

impl Repaired {
    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something at or below `path` was left out: what is said about it may not be the user's fault.
    pub fn touches(&self, path: &str) -> bool {
        self.0.iter().any(|gone| {
            gone.strip_prefix(path).is_some_and(|rest| {
                path.is_empty() || rest.is_empty() || rest.starts_with('.') || rest.starts_with('[')
            })
        })
    }
}

/// What stands for a required key of `fapo.yaml` that is missing or wrong, so that the rest can be looked at: JSON pointer,
/// key path, value. Those above come before those below.
static PLACEHOLDERS: LazyLock<[(&str, &str, Value); 5]> = LazyLock::new(|| {
    [
        ("/name", "name", json!("")),
        ("/models", "models", json!({})),
        ("/data", "data", json!({})),
        ("/data/train", "data.train", json!("")),
        ("/scorer", "scorer", json!({})),
    ]
});

/// `fapo.yaml`, typed. Where something is wrong with it, the rest is typed if that can be.
pub(crate) fn project_spec(
    document: &Document,
    problems: &mut Problems,
) -> (Option<ProjectSpec>, Repaired) {
    typed(document, &schema::PROJECT, &*PLACEHOLDERS, problems)
}

/// As [`PLACEHOLDERS`], of `pipeline.yaml`.
static PIPELINE_PLACEHOLDERS: LazyLock<[(&str, &str, Value); 1]> =
    LazyLock::new(|| [("/output", "output", json!(""))]);

/// `pipeline.yaml`, typed. Where something is wrong with it, the rest is typed if that can be, with other steps in the place
/// of those that cannot.
pub(crate) fn pipeline_spec(
    document: &Document,
    problems: &mut Problems,
) -> (Option<PipelineSpec>, Repaired, StandIns) {
    let mut stand_ins = StandIns::default();
    let (spec, repaired) = typed_with(
        document,
        &schema::PIPELINE,
        &*PIPELINE_PLACEHOLDERS,
        problems,
        &mut |value| stand_ins.put(value),
    );
    (spec, repaired, stand_ins)
}

fn typed<T: DeserializeOwned>(
    document: &Document,
    root: &Value,
    placeholders: &[(&str, &str, Value)],
    problems: &mut Problems,
) -> (Option<T>, Repaired) {
    typed_with(document, root, placeholders, problems, &mut |_| {})
}

/// As [`typed`]; `mend` is given what is left once something was left out.
fn typed_with<T: DeserializeOwned>(
    document: &Document,
    root: &Value,
    placeholders: &[(&str, &str, Value)],
    problems: &mut Problems,
    mend: &mut dyn FnMut(&mut Value),
) -> (Option<T>, Repaired) {
    if document.value.is_null() {
        problems.push(error("empty", &document.file, "the file is empty"));
        return (None, Repaired::default());
    }
    let shaped = shape::shape(root, document, problems);
    let mut gone = shaped.refused.clone();
    match jsonschema::validator_for(&shaped.schema) {
        Ok(validator) => {
            for found in validator.iter_errors(&document.value) {
                let stands_in = |pointer: &str| placeholders.iter().any(|(at, ..)| *at == pointer);
                phrase::phrase(&found, document, &shaped, &stands_in, problems, &mut gone);
            }
        }
        Err(found) => problems.push(error(
            "schema",
            &document.file,
            format!("the schema cannot be used: {found}"),
        )),
    }
    let mut repaired = Repaired(gone.iter().map(|pointer| shaped.path(pointer)).collect());
    let mut value = document.value.clone();
    // the deepest and last first, so that positions in lists stay
    for pointer in gone.iter().rev() {
        remove(&mut value, pointer);
    }
    if !gone.is_empty() {
        for (pointer, path, placeholder) in placeholders {
            if put(&mut value, pointer, placeholder) {
                repaired.0.insert((*path).to_owned());
            }
        }
        mend(&mut value);
    }
    match serde_json::from_value(value) {
        Ok(spec) => (Some(spec), repaired),
        Err(found) => {
            if repaired.is_empty() {
                // schema and types are made from one another, so this is for what a schema cannot say
                problems.push(error("not-readable", &document.file, found.to_string()));
            }
            (None, repaired)
        }
    }
}

/// Removes what a JSON pointer names. Items of lists stay: their positions are what others are told by.
fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return;
    };
    if let Some(Value::Object(map)) = value.pointer_mut(parent) {
        map.shift_remove(&key.replace("~1", "/").replace("~0", "~"));
    }
}

/// Puts a value where a JSON pointer leads to nothing; false where there is something, or no object around it.
fn put(value: &mut Value, pointer: &str, placeholder: &Value) -> bool {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return false;
    };
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) if !map.contains_key(key) => {
            map.insert(key.to_owned(), placeholder.clone());
            true
        }
        _ => false,
    }
}

/// What is wrong with a JSON Schema that a user wrote, if anything.
pub(crate) fn invalid_schema(schema: &Value) -> Option<String> {
    if !schema.is_object() && !schema.is_boolean() {
        return Some("a JSON Schema is an object".to_owned());
    }
    let found = match jsonschema::meta::validate(schema) {
        Err(found) => found,
        Ok(()) => jsonschema::validator_for(schema).err()?,
    };
    let place = found.instance_path().as_str();
    Some(if place.ends_with("/type") {
        format!(
            "not a JSON Schema: there is no type {} (at `{place}`)",
            found.instance()
        )
    } else if place.is_empty() {
        format!("not a JSON Schema: {found}")
    } else {
        format!("not a JSON Schema: at `{place}`: {found}")
    })
}
