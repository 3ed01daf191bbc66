//! Coding agents at work: as proposer, as reviewer, and as reader of failures.
//!
//! * [`proposer`]: a session over the parent's files, which it may edit; then one continuation where something is amiss.
//! * [`reviewer`]: another session, which shares nothing with the first and may only read.
//! * [`reader`]: a session that names what was missing in failures, and may only read, too.
//!
//! What they are told stands in [`crate::proposers::agent`], [`crate::review`] and [`crate::attribution::reader`]. Proposer and
//! reviewer get the tools of [`crate::mcp`]. All are recorded with their whole transcript, and are believed in nothing: what
//! counts of a proposal is the difference of its files, what counts of a review is judged by
//! [`Review`](fapo_domain::model::proposal::Review), and of readings those count whose quotes stand in the trace.

pub mod proposer;
pub mod reader;
pub mod reviewer;

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::session::{SessionId, SessionRecord};
use fapo_domain::model::task::Fence;
use fapo_domain::money::MicroUsd;
use fapo_domain::ports::agents::{AgentError, AgentLimits, AgentSession, CodingAgent};
use fapo_domain::ports::sessions::Sessions;
use tokio::time::Instant;

use crate::mcp::{SessionGrant, SessionTools, ToolPorts, Tools};

pub use proposer::AgentProposer;
pub use reader::AgentReaders;
pub use reviewer::AgentReviewer;

/// What a session needs of the house.
#[derive(Clone)]
pub struct AgentHouse {
    /// The program.
    pub agent: Arc<dyn CodingAgent>,
    /// What its tools ask.
    pub tools: ToolPorts,
    /// Where it is recorded.
    pub sessions: Arc<dyn Sessions>,
}

/// A session with its tools.
struct Attended {
    session: Box<dyn AgentSession>,
    tools: Tools,
}

impl AgentHouse {
    /// Gives an open session its tools. `grant` says what they may be asked, with the session's own files.
    fn attend(
        &self,
        mut session: Box<dyn AgentSession>,
        grant: SessionGrant,
    ) -> Result<Attended, AgentError> {
        let tools = SessionTools::open(self.tools.clone(), grant, session.socket_folder())?;
        session.attach(tools.agent_tools());
        Ok(Attended { session, tools })
    }

    /// Ends a session and records it: what it said, what it was refused by whom, what it cost.
    async fn end(&self, attended: Attended) -> Result<SessionRecord, AgentError> {
        let used = attended.tools.close().await;
        close(attended.session, &*self.sessions, used.refusals).await
    }
}

/// Ends a session and records it, with what else was refused to it.
async fn close(
    session: Box<dyn AgentSession>,
    sessions: &dyn Sessions,
    refused: Vec<String>,
) -> Result<SessionRecord, AgentError> {
    let mut record = session.close().await?;
    record.refused.extend(refused);
    sessions.record_session(record.clone()).await?;
    Ok(record)
}

/// The bounds of a session.
fn limits(minutes: f64, usd: Option<f64>) -> AgentLimits {
    AgentLimits {
        wall: wall(minutes),
        cost: usd.map(MicroUsd::from_usd),
    }
}

fn wall(minutes: f64) -> Duration {
    Duration::try_from_secs_f64(minutes.max(0.0) * 60.0).unwrap_or(Duration::from_secs(3600))
}

/// When a session's tools stop answering at the latest: twice its time, since its time counts only while it is worked at.
fn expires(minutes: f64) -> Instant {
    Instant::now() + 2 * wall(minutes) + Duration::from_secs(60)
}

/// The first session of a claim; a claim has one.
fn session_id(fence: Fence) -> SessionId {
    SessionId::derive(fence, 0)
}
