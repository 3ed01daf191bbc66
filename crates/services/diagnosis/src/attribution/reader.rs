//! Reads failures that the rules leave unclear: a model names what is missing, and proves it with a quote from the trace.
//!
//! Which failures are read is drawn by the project's seed, so that those read stand for the others. A quote that does not stand
//! in the trace of the step it names, up to white space, makes the reading worthless: it is counted and dropped. A kept one
//! decides the finding's level:
//!
//! | kind | level | confidence |
//! |---|---|---|
//! | reasoning | prompt | 0.7 |
//! | format | prompt | 0.8 |
//! | knowledge | structure | 0.7 |
//! | content | prompt | 0.3 |
//!
//! Readings are a help and no condition: where the budget does not allow one, or the model cannot be reached, attribution
//! goes on without, and says so. A reader that is set up wrong is an error, because somebody wants it and would wait for it.

use std::collections::BTreeMap;

use fapo_domain::ContentHash;
use fapo_domain::error::chain;
use fapo_domain::model::case::Case;
use fapo_domain::model::finding::{FailureKind, Finding, Reading};
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::level::Level;
use fapo_domain::model::project::{ModelSpec, ReaderBackend};
use fapo_domain::model::proposal::Evidence;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::{RunRecord, StepRecord};
use fapo_domain::money::SpendRole;
use fapo_domain::ports::ledger::LedgerError;
use fapo_domain::ports::models::{ChatRole, MeteredError, MeteredModels};
use fapo_domain::ports::work::WorkError;
use fapo_domain::seed::Seed;
use fapo_domain::{JobId, Spend, StepId, VariantId};
use serde_json::{Value, json};

use super::flow::{Flow, base};
use crate::asking::{Asker, message, model_of, objects_with, unfinished};
use crate::enclosure::Enclosure;
use crate::prompts::Prompts;
use crate::proposers::evidence::case::case_block;
use crate::text::one_line;

/// Most bytes of a case and its trace that the reader sees.
const CASE_BYTES: usize = 24_000;
/// A reading is short.
const LEAST_REPLY: u32 = 1024;
/// A shorter quote stands everywhere, and proves nothing, unless it is the whole of what was written.
const LEAST_QUOTE: usize = 4;
/// Longest quote and explanation that are kept, in characters.
const QUOTE_KEPT: usize = 200;
const EXPLANATION_KEPT: usize = 240;
/// The prompts of the reader.
const PROMPTS: [&str; 2] = ["reader_system", "reader_user"];

/// Which unclear findings are read: those with the smallest draws.
#[derive(Debug)]
pub struct Choice {
    most: usize,
    root: u64,
    variant: VariantId,
    kept: BTreeMap<(u64, u64), Finding>,
    /// Unclear findings seen.
    pub seen: u64,
}

impl Choice {
    /// At most so many, for a variant.
    pub const fn new(most: usize, root: u64, variant: VariantId) -> Self {
        Self {
            most,
            root,
            variant,
            kept: BTreeMap::new(),
            seen: 0,
        }
    }

    /// Takes one in, and gives back the one that is not read: itself, or one that was taken in before.
    pub fn offer(&mut self, finding: Finding) -> Option<Finding> {
        self.seen += 1;
        let about = [
            self.variant.0.as_bytes().as_slice(),
            &finding.ordinal.to_le_bytes(),
        ];
        let draw = Seed::derive(self.root, "reader", &about).as_u64();
        self.kept.insert((draw, finding.ordinal), finding);
        if self.kept.len() > self.most {
            return self.kept.pop_last().map(|(_, finding)| finding);
        }
        None
    }

    /// Those to be read, in the split's order.
    pub fn finish(self) -> Vec<Finding> {
        let mut chosen: Vec<Finding> = self.kept.into_values().collect();
        chosen.sort_by_key(|finding| finding.ordinal);
        chosen
    }
}

/// What came of one failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// A reading whose quote is there.
    Kept(Reading),
    /// A reading whose quote is not there.
    Discarded,
    /// No reading.
    Unusable,
}

/// A reader that is set up.
pub struct Reader<'a> {
    models: &'a dyn MeteredModels,
    prompts: Prompts<'a>,
    entry: &'a str,
    model: ModelSpec,
    job: JobId,
    fence: Fence,
    steps: Vec<StepId>,
}

impl<'a> Reader<'a> {
    /// The project's reader; `None` where it has none.
    ///
    /// # Errors
    /// Permanent where its model is not an entry of `models:`.
    pub fn of(
        models: &'a dyn MeteredModels,
        spec: &'a JobSpec,
        flow: &Flow,
        (job, fence): (JobId, Fence),
    ) -> Result<Option<Self>, WorkError> {
        match spec.project.diagnosis.reader.backend {
            ReaderBackend::None => return Ok(None),
            ReaderBackend::Model => {}
        }
        let entry = spec.project.reading_model();
        let model = model_of(&spec.project, entry, "reader")
            .map_err(|message| WorkError::permanent("READER_CONFIG", message))?;
        Ok(Some(Self {
            models,
            prompts: Prompts::of(spec),
            entry,
            model,
            job,
            fence,
            steps: flow
                .steps()
                .iter()
                .map(|step| step.spec.id().clone())
                .collect(),
        }))
    }

    /// The hash over what the reader is told.
    pub fn prompt_hash(&self) -> ContentHash {
        self.prompts.hash(&PROMPTS)
    }

    /// Reads one failure, and says what that cost.
    ///
    /// # Errors
    /// What [`hinders`] sorts: the model's, the budget's, the store's; a prompt of the project's own that cannot be rendered.
    pub async fn read(
        &self,
        finding: &Finding,
        case: Case,
        run: RunRecord,
    ) -> Result<(Read, Spend), ReadError> {
        let evidence = Evidence {
            cluster: Some(format!("{}@{}", finding.rule.name(), finding.step)),
            detail: finding.detail.clone(),
            feedback: String::new(),
            score: 1.0 - finding.lost,
            case,
            run,
        };
        let told = case_block(&evidence, &BTreeMap::new(), CASE_BYTES);
        let enclosure = Enclosure::of(&[&told]);
        let steps: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        let user = self
            .prompts
            .render(
                "reader_user",
                &json!({
                    "evidence": enclosure.around(&told).trim_end(),
                    "mark": enclosure.mark(),
                    "steps": steps.join(", "),
                    "rule": finding.rule.name(),
                    "step": finding.step,
                }),
            )
            .map_err(|error| ReadError::Config(error.to_string()))?;
        let messages = vec![
            message(ChatRole::System, self.prompts.said("reader_system")),
            message(ChatRole::User, user),
        ];
        let asker = Asker {
            purpose: "reader",
            role: SpendRole::Diagnosis,
            job: self.job,
            fence: self.fence,
            about: &[],
            least_reply: LEAST_REPLY,
        };
        let call = asker.call(self.entry, self.model.clone(), messages, self.schema());
        let reply = asker.ask(self.models, &call).await?;
        let reading = match unfinished(&reply, &call) {
            Some(_) => None,
            None => self.parse(&reply.text),
        };
        let read = match reading {
            None => Read::Unusable,
            Some(reading) if stands_in(&reading, &evidence.run) => Read::Kept(reading),
            Some(_) => Read::Discarded,
        };
        Ok((read, reply.spend))
    }

    fn schema(&self) -> Value {
        let kinds: Vec<&str> = FailureKind::ALL.map(FailureKind::as_str).to_vec();
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["kind", "step", "quote", "explanation"],
            "properties": {
                "kind": {"type": "string", "enum": kinds},
                "step": {"type": "string", "enum": self.steps},
                "quote": {"type": "string"},
                "explanation": {"type": "string"}
            }
        })
    }

    fn parse(&self, text: &str) -> Option<Reading> {
        let object = objects_with(text, "kind").into_iter().next()?;
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

/// Why a failure could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The model, the budget or the store.
    #[error("the reader's model could not be called")]
    Metered(#[from] MeteredError),
    /// A prompt that cannot be rendered.
    #[error("{0}")]
    Config(String),
}

/// Sorts an error: what merely hinders reading, in words for people, or what the task fails of.
pub fn hinders(error: ReadError) -> Result<String, WorkError> {
    match error {
        ReadError::Config(message) => Err(WorkError::permanent("READER_CONFIG", message)),
        ReadError::Metered(MeteredError::Budget(error @ LedgerError::Exhausted { .. })) => {
            Ok(error.to_string())
        }
        ReadError::Metered(MeteredError::Model(error)) if !error.is_configuration() => Ok(format!(
            "the reader's model cannot be reached: {}",
            chain(&error)
        )),
        ReadError::Metered(error) => Err(WorkError::from_port(
            "the reader's model could not be called",
            error,
        )),
    }
}

/// Puts a kept reading into its finding: it decides the level.
pub fn apply(finding: &mut Finding, reading: Reading) {
    let (level, confidence) = match reading.kind {
        FailureKind::Reasoning => (Level::Prompt, 0.7),
        FailureKind::Format => (Level::Prompt, 0.8),
        FailureKind::Knowledge => (Level::Structure, 0.7),
        FailureKind::Content => (Level::Prompt, 0.3),
    };
    finding.level = level;
    finding.confidence = confidence;
    finding.reading = Some(Reading {
        quote: one_line(&reading.quote, QUOTE_KEPT),
        ..reading
    });
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

#[cfg(test)]
mod tests;
