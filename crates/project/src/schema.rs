//! The JSON Schemas of both YAML files, generated from the domain's types: the only place where their keys are named.
//!
//! Editors complete and check with them (`# yaml-language-server: $schema=...`), and reading a project validates with
//! them. `fapo schema` prints and writes them; `docs/schema` is what it writes, committed (`make schema`).

use std::sync::LazyLock;

use fapo_domain::model::pipeline::PipelineSpec;
use fapo_domain::model::project::ProjectSpec;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The schema of `fapo.yaml` (JSON Schema 2020-12).
pub fn project_schema() -> Value {
    PROJECT.clone()
}

/// The schema of `pipeline/pipeline.yaml` (JSON Schema 2020-12).
pub fn pipeline_schema() -> Value {
    PIPELINE.clone()
}

/// The file that holds [`project_schema`] wherever it is written.
pub const PROJECT_FILE: &str = "fapo.schema.json";

/// The file that holds [`pipeline_schema`] wherever it is written.
pub const PIPELINE_FILE: &str = "pipeline.schema.json";

/// A schema as the text of a file: indented, with a line end, and the same bytes each time.
pub fn text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

pub(crate) static PROJECT: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<ProjectSpec>()
        .to_value();
    schema["title"] = json!("fapo.yaml");
    schema["properties"]["name"]["pattern"] = json!("^[A-Za-z0-9_-]+$");
    finish(&mut schema);
    schema
});

pub(crate) static PIPELINE: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<PipelineSpec>()
        .to_value();
    schema["title"] = json!("pipeline.yaml");
    schema["$defs"]["StepId"]["pattern"] = json!("^[a-z][a-z0-9_]*$");
    finish(&mut schema);
    schema
});

/// Says what the types mean and the generator cannot know: no object takes unknown keys, `u32` has a largest value, and
/// line breaks of a doc comment are none in its text.
fn finish(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.contains_key("properties") && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            if map.get("format").is_some_and(|format| format == "uint32")
                && !map.contains_key("maximum")
            {
                map.insert("maximum".to_owned(), json!(u32::MAX));
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = join_lines(text);
            }
            map.values_mut().for_each(finish);
        }
        Value::Array(items) => items.iter_mut().for_each(finish),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn join_lines(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| {
            paragraph
                .split('\n')
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// Follows a `$ref` inside `root`.
pub(crate) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    while let Some(name) = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|target| target.strip_prefix("#/$defs/"))
    {
        schema = &root["$defs"][name];
    }
    schema
}

/// The properties of an object schema.
pub(crate) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}
