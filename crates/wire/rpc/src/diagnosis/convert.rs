//! Attributions, findings, sessions.

use std::time::Duration;

use fapo_domain::model::finding::{
    Attribution, CaseReading, Cluster, Finding, Points, ReaderSummary, Reading,
};
use fapo_domain::model::session::{SessionEnd, SessionId, SessionRecord};
use fapo_domain::ports::sandbox::Confinement;
use fapo_domain::{CaseId, StepId, TaskId};
use fapo_proto::diagnosis::v1 as pb;

use crate::common::{Enumerated, evaluation_id, one_of, spelled, spend, unspelled, wire_spend};
use crate::read::{self, Invalid, Read};

const fn wire_points(points: Points) -> pb::Points {
    pb::Points {
        estimate: points.estimate,
        low: points.low,
        high: points.high,
    }
}

fn points(message: Option<pb::Points>) -> Points {
    let message = message.unwrap_or_default();
    Points {
        estimate: message.estimate,
        low: message.low,
        high: message.high,
    }
}

fn wire_reading(reading: Reading) -> pb::Reading {
    pb::Reading {
        kind: spelled(&reading.kind),
        step_id: reading.step.to_string(),
        quote: reading.quote,
        explanation: reading.explanation,
    }
}

fn reading(message: pb::Reading) -> Read<Reading> {
    Ok(Reading {
        kind: unspelled(&message.kind, "kind")?,
        step: StepId::new(message.step_id),
        quote: message.quote,
        explanation: message.explanation,
    })
}

pub(super) fn wire_cluster(cluster: Cluster) -> pb::Cluster {
    pb::Cluster {
        cluster_id: cluster.id,
        label: cluster.label,
        step_id: cluster.step.to_string(),
        rule: spelled(&cluster.rule),
        level: cluster.level.wire(),
        count: cluster.count,
        case_ids: cluster.cases.iter().map(CaseId::to_string).collect(),
        confidence: cluster.confidence,
        recoverable: Some(wire_points(cluster.recoverable)),
        direction: cluster.direction,
        readings: cluster
            .readings
            .into_iter()
            .map(|reading| pb::CaseReading {
                case_id: reading.case.to_string(),
                reading: Some(wire_reading(reading.reading)),
            })
            .collect(),
    }
}

pub(super) fn cluster(message: pb::Cluster) -> Read<Cluster> {
    Ok(Cluster {
        id: message.cluster_id,
        label: message.label,
        step: StepId::new(message.step_id),
        rule: unspelled(&message.rule, "rule")?,
        level: one_of(message.level, "level")?,
        count: message.count,
        cases: message.case_ids.iter().map(CaseId::new).collect(),
        confidence: message.confidence,
        recoverable: points(message.recoverable),
        direction: message.direction,
        readings: read::each(message.readings, "readings", |entry| {
            Ok(CaseReading {
                case: CaseId::new(entry.case_id),
                reading: read::inner(entry.reading, "reading", reading)?,
            })
        })?,
    })
}

fn wire_reader(reader: ReaderSummary) -> pb::ReaderSummary {
    pb::ReaderSummary {
        unclear: reader.unclear,
        asked: reader.asked,
        kept: reader.kept,
        discarded: reader.discarded,
        unusable: reader.unusable,
        note: reader.note,
        prompt_hash: reader.prompt_hash.map(|hash| hash.to_string()),
        spend: Some(wire_spend(reader.spend)),
        session_id: reader.session.map(|id| id.to_string()),
    }
}

fn reader(message: pb::ReaderSummary) -> Read<ReaderSummary> {
    Ok(ReaderSummary {
        unclear: message.unclear,
        asked: message.asked,
        kept: message.kept,
        discarded: message.discarded,
        unusable: message.unusable,
        note: message.note,
        prompt_hash: read::maybe_hash(message.prompt_hash.as_deref(), "prompt_hash")?,
        spend: spend(message.spend, "spend")?,
        session: read::maybe_hash(message.session_id.as_deref(), "session_id")?.map(SessionId),
    })
}

pub(super) fn wire_attribution(attribution: Attribution) -> pb::Attribution {
    pb::Attribution {
        cases: attribution.cases,
        failures: attribution.failures,
        missing: attribution.missing,
        mean: attribution.mean,
        clusters: attribution.clusters.into_iter().map(wire_cluster).collect(),
        ceilings: attribution
            .ceilings
            .into_iter()
            .map(|(level, points)| pb::LevelPoints {
                level: level.wire(),
                points: Some(wire_points(points)),
            })
            .collect(),
        reader: attribution.reader.map(wire_reader),
    }
}

pub(super) fn attribution(message: pb::Attribution) -> Read<Attribution> {
    let ceilings = read::each(message.ceilings, "ceilings", |ceiling| {
        Ok((one_of(ceiling.level, "level")?, points(ceiling.points)))
    })?;
    Ok(Attribution {
        cases: message.cases,
        failures: message.failures,
        missing: message.missing,
        mean: message.mean,
        clusters: read::each(message.clusters, "clusters", cluster)?,
        ceilings: ceilings.into_iter().collect(),
        reader: read::maybe(message.reader, "reader", reader)?,
    })
}

pub(super) fn wire_finding(finding: Finding) -> pb::Finding {
    pb::Finding {
        evaluation_id: finding.evaluation.to_string(),
        ordinal: finding.ordinal,
        case_id: finding.case_id.to_string(),
        step_id: finding.step.to_string(),
        rule: spelled(&finding.rule),
        level: finding.level.wire(),
        confidence: finding.confidence,
        lost: finding.lost,
        detail: finding.detail,
        reading: finding.reading.map(wire_reading),
    }
}

pub(super) fn finding(message: pb::Finding) -> Read<Finding> {
    Ok(Finding {
        evaluation: evaluation_id(&message.evaluation_id, "evaluation_id")?,
        ordinal: message.ordinal,
        case_id: CaseId::new(message.case_id),
        step: StepId::new(message.step_id),
        rule: unspelled(&message.rule, "rule")?,
        level: one_of(message.level, "level")?,
        confidence: message.confidence,
        lost: message.lost,
        detail: message.detail,
        reading: read::maybe(message.reading, "reading", reading)?,
    })
}

fn wire_end(end: SessionEnd) -> (pb::SessionEnd, String) {
    let plain = match end {
        SessionEnd::Answered => pb::SessionEnd::Answered,
        SessionEnd::NoAnswer => pb::SessionEnd::NoAnswer,
        SessionEnd::OutOfTurns => pb::SessionEnd::OutOfTurns,
        SessionEnd::OutOfTime => pb::SessionEnd::OutOfTime,
        SessionEnd::OutOfMoney => pb::SessionEnd::OutOfMoney,
        SessionEnd::Flooded => pb::SessionEnd::Flooded,
        SessionEnd::Cancelled => pb::SessionEnd::Cancelled,
        SessionEnd::Failed { message } => return (pb::SessionEnd::Failed, message),
    };
    (plain, String::new())
}

fn end(value: i32, message: String) -> Read<SessionEnd> {
    Ok(match pb::SessionEnd::try_from(value) {
        Ok(pb::SessionEnd::Answered) => SessionEnd::Answered,
        Ok(pb::SessionEnd::NoAnswer) => SessionEnd::NoAnswer,
        Ok(pb::SessionEnd::OutOfTurns) => SessionEnd::OutOfTurns,
        Ok(pb::SessionEnd::OutOfTime) => SessionEnd::OutOfTime,
        Ok(pb::SessionEnd::OutOfMoney) => SessionEnd::OutOfMoney,
        Ok(pb::SessionEnd::Flooded) => SessionEnd::Flooded,
        Ok(pb::SessionEnd::Cancelled) => SessionEnd::Cancelled,
        Ok(pb::SessionEnd::Failed) => SessionEnd::Failed { message },
        Ok(pb::SessionEnd::Unspecified) => return Err(Invalid::missing("end")),
        Err(_) => {
            return Err(Invalid::new(
                "end",
                format!("{value} is no value of it that is known here"),
            ));
        }
    })
}

pub(super) fn wire_session(session: SessionRecord) -> pb::Session {
    let (end, end_message) = wire_end(session.end);
    pb::Session {
        session_id: session.id.to_string(),
        job_id: session.job.to_string(),
        task_id: session.task.to_string(),
        role: session.role.wire(),
        agent: session.agent,
        agent_version: session.version,
        model: session.model,
        confinement: Some(pb::Confinement {
            namespaces: session.confinement.namespaces,
            landlock_abi: session.confinement.landlock_abi,
            detail: session.confinement.detail,
        }),
        prompt_hash: session.prompt_hash.to_string(),
        started_at: read::wire_timestamp(session.started_at),
        ended_at: read::wire_timestamp(session.ended_at),
        end: end.into(),
        end_message,
        prompts: session.prompts,
        turns: session.turns,
        tool_calls: session
            .tool_calls
            .into_iter()
            .map(|(tool, count)| pb::ToolCalls { tool, count })
            .collect(),
        refused: session.refused,
        spend: Some(wire_spend(session.spend)),
        first_request_after: session
            .first_request_ms
            .map(|millis| read::wire_duration(Duration::from_millis(millis))),
        harvest: Some(read::wire_duration(Duration::from_micros(
            session.harvest_us,
        ))),
        peak_memory_bytes: session.peak_memory,
        transcript_hash: session.transcript.map(|hash| hash.to_string()),
    }
}

/// Without its transcript's text, as ports give it.
pub(super) fn session(message: pb::Session) -> Read<SessionRecord> {
    let confinement = read::given(message.confinement, "confinement")?;
    let first_request = message
        .first_request_after
        .map(|duration| read::duration(Some(duration), "first_request_after"))
        .transpose()?;
    let whole = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
    Ok(SessionRecord {
        id: SessionId(read::hash(&message.session_id, "session_id")?),
        job: read::job_id(&message.job_id, "job_id")?,
        task: TaskId(read::hash(&message.task_id, "task_id")?),
        role: one_of(message.role, "role")?,
        agent: message.agent,
        version: message.agent_version,
        model: message.model,
        confinement: Confinement {
            namespaces: confinement.namespaces,
            landlock_abi: confinement.landlock_abi,
            detail: confinement.detail,
        },
        prompt_hash: read::hash(&message.prompt_hash, "prompt_hash")?,
        started_at: read::timestamp(message.started_at, "started_at")?,
        ended_at: read::timestamp(message.ended_at, "ended_at")?,
        end: end(message.end, message.end_message)?,
        prompts: message.prompts,
        turns: message.turns,
        tool_calls: message
            .tool_calls
            .into_iter()
            .map(|calls| (calls.tool, calls.count))
            .collect(),
        refused: message.refused,
        spend: spend(message.spend, "spend")?,
        first_request_ms: first_request.map(|duration| whole(duration.as_millis())),
        harvest_us: whole(read::duration(message.harvest, "harvest")?.as_micros()),
        peak_memory: message.peak_memory_bytes,
        transcript: read::maybe_hash(message.transcript_hash.as_deref(), "transcript_hash")?,
        transcript_text: Vec::new(),
    })
}
