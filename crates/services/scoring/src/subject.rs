//! What is scored: the pipeline's output, or with `from` a part of a step's.

use std::borrow::Cow;

use fapo_domain::model::trace::{RunRecord, StepRecord, StepStatus};
use serde_json::Value;

use crate::metrics::json::{FieldPath, parse};
use crate::metrics::set::{members_of, members_of_json};

/// Where a metric takes what it scores from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The pipeline's output.
    Output,
    /// `<step>` or `<step>.text`.
    Text(String),
    /// `<step>.json` or `<step>.json.<path>`.
    Json(String, Option<FieldPath>),
    /// `<step>.docs.title` or `.doc_id`; `*` stands for all retrieval steps together.
    Docs(String, DocumentKey),
}

/// What names a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentKey {
    Title,
    DocId,
}

impl Source {
    pub(crate) fn parse(from: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`from: {from}` is not understood: write <step>.text, <step>.json.<path>, <step>.docs.title or \
                 <step>.docs.doc_id (with * for all retrieve steps)"
            )
        };
        let (step, rest) = from.split_once('.').unwrap_or((from, "text"));
        if step.is_empty() {
            return Err(form());
        }
        let name = step.to_owned();
        let source = match rest.split_once('.').unwrap_or((rest, "")) {
            ("text", "") => Self::Text(name),
            ("json", "") => Self::Json(name, None),
            ("json", path) => Self::Json(name, Some(FieldPath::parse(path)?)),
            ("docs", "title") => Self::Docs(name, DocumentKey::Title),
            ("docs", "doc_id") => Self::Docs(name, DocumentKey::DocId),
            _ => return Err(form()),
        };
        match &source {
            Self::Text(step) | Self::Json(step, _) if step == "*" => Err(form()),
            _ => Ok(source),
        }
    }

    /// What a run has there; the error says, for feedback, why there is nothing.
    pub(crate) fn find<'r>(&self, run: &'r RunRecord) -> Result<Subject<'r>, String> {
        match self {
            Self::Output => Ok(Subject::Both(
                run.output_text.as_deref().unwrap_or_default(),
                run.output_json.as_ref(),
            )),
            Self::Text(step) => Ok(Subject::Both(&output(run, step)?.1.text, None)),
            Self::Json(step, path) => {
                let (_, output) = output(run, step)?;
                let json = output
                    .json
                    .as_ref()
                    .ok_or_else(|| format!("step `{step}` gave no JSON"))?;
                match path {
                    None => Ok(Subject::Json(json)),
                    Some(path) => path
                        .find(json)
                        .map(Subject::Json)
                        .map_err(|part| format!("the JSON of step `{step}` has no `{part}`")),
                }
            }
            Self::Docs(step, key) if step == "*" => Ok(Subject::Members(
                run.steps
                    .iter()
                    .filter(|record| record.kind == "retrieve")
                    .flat_map(|record| documents(record, *key))
                    .collect(),
            )),
            Self::Docs(step, key) => {
                let (record, output) = output(run, step)?;
                if output.docs.is_none() {
                    return Err(format!("step `{step}` gave no documents"));
                }
                Ok(Subject::Members(documents(record, *key).collect()))
            }
        }
    }
}

fn output<'r>(
    run: &'r RunRecord,
    step: &str,
) -> Result<(&'r StepRecord, &'r fapo_domain::model::trace::StepOutput), String> {
    let record = run
        .step(step)
        .ok_or_else(|| format!("there is no step `{step}` in this run"))?;
    match (&record.output, record.status) {
        (_, StepStatus::Skipped) => Err(format!("step `{step}` was skipped")),
        (Some(output), _) => Ok((record, output)),
        (None, _) => Err(format!("step `{step}` gave nothing")),
    }
}

fn documents(record: &StepRecord, key: DocumentKey) -> impl Iterator<Item = &str> {
    record
        .output
        .iter()
        .flat_map(|output| output.docs.iter().flatten())
        .map(move |found| match key {
            DocumentKey::Title => found.document.title.as_str(),
            DocumentKey::DocId => found.document.doc_id.as_str(),
        })
}

/// What is scored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Subject<'r> {
    /// A text, and the JSON it was read as, where it was.
    Both(&'r str, Option<&'r Value>),
    /// A JSON value.
    Json(&'r Value),
    /// Names of documents.
    Members(Vec<&'r str>),
    /// A part taken out by a pattern.
    Part(String),
}

impl Subject<'_> {
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Both(text, _) => Cow::Borrowed(text),
            Self::Json(Value::String(text)) | Self::Part(text) => Cow::Borrowed(text),
            Self::Json(value) => Cow::Owned(value.to_string()),
            Self::Members(members) => Cow::Owned(members.join("\n")),
        }
    }

    pub(crate) fn json(&self) -> Result<Cow<'_, Value>, String> {
        match self {
            Self::Both(_, Some(value)) => Ok(Cow::Borrowed(value)),
            Self::Both(text, None) => parse(text).map(Cow::Owned),
            Self::Json(value) => Ok(Cow::Borrowed(value)),
            Self::Part(text) => parse(text).map(Cow::Owned),
            Self::Members(members) => Ok(Cow::Owned(Value::from(members.clone()))),
        }
    }

    pub(crate) fn members(&self) -> Vec<Cow<'_, str>> {
        let own = |members: Vec<String>| members.into_iter().map(Cow::Owned).collect();
        match self {
            Self::Members(members) => members.iter().map(|name| Cow::Borrowed(*name)).collect(),
            Self::Json(value) | Self::Both(_, Some(value)) => {
                members_of_json(value).map_or_else(|| own(members_of(&self.text())), own)
            }
            Self::Both(text, None) => own(members_of(text)),
            Self::Part(text) => own(members_of(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_mistakes_are_named() {
        let good = [
            ("answer", Source::Text("answer".into())),
            ("answer.text", Source::Text("answer".into())),
            ("answer.json", Source::Json("answer".into(), None)),
            (
                "answer.json.a.b",
                Source::Json("answer".into(), Some(FieldPath::parse("a.b").unwrap())),
            ),
            (
                "hop2.docs.title",
                Source::Docs("hop2".into(), DocumentKey::Title),
            ),
            (
                "*.docs.doc_id",
                Source::Docs("*".into(), DocumentKey::DocId),
            ),
        ];
        for (from, source) in good {
            assert_eq!(Source::parse(from).unwrap(), source, "{from}");
        }
        for from in [
            "",
            ".text",
            "a.docs",
            "a.docs.score",
            "a.tex",
            "*.text",
            "*.json.x",
            "a.text.b",
            "a.json.b.",
        ] {
            assert!(Source::parse(from).is_err(), "{from}");
        }
    }
}
