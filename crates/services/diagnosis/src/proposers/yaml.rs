//! Writes a pipeline as YAML: block style, keys in the order a person would write them, texts quoted only where they
//! must be. Reading the result gives the same pipeline. Comments and layout of an earlier file are not kept here.

use fapo_domain::model::pipeline::PipelineSpec;
use serde_json::{Map, Value};

/// `pipeline.yaml` for a pipeline.
pub fn pipeline_yaml(spec: &PipelineSpec) -> String {
    let value =
        serde_json::to_value(spec).expect("a pipeline has only text keys and finite numbers");
    let mut out = String::new();
    if let Value::Object(map) = &value {
        write_map(map, 0, &mut out);
    }
    out
}

/// Keys that come first in a step, in this order.
const FIRST: [&str; 4] = ["id", "kind", "needs", "when"];

fn ordered(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let is_step = map.contains_key("id") && map.contains_key("kind");
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    if is_step {
        entries.sort_by_key(|(key, _)| {
            FIRST
                .iter()
                .position(|first| first == key)
                .unwrap_or(FIRST.len())
        });
    }
    entries
}

fn write_map(map: &Map<String, Value>, indent: usize, out: &mut String) {
    for (position, (key, value)) in ordered(map).into_iter().enumerate() {
        // the first key of a list item stands on the item's own line
        if position > 0 || !out.ends_with("- ") {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&scalar_text(key));
        out.push(':');
        write_nested(value, indent, out);
    }
}

/// Writes a value after its `key:`.
fn write_nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_map(map, indent + 2, out);
        }
        Value::Array(items) if items.iter().any(is_nested) => {
            out.push('\n');
            for item in items {
                out.push_str(&" ".repeat(indent + 2));
                out.push_str("- ");
                write_item(item, indent + 4, out);
            }
        }
        Value::String(text) if is_block(text) => {
            out.push_str(if text.ends_with('\n') {
                " |\n"
            } else {
                " |-\n"
            });
            for line in text.lines() {
                if !line.is_empty() {
                    out.push_str(&" ".repeat(indent + 2));
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        flat => {
            out.push(' ');
            out.push_str(&flow(flat));
            out.push('\n');
        }
    }
}

fn write_item(item: &Value, indent: usize, out: &mut String) {
    match item {
        Value::Object(map) if !map.is_empty() => write_map(map, indent, out),
        flat => {
            out.push_str(&flow(flat));
            out.push('\n');
        }
    }
}

fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// One-line form.
fn flow(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => scalar_text(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow_item).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(key), flow_item(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// Inside brackets more characters have a meaning, so only words stand plain there.
fn flow_item(value: &Value) -> String {
    match value {
        Value::String(text) if !is_word(text) => quoted(text),
        other => flow(other),
    }
}

fn is_word(text: &str) -> bool {
    is_plain(text)
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.'))
}

fn scalar_text(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Whether a text may stand without quotes and is read back as this very text.
fn is_plain(text: &str) -> bool {
    const WORDS_WITH_A_MEANING: [&str; 14] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity",
        "nil", "none",
    ];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && !text.ends_with(' ')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.' | ' '))
        && !WORDS_WITH_A_MEANING.contains(&text.to_ascii_lowercase().as_str())
}

/// Whether a text is written as a block: several lines, of characters that a block can hold.
fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\t', '\n'])
        && text.lines().all(|line| {
            !line.ends_with([' ', '\t'])
                && !line.starts_with('\t')
                && (line.is_empty() || !line.trim().is_empty())
        })
        && text
            .chars()
            .all(|c| c == '\n' || (is_printable(c) && c != '\t'))
}

/// What YAML allows to stand for itself.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) <= 0xffff => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use fapo_project::{PipelineContext, read_pipeline};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{project, tree};

    #[test]
    fn a_pipeline_is_written_as_a_person_would() {
        let (tree, project) = crate::testing::samples::two_step();
        let context = PipelineContext {
            project: &project,
            input_keys: None,
        };
        let (pipeline, problems) = read_pipeline(&tree, &context);
        let pipeline = pipeline.unwrap_or_else(|| panic!("{problems}"));
        insta::assert_snapshot!(pipeline_yaml(pipeline.spec()), @r#"
        steps:
          - id: hop
            kind: retrieve
            corpus: wiki
            query: "{{ question }}"
            k: 3
          - id: notes
            kind: llm
            prompt: prompts/notes.md
          - id: answer
            kind: llm
            prompt: prompts/answer.md
            temperature: 0.0
        output: answer
        "#);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            texts in prop::collection::vec("(?s)[ -~äß\u{2028}\u{1F600}\n\t\r\u{7}:#'\"-]{1,40}", 1..4),
            key in "[a-zA-Z0-9 :#{}\\-]{1,8}",
            extract in prop::option::of("[a-z:#\\- ]{1,8}"),
            number in prop::num::f64::POSITIVE | prop::num::f64::ZERO,
            words in prop::sample::select(vec!["null", "true", "1", "1e3", "~", "- a", "a: b", "#", "yes", "=", "0x1f", ".5"]),
        ) {
            let mut step = serde_json::json!({
                "id": "a", "kind": "llm", "prompt": "prompts/a.md", "stop": texts,
                "output": "json",
                "schema": {"type": "object", "description": texts[0], "title": words, "examples": [number, words, {key: texts}, [], {}]},
            });
            step["stop"].as_array_mut().unwrap().push(Value::from(words));
            let mut form = serde_json::json!({"id": "b", "kind": "template", "template": format!("{{{{ steps.a.text }}}}{}", texts[0].replace(['{', '}', '%', '#'], ""))});
            if let Some(extract) = extract {
                form["extract"] = Value::from(extract);
            }
            let spec: PipelineSpec = serde_json::from_value(serde_json::json!({"steps": [step, form], "output": "b"})).unwrap();
            let yaml = pipeline_yaml(&spec);
            let tree = tree(&[("pipeline.yaml", &yaml), ("prompts/a.md", "Say {{ question }}\n")]);
            let project = project();
            let context = PipelineContext { project: &project, input_keys: None };
            let (read, problems) = read_pipeline(&tree, &context);
            let read = read.unwrap_or_else(|| panic!("{problems}\n{yaml}"));
            prop_assert_eq!(read.spec(), &spec, "{}", yaml);
        }
    }
}
