//! What every [`fapo_domain::ports::sessions::Sessions`] must do.

use anyhow::{Context as _, Result, ensure};
use fapo_domain::clock::Timestamp;
use fapo_domain::model::session::{SessionEnd, SessionId, SessionRecord};
use fapo_domain::model::task::Fence;
use fapo_domain::money::{MicroUsd, Spend, SpendRole};
use fapo_domain::ports::sandbox::Confinement;
use fapo_domain::{JobId, TaskId};

use super::Ports;
use crate::sample;

pub(super) fn record(job: u8, number: u32, at: i64) -> SessionRecord {
    let job = JobId::at(u64::from(job), [job; 10]);
    let task = TaskId::derive(job, "propose", "1");
    SessionRecord {
        id: SessionId::derive(Fence { task, epoch: 1 }, number),
        job,
        task,
        role: SpendRole::Proposer,
        agent: "claude-code".to_owned(),
        version: Some("2.1.330".to_owned()),
        model: "opus".to_owned(),
        confinement: Confinement {
            namespaces: true,
            landlock_abi: 7,
            detail: "bubblewrap".to_owned(),
        },
        prompt_hash: sample::hash("prompts"),
        started_at: Timestamp(at),
        ended_at: Timestamp(at + 1),
        end: SessionEnd::Failed {
            message: "it broke".to_owned(),
        },
        prompts: 2,
        turns: 9,
        tool_calls: vec![("Edit".to_owned(), 3), ("mcp__fapo__check".to_owned(), 1)],
        refused: vec!["permission denied: Bash".to_owned()],
        spend: Spend {
            cost: MicroUsd(17),
            model_calls: 9,
            ..Spend::default()
        },
        first_request_ms: Some(210),
        harvest_us: 3,
        peak_memory: Some(1 << 28),
        transcript: None,
        transcript_text: b"{\"from\":\"fapo\"}\n".repeat(1_000),
    }
}

/// Transcript included, which is a blob.
pub async fn a_session_comes_back_with_its_transcript(ports: &Ports) -> Result<()> {
    let stored = record(1, 0, 5);
    ports.sessions.record_session(stored.clone()).await?;
    let found = ports
        .sessions
        .session(stored.id)
        .await?
        .context("it is there")?;
    let transcript = found.transcript.context("it names its transcript")?;
    let bodies = ports.blobs.get_blobs(&[transcript]).await?;
    ensure!(
        bodies
            .first()
            .is_some_and(|body| **body == *stored.transcript_text)
    );
    let expected = SessionRecord {
        transcript: Some(transcript),
        transcript_text: Vec::new(),
        ..stored
    };
    ensure!(found == expected, "{found:?}");
    Ok(())
}

/// A claim that was interrupted after it recorded its session may do so again.
pub async fn the_first_record_of_a_session_stays(ports: &Ports) -> Result<()> {
    let first = record(1, 0, 5);
    ports.sessions.record_session(first.clone()).await?;
    let mut second = first.clone();
    second.turns = 99;
    ports.sessions.record_session(second).await?;
    let found = ports.sessions.session(first.id).await?;
    ensure!(found.is_some_and(|found| found.turns == first.turns));
    Ok(())
}

/// And those of another job are not among them.
pub async fn a_jobs_sessions_come_in_the_order_of_their_start(ports: &Ports) -> Result<()> {
    let mine = [record(1, 0, 30), record(1, 1, 10), record(1, 2, 20)];
    for one in mine.iter().chain([&record(2, 0, 15)]) {
        ports.sessions.record_session(one.clone()).await?;
    }
    let found = ports.sessions.sessions(mine[0].job).await?;
    let starts: Vec<i64> = found.iter().map(|one| one.started_at.0).collect();
    ensure!(starts == [10, 20, 30], "{starts:?}");
    Ok(())
}

/// As people type them: a few digits. What is no prefix of an id finds nothing.
pub async fn a_session_is_found_by_the_start_of_its_id(ports: &Ports) -> Result<()> {
    let one = record(1, 0, 1);
    ports.sessions.record_session(one.clone()).await?;
    ports.sessions.record_session(record(1, 1, 2)).await?;
    let found = ports.sessions.find_sessions(&one.id.short(), 10).await?;
    ensure!(found.len() == 1 && found[0].id == one.id);
    ensure!(ports.sessions.find_sessions("", 10).await?.len() == 2);
    ensure!(ports.sessions.find_sessions("", 1).await?[0].started_at == Timestamp(2));
    for odd in ["%", "_", "zz", "' OR 1"] {
        ensure!(
            ports.sessions.find_sessions(odd, 10).await?.is_empty(),
            "{odd}"
        );
    }
    ensure!(ports.sessions.session(record(9, 9, 9).id).await?.is_none());
    Ok(())
}
