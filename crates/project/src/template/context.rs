//! What the names in a template mean (the table is in the head of [`super`]): objects that hand out values as they are asked
//! for, so that what a template does not mention is not copied, however large it is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use fapo_domain::ids::StepId;
use fapo_domain::model::trace::{RetrievedDocument, StepOutput};
use minijinja::Error;
use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use serde_json::Map;

use super::engine::{to_value, wrong_kind};

/// A case's input, made ready for templates: make it once for a case, and give it to each of its contexts. Cloning shares
/// it.
#[derive(Debug, Clone)]
pub struct CaseInput(Arc<Input>);

/// A key's JSON, and its value once a template has asked for it.
type Entry = (serde_json::Value, OnceLock<Value>);

#[derive(Debug)]
struct Input {
    case_id: Value,
    entries: BTreeMap<String, Entry>,
}

impl CaseInput {
    /// Takes a case's name and input.
    pub fn new(case_id: &str, input: Map<String, serde_json::Value>) -> Self {
        Self(Arc::new(Input {
            case_id: Value::from(case_id),
            entries: input
                .into_iter()
                .map(|(key, value)| (key, (value, OnceLock::new())))
                .collect(),
        }))
    }

    /// The case's name.
    pub fn case_id(&self) -> &str {
        self.0.case_id.as_str().unwrap_or_default()
    }

    /// The input as it was given.
    pub fn values(&self) -> BTreeMap<&str, &serde_json::Value> {
        self.0
            .entries
            .iter()
            .map(|(key, (value, _))| (key.as_str(), value))
            .collect()
    }

    /// The context of one rendering; see [`super`] for the names. `steps` are those that can be seen, `None`
    /// where one was skipped; `extra` names hide all others.
    pub fn context(
        &self,
        steps: &[(StepId, Option<Arc<StepOutput>>)],
        extra: &[(&str, serde_json::Value)],
    ) -> Value {
        Value::from_object(Context {
            input: self.0.clone(),
            steps: Arc::new(Steps(steps.to_vec())),
            extra: extra
                .iter()
                .map(|(name, value)| ((*name).to_owned(), to_value(value)))
                .collect(),
        })
    }
}

impl Object for Input {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let (json, ready) = self.entries.get(key)?;
        Some(ready.get_or_init(|| to_value(json)).clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(
            self.entries
                .keys()
                .map(|key| Value::from(key.as_str()))
                .collect(),
        )
    }
}

/// The context of a rendering, for callers that render a case once. See [`CaseInput`], which shares the input.
pub fn render_context(
    case_id: &str,
    input: &Map<String, serde_json::Value>,
    steps: &[(StepId, Option<Arc<StepOutput>>)],
    extra: &[(&str, serde_json::Value)],
) -> Value {
    CaseInput::new(case_id, input.clone()).context(steps, extra)
}

#[derive(Debug)]
struct Context {
    input: Arc<Input>,
    steps: Arc<Steps>,
    extra: Vec<(String, Value)>,
}

impl Object for Context {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if let Some((_, value)) = self.extra.iter().find(|(name, _)| name == key) {
            return Some(value.clone());
        }
        match key {
            "steps" => Some(Value::from_dyn_object(self.steps.clone())),
            "input" => Some(Value::from_dyn_object(self.input.clone())),
            "case_id" => Some(self.input.case_id.clone()),
            _ => self.input.get_value_by_str(key),
        }
    }
}

#[derive(Debug)]
struct Steps(Vec<(StepId, Option<Arc<StepOutput>>)>);

impl Object for Steps {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let (_, output) = self.0.iter().find(|(id, _)| id.as_str() == key)?;
        Some(match output {
            Some(output) => Value::from_object(Step(output.clone())),
            None => Value::from_object(Skipped),
        })
    }
}

#[derive(Debug)]
struct Step(Arc<StepOutput>);

impl Object for Step {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "text" => Some(Value::from(self.0.text.as_str())),
            "json" => Some(
                self.0
                    .json
                    .as_ref()
                    .map_or_else(|| Value::from(()), to_value),
            ),
            "docs" => Some(Value::from_object(Documents(self.0.clone()))),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["text", "json", "docs"])
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

#[derive(Debug)]
struct Documents(Arc<StepOutput>);

impl Documents {
    fn all(&self) -> &[RetrievedDocument] {
        self.0.docs.as_deref().unwrap_or_default()
    }
}

impl Object for Documents {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let position = key.as_usize()?;
        (position < self.all().len()).then(|| {
            Value::from_object(DocumentAt {
                step: self.0.clone(),
                position,
            })
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.all().len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        for (position, found) in self.all().iter().enumerate() {
            write_passage(
                &mut out,
                position,
                &found.document.title,
                &found.document.text,
                None,
            );
        }
        f.write_str(&out)
    }
}

#[derive(Debug)]
struct DocumentAt {
    step: Arc<StepOutput>,
    position: usize,
}

impl DocumentAt {
    fn found(&self) -> Option<&RetrievedDocument> {
        self.step.docs.as_ref()?.get(self.position)
    }
}

impl Object for DocumentAt {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let found = self.found()?;
        match key {
            "doc_id" => Some(Value::from(found.document.doc_id.as_str())),
            "title" => Some(Value::from(found.document.title.as_str())),
            "text" => Some(Value::from(found.document.text.as_str())),
            "score" => Some(Value::from(found.score)),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["doc_id", "title", "text", "score"])
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(found) = self.found() else {
            return Ok(());
        };
        f.write_str(&found.document.text)
    }
}

/// A step whose `when` was false.
#[derive(Debug)]
struct Skipped;

impl Object for Skipped {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "text" => Some(Value::from(())),
            "json" => Some(Value::from_object(Nothing)),
            "docs" => Some(Value::from(Vec::<Value>::new())),
            _ => None,
        }
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// The JSON of a skipped step: false, empty, and the same at every depth.
#[derive(Debug)]
struct Nothing;

impl Object for Nothing {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from_dyn_object(self.clone()))
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Whether a value stands for what a skipped step would have given.
pub(super) fn is_nothing(value: &Value) -> bool {
    value.as_object().is_some_and(|object| {
        object.downcast_ref::<Nothing>().is_some() || object.downcast_ref::<Skipped>().is_some()
    })
}

/// Whether a value has a text of its own, other than its JSON.
pub(super) fn prints_itself(value: &Value) -> bool {
    value.as_object().is_some_and(|object| {
        object.downcast_ref::<Step>().is_some()
            || object.downcast_ref::<Documents>().is_some()
            || object.downcast_ref::<DocumentAt>().is_some()
    }) || is_nothing(value)
}

/// Writes documents as a numbered list; the first `limit`, each text cut to `max_chars` characters.
pub(super) fn write_passages(
    documents: &Value,
    limit: Option<usize>,
    max_chars: Option<usize>,
) -> Result<String, Error> {
    let mut out = String::new();
    let limit = limit.unwrap_or(usize::MAX);
    if let Some(Documents(step)) = documents.downcast_object_ref::<Documents>() {
        let all = step.docs.as_deref().unwrap_or_default();
        for (position, found) in all.iter().take(limit).enumerate() {
            let document = &found.document;
            write_passage(
                &mut out,
                position,
                &document.title,
                &document.text,
                max_chars,
            );
        }
        return Ok(out);
    }
    let items = documents
        .try_iter()
        .map_err(|_| wrong_kind("`passages` takes a list of documents, such as `steps.x.docs`"))?;
    for (position, document) in items.take(limit).enumerate() {
        let (title, text) = match document.as_str() {
            Some(text) => (String::new(), text.to_owned()),
            None => (field(&document, "title")?, field(&document, "text")?),
        };
        write_passage(&mut out, position, &title, &text, max_chars);
    }
    Ok(out)
}

fn field(document: &Value, name: &str) -> Result<String, Error> {
    let value = document.get_attr(name)?;
    if value.is_undefined() || value.is_none() {
        return Ok(String::new());
    }
    Ok(value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned))
}

fn write_passage(
    out: &mut String,
    position: usize,
    title: &str,
    text: &str,
    max_chars: Option<usize>,
) {
    use fmt::Write;
    if position > 0 {
        out.push_str("\n\n");
    }
    // writing to a String cannot fail
    let _ = write!(out, "[{}]", position + 1);
    if !title.is_empty() {
        out.push(' ');
        out.push_str(title);
    }
    out.push('\n');
    let end = max_chars
        .and_then(|max| text.char_indices().nth(max))
        .map_or(text.len(), |(end, _)| end);
    out.push_str(&text[..end]);
    if end < text.len() {
        out.push('…');
    }
}
