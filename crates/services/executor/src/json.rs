//! Reads JSON out of what a model wrote, and holds it against a schema.

use jsonschema::Validator;
use serde_json::Value;

use crate::outcome::{Fault, cut};

/// Reads a reply as JSON: as it is, or the first fenced block in it. Prose around bare JSON is not passed over: a reply
/// that only looks like an answer is a fault of the prompt, and is to be seen as one.
pub(crate) fn read_json(text: &str) -> Result<Value, Fault> {
    let text = text.trim().trim_start_matches('\u{feff}');
    let error = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if let Some(inner) = fenced(text)
        && let Ok(value) = serde_json::from_str(inner)
    {
        return Ok(value);
    }
    let message = if text.is_empty() {
        "the reply is empty where JSON was expected".to_owned()
    } else {
        format!("the reply is not JSON: {error}")
    };
    Err(Fault::new("invalid_json", message))
}

/// The inside of the first block between lines of three back ticks; without a closing line, up to the end.
fn fenced(text: &str) -> Option<&str> {
    let start = text.find("```")?;
    let rest = &text[start + 3..];
    let word = rest.len()
        - rest
            .trim_start_matches(|c: char| c.is_ascii_alphanumeric())
            .len();
    let inner = &rest[word..];
    let end = inner.find("```").unwrap_or(inner.len());
    Some(inner[..end].trim())
}

/// Holds `value` against a schema.
pub(crate) fn check_schema(validator: &Validator, value: &Value) -> Result<(), Fault> {
    let mut errors = validator.iter_errors(value);
    let Some(first) = errors.next() else {
        return Ok(());
    };
    let place = first.instance_path().to_string();
    let place = if place.is_empty() {
        "/".to_owned()
    } else {
        place
    };
    let message = cut(&format!("at `{place}`: {first}"));
    Err(Fault::new("schema_mismatch", message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fences_and_space_are_taken_off() {
        for text in [
            "{\"a\": 1}",
            "\u{feff} {\"a\": 1}\n",
            "```json\n{\"a\": 1}\n```",
            "Here it is:\n```\n{\"a\": 1}\n```\nDone.",
            "```JSON {\"a\": 1}",
        ] {
            assert_eq!(read_json(text).unwrap(), json!({"a": 1}), "{text}");
        }
        assert_eq!(read_json("\"é\"").unwrap(), json!("é"));
    }

    #[test]
    fn what_is_no_json_is_told() {
        for text in [
            "",
            "The answer is {\"a\": 1}",
            "{\"a\": 1",
            "```json\n{\"a\"\n```",
        ] {
            assert_eq!(read_json(text).unwrap_err().kind, "invalid_json", "{text}");
        }
    }

    #[test]
    fn a_schema_mismatch_names_the_place() {
        let schema =
            json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(check_schema(&validator, &json!({"n": 3})).is_ok());
        let fault = check_schema(&validator, &json!({"n": "x"})).unwrap_err();
        assert_eq!(fault.kind, "schema_mismatch");
        assert!(fault.message.contains("/n"), "{}", fault.message);
        assert!(check_schema(&validator, &json!({})).is_err());
    }
}
