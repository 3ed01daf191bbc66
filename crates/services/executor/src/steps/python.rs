//! `python` steps: what the code is given, and what is made of its answer.

use std::sync::Arc;

use fapo_domain::model::case::Document;
use fapo_domain::model::trace::{RetrievedDocument, StepOutput};
use fapo_domain::ports::code::CodeError;
use serde_json::{Map, Value, json};

use super::retrieve::passages;
use crate::outcome::{Fault, StepError, cut, from_code};
use crate::plan::Python;
use crate::run::{Place, Run, Visible};

/// A call of code about to be made.
pub(crate) struct CodeWork<'r> {
    python: &'r Python,
    pub(crate) position: usize,
    inputs: Value,
}

impl<'r> CodeWork<'r> {
    pub(crate) const fn new(python: &'r Python, position: usize, inputs: Value) -> Self {
        Self {
            python,
            position,
            inputs,
        }
    }
}

impl Run<'_> {
    /// What the code is given: the case's input, the steps it says it needs, and what its place in a sample shows it.
    pub(super) fn inputs(&self, python: &Python, place: &Place, visible: &[Visible]) -> Value {
        let steps: Map<String, Value> = python
            .needs
            .iter()
            .filter_map(|id| {
                let (_, output) = visible.iter().find(|(seen, _)| seen == id)?;
                Some((id.as_str().to_owned(), seen_by_code(output.as_deref())))
            })
            .collect();
        let mut inputs = json!({
            "input": self.input.values(),
            "case_id": self.input.case_id(),
            "steps": steps,
        });
        if let Some((name, value)) = &place.extra {
            inputs[*name] = value.clone();
        }
        inputs
    }

    /// Calls the code. What passes before a worker is free says nothing about the pipeline, so of the case's time only what
    /// the code itself took is used up.
    pub(super) async fn code(&self, work: CodeWork<'_>) -> Result<Arc<StepOutput>, StepError> {
        let CodeWork {
            python,
            position,
            inputs,
        } = work;
        let call = self.session.code.call(&python.unit, &inputs, python.time);
        let answered = self.waits.during(call).await;
        let took = match &answered {
            Ok(reply) => Some(reply.took),
            Err(CodeError::TimedOut { .. }) => Some(python.time),
            Err(
                CodeError::Failed { .. } | CodeError::Died { .. } | CodeError::Unavailable { .. },
            ) => None,
        };
        self.trace().called(position, inputs, took);
        if let Some(took) = took {
            self.waits.charge(took);
        }
        let reply = answered.map_err(from_code)?;
        let output = read(reply.output).map_err(|problem| {
            let unit = &python.unit;
            let message = format!("{}: `{}` {problem}", unit.file, unit.function);
            Fault::new("code_output", cut(&message))
        })?;
        Ok(Arc::new(output))
    }
}

/// A step's value as code sees it; `null` where the step was skipped.
fn seen_by_code(output: Option<&StepOutput>) -> Value {
    output.map_or(
        Value::Null,
        |output| json!({ "text": output.text, "json": output.json, "docs": output.docs }),
    )
}

/// A step's value of what a function returned; the error says what it must return.
fn read(returned: Value) -> Result<StepOutput, String> {
    let mut fields = match returned {
        Value::String(text) => {
            return Ok(StepOutput {
                text,
                ..StepOutput::default()
            });
        }
        Value::Object(fields) => fields,
        Value::Null => return Err("returned nothing: return a text or a dict".to_owned()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            return Err(format!(
                "returned {}, and must return a text or a dict",
                kind(&returned)
            ));
        }
    };
    let docs = match fields.shift_remove("docs") {
        None | Some(Value::Null) => None,
        Some(Value::Array(items)) => {
            let read: Result<Vec<RetrievedDocument>, String> =
                items.into_iter().enumerate().map(document).collect();
            Some(read?)
        }
        Some(other) => {
            return Err(format!(
                "returned {} as `docs`, which must be a list of documents",
                kind(&other)
            ));
        }
    };
    let text = fields.get("text").and_then(Value::as_str);
    let (text, json) = match (text, &docs) {
        (None, Some(docs)) if fields.is_empty() => (passages(docs), None),
        (Some(text), _) => (text.to_owned(), Some(Value::Object(fields))),
        (None, _) => {
            let json = Value::Object(fields);
            (json.to_string(), Some(json))
        }
    };
    Ok(StepOutput {
        text,
        json,
        docs,
        beyond: Vec::new(),
    })
}

fn document((position, value): (usize, Value)) -> Result<RetrievedDocument, String> {
    let score = value.get("score").and_then(Value::as_f64).unwrap_or(0.0);
    let document: Document = serde_json::from_value(value).map_err(|error| {
        format!(
            "returned `docs[{position}]` that is no document (`doc_id`, `title`, `text`): {error}"
        )
    })?;
    Ok(RetrievedDocument {
        document,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a score only orders documents"
        )]
        score: score as f32,
    })
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "None",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a dict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_text_and_a_dict_the_json() {
        let output = read(json!("hi")).unwrap();
        assert_eq!(
            (&*output.text, &output.json, &output.docs),
            ("hi", &None, &None)
        );
        let output = read(json!({"text": "hi", "n": 1})).unwrap();
        assert_eq!(
            (&*output.text, output.json),
            ("hi", Some(json!({"text": "hi", "n": 1})))
        );
        let output = read(json!({"n": 1, "text": 2})).unwrap();
        assert_eq!(
            (&*output.text, output.json),
            (r#"{"n":1,"text":2}"#, Some(json!({"n": 1, "text": 2})))
        );
        assert_eq!(read(json!({})).unwrap().text, "{}");
    }

    #[test]
    fn documents_are_read_and_taken_for_the_text_where_there_is_nothing_else() {
        let docs = json!([{"doc_id": "a", "title": "A", "text": "x", "score": 1.5}, {"doc_id": "b", "text": "y"}]);
        let output = read(json!({"docs": docs})).unwrap();
        assert_eq!((&*output.text, output.json), ("[1] A\nx\n\n[2]\ny", None));
        let found = output.docs.unwrap();
        assert_eq!((found[0].score, &*found[1].document.doc_id), (1.5, "b"));
        let output = read(json!({"docs": docs, "n": 1})).unwrap();
        assert_eq!(
            (&*output.text, output.docs.unwrap().len()),
            (r#"{"n":1}"#, 2)
        );
        assert_eq!(read(json!({"docs": []})).unwrap().docs, Some(Vec::new()));
    }

    #[test]
    fn anything_else_is_refused_with_what_it_was() {
        for (returned, said) in [
            (json!(null), "returned nothing"),
            (json!(1), "a number"),
            (json!(true), "a truth value"),
            (json!(["x"]), "a list"),
            (json!({"docs": "x"}), "a text as `docs`"),
            (
                json!({"docs": [{"doc_id": "a", "text": "x"}, {"title": "A"}]}),
                "`docs[1]`",
            ),
        ] {
            let problem = read(returned).unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
    }
}
