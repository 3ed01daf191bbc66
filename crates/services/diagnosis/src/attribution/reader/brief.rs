//! What a reader is told of a failure, and which of its readings count: the same whoever is asked.
//!
//! A quote that does not stand in the trace of the step it names, up to white space, makes the reading worthless. So does a step
//! that the pipeline does not have, or a kind that there is none of.

use std::collections::BTreeMap;

use fapo_domain::model::finding::{FailureKind, Reading};
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::proposal::Evidence;
use fapo_domain::model::trace::{RunRecord, StepRecord};
use fapo_domain::ports::work::WorkError;
use fapo_domain::{ContentHash, StepId};
use serde_json::{Map, Value, json};

use super::{Read, Unread};
use crate::attribution::flow::{Flow, base};
use crate::enclosure::Enclosure;
use crate::prompts::{PromptError, Prompts};
use crate::proposers::evidence::case::case_block;
use crate::text::one_line;

/// A shorter quote stands everywhere, and proves nothing, unless it is the whole of what was written.
const LEAST_QUOTE: usize = 4;
/// Longest explanation that is kept, in characters.
const EXPLANATION_KEPT: usize = 240;

/// The briefs of one attribution.
#[derive(Debug)]
pub struct Briefs<'a> {
    prompts: Prompts<'a>,
    steps: Vec<StepId>,
}

/// A prompt of the project's own that cannot be filled in.
pub fn unfit(error: &PromptError) -> WorkError {
    WorkError::permanent("READER_CONFIG", error.to_string())
}

impl<'a> Briefs<'a> {
    /// Those over a pipeline.
    pub fn of(spec: &'a JobSpec, flow: &Flow) -> Self {
        let steps = flow.steps().iter();
        Self {
            prompts: Prompts::of(spec),
            steps: steps.map(|step| step.spec.id().clone()).collect(),
        }
    }

    /// What holds for every failure.
    pub fn system(&self) -> String {
        self.prompts.said("reader_system")
    }

    /// The hash over these prompts.
    pub fn hash(&self, names: &[&str]) -> ContentHash {
        self.prompts.hash(names)
    }

    /// The task of one failure, its case and trace in at most `bytes`, between lines with a mark of their own. The mark stands
    /// nowhere in it, nor in what is told `beside` it.
    ///
    /// # Errors
    /// A prompt of the project's own that cannot be rendered.
    pub fn task(&self, failure: &Unread, told: &str, beside: &[&str]) -> Result<String, WorkError> {
        let mut texts = vec![told];
        texts.extend(beside);
        let enclosure = Enclosure::of(&texts);
        let steps: Vec<&str> = self.steps.iter().map(StepId::as_str).collect();
        let context = json!({
            "evidence": enclosure.around(told).trim_end(),
            "mark": enclosure.mark(),
            "steps": steps.join(", "),
            "rule": failure.finding.rule.name(),
            "step": failure.finding.step,
        });
        self.prompts
            .render("reader_user", &context)
            .map_err(|error| unfit(&error))
    }

    /// Several tasks in one prompt, each with its number.
    ///
    /// # Errors
    /// A prompt of the project's own that cannot be rendered.
    pub fn batch(&self, tasks: &[(u64, String)]) -> Result<String, WorkError> {
        let failures: Vec<Value> = tasks
            .iter()
            .map(|(number, task)| json!({ "number": number, "task": task.trim_end() }))
            .collect();
        self.prompts
            .render("reader_batch", &json!({ "failures": failures }))
            .map_err(|error| unfit(&error))
    }

    /// The fields of a reading: their JSON Schemas.
    pub fn fields(&self) -> Map<String, Value> {
        let kinds: Vec<&str> = FailureKind::ALL.map(FailureKind::as_str).to_vec();
        let text = || json!({ "type": "string" });
        Map::from_iter([
            ("kind".to_owned(), json!({"type": "string", "enum": kinds})),
            (
                "step".to_owned(),
                json!({"type": "string", "enum": self.steps}),
            ),
            ("quote".to_owned(), text()),
            ("explanation".to_owned(), text()),
        ])
    }

    /// What an answer's object comes to for the run that it is about.
    pub fn judge(&self, answer: Option<&Map<String, Value>>, run: &RunRecord) -> Read {
        match answer.and_then(|object| self.parse(object)) {
            None => Read::Unusable,
            Some(reading) if stands_in(&reading, run) => Read::Kept(reading),
            Some(_) => Read::Discarded,
        }
    }

    fn parse(&self, object: &Map<String, Value>) -> Option<Reading> {
        let part = |key: &str| object.get(key).and_then(Value::as_str).map(str::trim);
        let kind = part("kind")?.to_lowercase();
        let step = part("step")?;
        Some(Reading {
            kind: FailureKind::ALL
                .into_iter()
                .find(|known| known.as_str() == kind)?,
            step: self
                .steps
                .iter()
                .find(|known| known.as_str() == step)?
                .clone(),
            quote: part("quote")?.to_owned(),
            explanation: one_line(part("explanation").unwrap_or_default(), EXPLANATION_KEPT),
        })
    }
}

/// An object of these fields, all of them required.
pub fn closed(fields: Map<String, Value>) -> Value {
    let names: Vec<&String> = fields.keys().collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": names,
        "properties": fields,
    })
}

/// A failure's case and trace, in at most `bytes`.
pub fn told(failure: &Unread, bytes: usize) -> String {
    let finding = &failure.finding;
    let evidence = Evidence {
        cluster: Some(format!("{}@{}", finding.rule.name(), finding.step)),
        detail: finding.detail.clone(),
        feedback: String::new(),
        score: 1.0 - finding.lost,
        case: failure.case.clone(),
        run: failure.run.clone(),
    };
    case_block(&evidence, &BTreeMap::new(), bytes)
}

/// Whether a reading's quote stands in what its step was given or wrote, up to white space.
fn stands_in(reading: &Reading, run: &RunRecord) -> bool {
    let quote = squeezed(&reading.quote);
    if quote.is_empty() {
        return false;
    }
    run.steps
        .iter()
        .filter(|record| record.step == reading.step || base(&record.step) == reading.step.as_str())
        .flat_map(texts_of)
        .map(|text| squeezed(&text))
        .any(|text| {
            text == quote || (quote.chars().count() >= LEAST_QUOTE && text.contains(&quote))
        })
}

/// Every text of a step's trace: what went in, what came out, and what was found.
fn texts_of(record: &StepRecord) -> Vec<String> {
    let mut texts = Vec::new();
    leaves(record.input.as_ref(), &mut texts);
    if let Some(output) = &record.output {
        texts.push(output.text.clone());
        leaves(output.json.as_ref(), &mut texts);
        for found in output.docs.iter().flatten() {
            texts.push(format!("{}: {}", found.document.title, found.document.text));
        }
    }
    texts.extend(record.error.clone());
    texts
}

fn leaves(value: Option<&Value>, texts: &mut Vec<String>) {
    match value {
        None | Some(Value::Null | Value::Bool(_)) => {}
        Some(Value::Number(number)) => texts.push(number.to_string()),
        Some(Value::String(text)) => texts.push(text.clone()),
        Some(Value::Array(items)) => items.iter().for_each(|item| leaves(Some(item), texts)),
        Some(Value::Object(map)) => map.values().for_each(|item| leaves(Some(item), texts)),
    }
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
