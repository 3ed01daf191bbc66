//! The reader of unclear failures that is a coding agent: one session for an attribution, which may read the pipeline's files and
//! not write. It has no tools of fapo's: all that it may see of a case stands in its prompts.
//!
//! Each prompt brings a few failures, each with a number that no other of the session has, and between lines with a mark of its
//! own. What the answer says of a failure counts under the same conditions as a model's; what it leaves out, or says in a way
//! that cannot be used, is a failure without a reading.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::error::chain;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::project::ProposerBackend;
use fapo_domain::model::session::{SessionEnd, SessionRecord};
use fapo_domain::model::task::Fence;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::agents::{AgentError, AgentRequest, AgentSession, AgentTurn, CodingAgent};
use fapo_domain::ports::relay::RelayError;
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::ports::work::WorkError;
use fapo_domain::{ContentHash, JobId};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{close, limits, session_id};
use crate::attribution::Flow;
use crate::attribution::reader::brief::{closed, told};
use crate::attribution::reader::{Batch, Briefs, FailureReader, Unread};

/// Failures in one prompt.
const AT_ONCE: u32 = 5;
/// Turns of one prompt.
const TURNS: u32 = 6;
/// Minutes of a session.
pub const MINUTES: f64 = 5.0;
/// Bytes of cases and traces in all of a session's prompts: they stay in its context.
const SESSION_BYTES: usize = 240_000;
/// Most bytes of one case and its trace, and those it has in the longest session.
const CASE_BYTES: usize = 24_000;
const LEAST_CASE_BYTES: usize = 6_000;
/// The prompts of the reader.
const PROMPTS: [&str; 3] = ["reader_system", "reader_user", "reader_batch"];

/// Most turns of a session that reads so many failures.
pub const fn most_turns(failures: u32) -> u32 {
    failures.div_ceil(AT_ONCE).saturating_mul(TURNS)
}

/// The coding agents that can read failures here.
#[derive(Clone)]
pub struct AgentReaders {
    agents: BTreeMap<&'static str, Arc<dyn CodingAgent>>,
    sessions: Arc<dyn Sessions>,
}

impl AgentReaders {
    /// None yet; their sessions are recorded in `sessions`.
    pub const fn new(sessions: Arc<dyn Sessions>) -> Self {
        Self {
            agents: BTreeMap::new(),
            sessions,
        }
    }

    /// These, and one more; `backend` is what the project calls it.
    #[must_use]
    pub fn with(mut self, backend: ProposerBackend, agent: Arc<dyn CodingAgent>) -> Self {
        self.agents.insert(backend.as_str(), agent);
        self
    }

    /// The reader of one attribution over a variant's files. Opens no session yet.
    ///
    /// # Errors
    /// Permanent where the agent is not set up here.
    pub fn of<'a>(
        &'a self,
        backend: ProposerBackend,
        spec: &'a JobSpec,
        (flow, tree): (&Flow, &VariantTree),
        (job, fence): (JobId, Fence),
    ) -> Result<AgentReader<'a>, WorkError> {
        let name = backend.as_str();
        let agent = self.agents.get(name).ok_or_else(|| {
            WorkError::permanent(
                "READER_CONFIG",
                format!(
                    "reader backend `{name}` is not set up here; choose another with `diagnosis.reader.backend` in fapo.yaml, or `none` for the rules alone"
                ),
            )
        })?;
        let briefs = Briefs::of(spec, flow);
        let named = spec.project.reading_agent_model(backend);
        let (entry, model) = spec.project.agent_model(backend, named);
        let cases = spec.project.diagnosis.reader.cases.max(1) as usize;
        Ok(AgentReader {
            agent: &**agent,
            sessions: &*self.sessions,
            request: AgentRequest {
                id: session_id(fence),
                job,
                fence,
                role: SpendRole::Diagnosis,
                entry,
                model,
                system: briefs.system(),
                tree: tree.clone(),
                writable: false,
                schema: schema(&briefs),
                limits: limits(MINUTES, None),
            },
            briefs,
            bytes: (SESSION_BYTES / cases).clamp(LEAST_CASE_BYTES, CASE_BYTES),
            session: None,
            told: 0,
        })
    }
}

/// A reader that is set up.
pub struct AgentReader<'a> {
    agent: &'a dyn CodingAgent,
    sessions: &'a dyn Sessions,
    request: AgentRequest,
    briefs: Briefs<'a>,
    /// Most bytes of one case and its trace.
    bytes: usize,
    /// Open from the first failure on.
    session: Option<Box<dyn AgentSession>>,
    /// Failures told so far: the last one's number.
    told: u64,
}

impl AgentReader<'_> {
    /// The prompt for these, and their numbers.
    fn prompt(&mut self, failures: &[Unread]) -> Result<(String, Vec<u64>), WorkError> {
        let texts: Vec<String> = failures
            .iter()
            .map(|failure| told(failure, self.bytes))
            .collect();
        let all: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut tasks = Vec::with_capacity(failures.len());
        for (failure, told) in failures.iter().zip(&texts) {
            self.told += 1;
            tasks.push((self.told, self.briefs.task(failure, told, &all)?));
        }
        let numbers = tasks.iter().map(|(number, _)| *number).collect();
        Ok((self.briefs.batch(&tasks)?, numbers))
    }

    async fn ask(&mut self, text: &str, stop: &CancellationToken) -> Result<AgentTurn, AgentError> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(self.agent.open(self.request.clone()).await?),
        };
        session.prompt(text, TURNS, stop).await
    }
}

#[async_trait]
impl FailureReader for AgentReader<'_> {
    fn at_once(&self) -> usize {
        AT_ONCE as usize
    }

    fn prompt_hash(&self) -> ContentHash {
        self.briefs.hash(&PROMPTS)
    }

    async fn read(
        &mut self,
        failures: &[Unread],
        stop: &CancellationToken,
    ) -> Result<Batch, WorkError> {
        if stop.is_cancelled() {
            return Err(WorkError::interrupted());
        }
        let (text, numbers) = self.prompt(failures)?;
        let turn = match self.ask(&text, stop).await {
            Ok(turn) => turn,
            Err(error) => return hinders(error).map(|note| unasked(failures, note)),
        };
        let answer = match (turn.end, turn.answer) {
            (SessionEnd::Cancelled, _) => return Err(WorkError::interrupted()),
            (_, Some(answer)) => answer,
            (SessionEnd::NoAnswer | SessionEnd::OutOfTurns, None) => Value::Null,
            // nothing more can come of it
            (end, None) => {
                return Ok(Batch {
                    spend: turn.spend,
                    ..unasked(failures, format!("the reader's session {end}"))
                });
            }
        };
        let judged = failures.iter().zip(&numbers).map(|(failure, number)| {
            let said = said_of(&answer, *number);
            Some(self.briefs.judge(said, &failure.run))
        });
        Ok(Batch {
            reads: judged.collect(),
            spend: turn.spend,
            note: None,
        })
    }

    async fn close(self: Box<Self>) -> Result<Option<SessionRecord>, WorkError> {
        let Some(session) = self.session else {
            return Ok(None);
        };
        close(session, self.sessions, Vec::new())
            .await
            .map(Some)
            .map_err(|error| WorkError::from_port("the reader's session could not be ended", error))
    }
}

fn schema(briefs: &Briefs<'_>) -> Value {
    let mut fields = briefs.fields();
    fields.insert("failure".to_owned(), json!({ "type": "integer" }));
    let readings = json!({ "type": "array", "items": closed(fields) });
    closed(Map::from_iter([("readings".to_owned(), readings)]))
}

/// What an answer says of a failure: the first that it says, where it says more.
fn said_of(answer: &Value, number: u64) -> Option<&Map<String, Value>> {
    answer
        .get("readings")?
        .as_array()?
        .iter()
        .filter_map(Value::as_object)
        .find(|said| said.get("failure").and_then(Value::as_u64) == Some(number))
}

fn unasked(failures: &[Unread], note: String) -> Batch {
    Batch {
        reads: vec![None; failures.len()],
        note: Some(note),
        ..Batch::default()
    }
}

/// Sorts an error: what merely hinders reading, in words for people, or what the task fails of.
fn hinders(error: AgentError) -> Result<String, WorkError> {
    let passes = match &error {
        AgentError::Provider { configuration, .. } => !configuration,
        AgentError::Relay(RelayError::Model(error)) => !error.is_configuration(),
        AgentError::Config { .. }
        | AgentError::Sandbox(_)
        | AgentError::Relay(RelayError::Store(_) | RelayError::Socket(_))
        | AgentError::Store(_)
        | AgentError::Files { .. } => false,
    };
    if passes {
        return Ok(chain(&error));
    }
    Err(WorkError::from_port(
        "the reader's session could not be run",
        error,
    ))
}

#[cfg(test)]
mod tests;
