//! Runs and their steps.

use fapo_domain::model::case::Document;
use fapo_domain::model::trace::{
    FinishReason, RetrievedDocument, RunRecord, StepOutput, StepRecord,
};
use fapo_domain::{CaseId, StepId, StepKey};
use fapo_proto::common::v1 as pb;

use super::{Enumerated, evaluation_id, maybe_one_of, maybe_wire, one_of, spend, wire_spend};
use crate::read::{self, Read};

pub(crate) fn wire_run(run: RunRecord) -> pb::Run {
    pb::Run {
        evaluation_id: run.evaluation.to_string(),
        ordinal: run.ordinal,
        case_id: run.case_id.to_string(),
        status: run.status.wire(),
        reason: run.reason,
        output_text: run.output_text,
        output_json: run.output_json.as_ref().map(read::wire_json),
        spend: Some(wire_spend(run.spend)),
        full_spend: Some(wire_spend(run.full_spend)),
        started_at: read::wire_timestamp(run.started_at),
        duration: read::wire_millis(run.duration_ms),
        full_duration: read::wire_millis(run.full_duration_ms),
        steps: run.steps.into_iter().map(wire_step).collect(),
    }
}

pub(crate) fn run(message: pb::Run) -> Read<RunRecord> {
    Ok(RunRecord {
        evaluation: evaluation_id(&message.evaluation_id, "evaluation_id")?,
        ordinal: message.ordinal,
        case_id: CaseId::new(read::named(message.case_id, "case_id")?),
        status: one_of(message.status, "status")?,
        reason: message.reason,
        output_text: message.output_text,
        output_json: read::maybe_json(message.output_json.as_deref(), "output_json")?,
        spend: spend(message.spend, "spend")?,
        full_spend: spend(message.full_spend, "full_spend")?,
        started_at: read::timestamp(message.started_at, "started_at")?,
        duration_ms: read::millis(message.duration, "duration")?,
        full_duration_ms: read::millis(message.full_duration, "full_duration")?,
        steps: read::each(message.steps, "steps", step)?,
    })
}

pub(crate) fn wire_step(step: StepRecord) -> pb::Step {
    pb::Step {
        step_id: step.step.to_string(),
        position: step.position,
        kind: step.kind,
        status: step.status.wire(),
        cache_key: step.key.map(|key| key.to_string()),
        cache_hit: step.cache_hit,
        input_json: step.input.as_ref().map(read::wire_json),
        output: step.output.map(wire_output),
        finish_reason: maybe_wire::<FinishReason>(step.finish),
        error_kind: step.error_kind,
        error: step.error,
        spend: Some(wire_spend(step.spend)),
        full_spend: Some(wire_spend(step.full_spend)),
        attempts: step.attempts,
        started_after: read::wire_millis(step.started_ms),
        duration: read::wire_millis(step.duration_ms),
        full_duration: read::wire_millis(step.full_duration_ms),
    }
}

pub(crate) fn step(message: pb::Step) -> Read<StepRecord> {
    let key = read::maybe_hash(message.cache_key.as_deref(), "cache_key")?;
    Ok(StepRecord {
        step: StepId::new(read::named(message.step_id, "step_id")?),
        position: message.position,
        kind: message.kind,
        status: one_of(message.status, "status")?,
        key: key.map(StepKey),
        cache_hit: message.cache_hit,
        input: read::maybe_json(message.input_json.as_deref(), "input_json")?,
        output: read::maybe(message.output, "output", output)?,
        finish: maybe_one_of(message.finish_reason, "finish_reason")?,
        error_kind: message.error_kind,
        error: message.error,
        spend: spend(message.spend, "spend")?,
        full_spend: spend(message.full_spend, "full_spend")?,
        attempts: message.attempts,
        started_ms: read::millis(message.started_after, "started_after")?,
        duration_ms: read::millis(message.duration, "duration")?,
        full_duration_ms: read::millis(message.full_duration, "full_duration")?,
    })
}

fn wire_output(output: StepOutput) -> pb::StepOutput {
    pb::StepOutput {
        text: output.text,
        json: output.json.as_ref().map(read::wire_json),
        docs: output.docs.map(|documents| pb::RetrievedDocuments {
            documents: documents.into_iter().map(wire_document).collect(),
        }),
        beyond: output
            .beyond
            .into_iter()
            .map(|(doc_id, title)| pb::DocumentBeyond { doc_id, title })
            .collect(),
    }
}

fn output(message: pb::StepOutput) -> Read<StepOutput> {
    Ok(StepOutput {
        text: message.text,
        json: read::maybe_json(message.json.as_deref(), "json")?,
        docs: message
            .docs
            .map(|documents| documents.documents.into_iter().map(document).collect()),
        beyond: message
            .beyond
            .into_iter()
            .map(|beyond| (beyond.doc_id, beyond.title))
            .collect(),
    })
}

fn wire_document(document: RetrievedDocument) -> pb::RetrievedDocument {
    pb::RetrievedDocument {
        doc_id: document.document.doc_id,
        title: document.document.title,
        text: document.document.text,
        score: document.score,
    }
}

fn document(message: pb::RetrievedDocument) -> RetrievedDocument {
    RetrievedDocument {
        document: Document {
            doc_id: message.doc_id,
            title: message.title,
            text: message.text,
        },
        score: message.score,
    }
}
