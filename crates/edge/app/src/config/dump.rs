//! The configuration as it counts in the end, each value with where it was set.

use serde_json::json;
use toml::Value;

use super::layers::{Layers, find, keys};

/// What is shown in place of a secret.
const HIDDEN: &str = "***";
/// Keys whose values are secret.
const SECRET: [&str; 3] = ["store.url", "queue.url", "services.token"];

/// As TOML, with the origin of each value in a comment. Secrets are hidden.
pub fn as_toml(layers: &Layers) -> String {
    let mut text = String::new();
    let mut section = "";
    let all = keys(&layers.values);
    for key in &all {
        let Some((within, name)) = key.split_once('.') else {
            continue;
        };
        if within != section {
            if !section.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("[{within}]\n"));
            section = within;
        }
        let origin = layers.origin(key);
        text.push_str(&format!("{name} = {}  # {origin}\n", shown(layers, key)));
    }
    text
}

/// The same as JSON: `{key: {value, origin}}`.
pub fn as_json(layers: &Layers) -> serde_json::Value {
    let entries = keys(&layers.values).into_iter().map(|key| {
        let value = serde_json::to_value(shown(layers, &key)).unwrap_or_default();
        let origin = layers.origin(&key).to_string();
        (key, json!({"value": value, "origin": origin}))
    });
    serde_json::Value::Object(entries.collect())
}

/// A value, or what stands for a secret.
fn shown(layers: &Layers, key: &str) -> Value {
    let value = find(&layers.values, key).cloned();
    let value = value.unwrap_or_else(|| Value::String(String::new()));
    let is_set = value.as_str().is_some_and(|text| !text.is_empty());
    if SECRET.contains(&key) && is_set {
        return Value::String(HIDDEN.to_owned());
    }
    value
}

/// The JSON Schema of a configuration file: every key may be left out, and has its default there.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(super::raw::RawConfig).to_value();
    schema["$id"] = json!("fapo-server.schema.json");
    schema["title"] = json!("The configuration of a fapo server");
    make_optional(&mut schema);
    let defaults = Layers::defaults();
    for key in keys(&defaults.values) {
        let (Some((section, name)), Some(value)) =
            (key.split_once('.'), find(&defaults.values, &key))
        else {
            continue;
        };
        let Some(kind) = schema["properties"][section]["$ref"].as_str() else {
            continue;
        };
        let kind = kind.trim_start_matches("#/$defs/").to_owned();
        let default = serde_json::to_value(value).unwrap_or_default();
        schema["$defs"][kind]["properties"][name]["default"] = default;
    }
    schema
}

/// Drops what says that keys must be there: the defaults are.
fn make_optional(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(entries) => {
            entries.remove("required");
            entries.values_mut().for_each(make_optional);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(make_optional),
        _ => {}
    }
}
