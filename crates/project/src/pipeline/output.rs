//! What of a run is scored.

use fapo_domain::ids::StepId;
use fapo_domain::model::trace::StepOutput;
use serde_json::Value;

/// `output:`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPath {
    /// Position of the step in [`super::Pipeline::steps`].
    pub step: usize,
    /// Its id.
    pub id: StepId,
    /// What of it.
    pub part: OutputPart,
}

/// A part of a step's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputPart {
    /// Its text, together with its JSON where it has one.
    Text,
    /// What is found by these keys (or list positions) in its JSON.
    Json(Vec<String>),
}

impl OutputPath {
    /// What is scored of the step's value, as text and, where there is one, as JSON. `None` where the path leads nowhere. The
    /// text of a JSON text is the text itself; of anything else its JSON.
    pub fn read(&self, output: &StepOutput) -> Option<(String, Option<Value>)> {
        let keys = match &self.part {
            OutputPart::Text => return Some((output.text.clone(), output.json.clone())),
            OutputPart::Json(keys) => keys,
        };
        let value = keys
            .iter()
            .try_fold(output.json.as_ref()?, |value, key| match value {
                Value::Object(map) => map.get(key),
                Value::Array(items) => items.get(key.parse::<usize>().ok()?),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            })?;
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        Some((text, Some(value.clone())))
    }
}

/// Splits `answer.json.label` into the step and the part.
pub(super) fn parse(text: &str) -> Result<(&str, OutputPart), String> {
    let mut parts = text.trim().split('.');
    let step = parts.next().unwrap_or_default();
    let part = match parts.next() {
        None => OutputPart::Text,
        Some("text") => match parts.next() {
            None => OutputPart::Text,
            Some(_) => return Err("a text has no parts".to_owned()),
        },
        Some("json") => OutputPart::Json(parts.map(str::to_owned).collect()),
        Some(other) => {
            return Err(format!(
                "`{other}` cannot be scored: `text` or `json` comes after the step's id"
            ));
        }
    };
    if let OutputPart::Json(keys) = &part
        && keys.iter().any(String::is_empty)
    {
        return Err("an empty part between two dots".to_owned());
    }
    Ok((step, part))
}
