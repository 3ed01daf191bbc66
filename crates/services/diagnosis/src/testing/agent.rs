//! A coding agent that answers what it is told to, and remembers what it was asked. It stands for the ends and errors of
//! sessions; what sessions do is tried with real programs.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::session::{SessionEnd, SessionRecord};
use fapo_domain::money::Spend;
use fapo_domain::ports::agents::{
    AgentError, AgentRequest, AgentSession, AgentTools, AgentTurn, CodingAgent, SessionFiles,
};
use fapo_domain::ports::sandbox::Confinement;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// What becomes of one prompt.
#[derive(Debug)]
pub enum Plays {
    /// An answer.
    Answers(Value),
    /// Another end.
    Ends(SessionEnd),
    /// No end at all.
    Fails(AgentError),
    /// The session cannot even be opened.
    NotOpened(AgentError),
}

#[derive(Default)]
struct Seen {
    plays: VecDeque<Plays>,
    opened: Vec<AgentRequest>,
    prompts: Vec<String>,
}

/// Plays one after the other, over however many sessions.
#[derive(Clone)]
pub struct ScriptedAgent(Arc<Mutex<Seen>>);

impl ScriptedAgent {
    pub fn new(plays: impl IntoIterator<Item = Plays>) -> Self {
        Self(Arc::new(Mutex::new(Seen {
            plays: plays.into_iter().collect(),
            ..Seen::default()
        })))
    }

    /// The sessions that were opened.
    pub fn opened(&self) -> Vec<AgentRequest> {
        self.0.lock().unwrap().opened.clone()
    }

    /// What they were told.
    pub fn prompts(&self) -> Vec<String> {
        self.0.lock().unwrap().prompts.clone()
    }
}

#[async_trait]
impl CodingAgent for ScriptedAgent {
    fn name(&self) -> &'static str {
        "claude-code"
    }

    async fn open(&self, request: AgentRequest) -> Result<Box<dyn AgentSession>, AgentError> {
        let mut seen = self.0.lock().unwrap();
        match seen.plays.pop_front() {
            Some(Plays::NotOpened(error)) => return Err(error),
            Some(other) => seen.plays.push_front(other),
            None => {}
        }
        seen.opened.push(request.clone());
        Ok(Box::new(Session {
            agent: self.clone(),
            request,
            spend: Spend::default(),
            prompts: 0,
            end: SessionEnd::NoAnswer,
        }))
    }
}

struct Session {
    agent: ScriptedAgent,
    request: AgentRequest,
    spend: Spend,
    prompts: u32,
    end: SessionEnd,
}

#[async_trait]
impl AgentSession for Session {
    fn socket_folder(&self) -> &Path {
        Path::new("/nowhere")
    }

    fn files(&self) -> Arc<dyn SessionFiles> {
        unreachable!("a reader has no tools that look at its files")
    }

    fn attach(&mut self, _: AgentTools) {
        unreachable!("a reader has no tools")
    }

    async fn prompt(
        &mut self,
        text: &str,
        _turns: u32,
        _stop: &CancellationToken,
    ) -> Result<AgentTurn, AgentError> {
        let mut seen = self.agent.0.lock().unwrap();
        seen.prompts.push(text.to_owned());
        self.prompts += 1;
        self.spend.model_calls += 1;
        let (end, answer) = match seen.plays.pop_front().unwrap() {
            Plays::Answers(answer) => (SessionEnd::Answered, Some(answer)),
            Plays::Ends(end) => (end, None),
            Plays::Fails(error) | Plays::NotOpened(error) => return Err(error),
        };
        self.end = end.clone();
        Ok(AgentTurn {
            end,
            answer,
            tree: self.request.tree.clone(),
            refusals: Vec::new(),
            spend: Spend {
                model_calls: 1,
                ..Spend::default()
            },
        })
    }

    async fn close(self: Box<Self>) -> Result<SessionRecord, AgentError> {
        Ok(SessionRecord {
            id: self.request.id,
            job: self.request.job,
            task: self.request.fence.task,
            role: self.request.role,
            agent: "claude-code".to_owned(),
            version: None,
            model: self.request.model.model.clone(),
            confinement: Confinement {
                namespaces: true,
                landlock_abi: 0,
                detail: String::new(),
            },
            prompt_hash: ContentHash::of(b"prompts"),
            started_at: Timestamp(0),
            ended_at: Timestamp(1),
            end: self.end,
            prompts: self.prompts,
            turns: self.prompts,
            tool_calls: Vec::new(),
            refused: Vec::new(),
            spend: self.spend,
            first_request_ms: None,
            harvest_us: 0,
            peak_memory: None,
            transcript: None,
            transcript_text: Vec::new(),
        })
    }
}
