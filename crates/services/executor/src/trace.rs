//! What a run notes down while it is under way.
//!
//! A step's record is opened when it starts, as if it had been cut off, and completed when it ends: what was under way
//! when a run ended is in the trace too.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::trace::{StepOutput, StepRecord, StepStatus};
use fapo_domain::ports::models::{Message, ModelRequest};
use fapo_domain::ports::pipelines::StepObserver;
use fapo_domain::{MicroUsd, Spend, StepId};
use serde_json::{Map, Value};

use crate::outcome::Halt;
use crate::run::millis;

/// What a run has used of its caps. A cache hit counts as the call that it stands for, so that a cached run ends as an
/// uncached one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) model_calls: u64,
    pub(crate) tokens: u64,
    pub(crate) cost: MicroUsd,
    pub(crate) documents: u64,
}

/// A run's steps so far, its counters, and whether it is over.
#[derive(Default)]
pub(crate) struct Trace {
    entries: Vec<Entry>,
    pub(crate) used: Used,
    /// Why the run is over before its end.
    pub(crate) halt: Option<Halt>,
    /// Whether a model declined.
    pub(crate) refused: bool,
    /// Whether nothing new may start.
    pub(crate) closing: bool,
    /// Who is told of each step as it ends.
    observer: Option<Arc<dyn StepObserver>>,
}

#[derive(Clone)]
struct Entry {
    record: StepRecord,
    ended: bool,
    /// Shared with the steps that see it; taken over at the end.
    output: Option<Arc<StepOutput>>,
    /// Shared with the call; its messages are taken over at the end.
    request: Option<Arc<ModelRequest>>,
    /// What a call of code took, where that is known.
    took: Option<Duration>,
}

impl Trace {
    /// An empty trace, of whose steps `observer` is told.
    pub(crate) fn new(observer: Option<Arc<dyn StepObserver>>) -> Self {
        Self {
            observer,
            ..Self::default()
        }
    }

    /// Opens a record; returns its position.
    pub(crate) fn open(&mut self, step: StepId, kind: &str, started: Duration) -> usize {
        let position = self.entries.len();
        self.entries.push(Entry {
            record: StepRecord {
                step,
                position: u32::try_from(position).unwrap_or(u32::MAX),
                kind: kind.to_owned(),
                status: StepStatus::Failed,
                key: None,
                cache_hit: false,
                input: None,
                output: None,
                finish: None,
                error_kind: None,
                error: None,
                spend: Spend::default(),
                full_spend: Spend::default(),
                attempts: 0,
                started_ms: millis(started),
                duration_ms: 0,
                full_duration_ms: 0,
            },
            ended: false,
            output: None,
            request: None,
            took: None,
        });
        position
    }

    /// The record at a position, for what is to be noted in it.
    pub(crate) fn record(&mut self, position: usize) -> &mut StepRecord {
        &mut self.entries[position].record
    }

    /// Notes what a model is asked.
    pub(crate) fn ask(&mut self, position: usize, request: Arc<ModelRequest>) {
        self.entries[position].request = Some(request);
    }

    /// Notes what code was given, and what the call took.
    pub(crate) fn called(&mut self, position: usize, inputs: Value, took: Option<Duration>) {
        let entry = &mut self.entries[position];
        entry.record.input = Some(inputs);
        entry.took = took;
    }

    /// Notes a value, whether or not the step ends well.
    pub(crate) fn value(&mut self, position: usize, output: Arc<StepOutput>) {
        self.entries[position].output = Some(output);
    }

    /// Completes a record. `error` is the class and the words.
    pub(crate) fn close(&mut self, position: usize, now: Duration, error: Option<(&str, &str)>) {
        let entry = &mut self.entries[position];
        entry.ended = true;
        let record = &mut entry.record;
        record.duration_ms = millis(now).saturating_sub(record.started_ms);
        // A model call's own time is known with its reply, and that of code; what passed besides was waiting.
        if let Some(took) = entry.took {
            record.full_duration_ms = millis(took);
        } else if entry.request.is_none() {
            record.full_duration_ms = record.duration_ms;
        }
        match error {
            Some((kind, message)) => {
                record.status = StepStatus::Failed;
                record.error_kind = Some(kind.to_owned());
                record.error = Some(message.to_owned());
            }
            None if record.status != StepStatus::Skipped => record.status = StepStatus::Ok,
            None => {}
        }
        if let Some(observer) = &self.observer {
            observer.step_ended(&self.entries[position].clone().into_record());
        }
    }

    /// The records in order of start. Steps still under way get `unfinished` as their class.
    pub(crate) fn finish(
        mut self,
        now: Duration,
        unfinished: &'static str,
    ) -> (Option<Halt>, Vec<StepRecord>) {
        for position in 0..self.entries.len() {
            if !self.entries[position].ended {
                let error = (unfinished, "the run ended while the step was under way");
                self.close(position, now, Some(error));
            }
        }
        let records = self.entries.into_iter().map(Entry::into_record).collect();
        (self.halt, records)
    }
}

impl Entry {
    fn into_record(self) -> StepRecord {
        let mut record = self.record;
        if let Some(request) = self.request {
            let messages = match Arc::try_unwrap(request) {
                Ok(request) => request.messages,
                Err(shared) => shared.messages.clone(),
            };
            record.input = Some(messages.into_iter().map(message_json).collect());
        }
        record.output = self
            .output
            .map(|output| Arc::try_unwrap(output).unwrap_or_else(|shared| (*shared).clone()));
        record
    }
}

fn message_json(message: Message) -> Value {
    let mut map = Map::with_capacity(2);
    map.insert("role".to_owned(), message.role.as_str().into());
    map.insert("content".to_owned(), message.content.into());
    Value::Object(map)
}
