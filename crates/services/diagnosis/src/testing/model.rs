//! A model that says what it is told to, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fapo_domain::Spend;
use fapo_domain::model::trace::FinishReason;
use fapo_domain::ports::ledger::LedgerError;
use fapo_domain::ports::models::{
    Meter, MeteredError, MeteredModels, MeteredReply, ModelError, ModelRequest,
};

/// One reply.
#[derive(Debug, Clone)]
pub enum Says {
    /// A whole text.
    Text(String),
    /// A text that was cut off.
    CutOff(String),
    /// Nothing: the provider is down.
    Down,
    /// Nothing: there is no key.
    NoKey,
    /// Nothing: the budget does not allow it.
    Broke,
}

/// Says its replies one after the other; the last one again and again.
pub struct Scripted {
    replies: Mutex<VecDeque<Says>>,
    asked: Mutex<Vec<(ModelRequest, Meter)>>,
}

impl Scripted {
    pub fn new(replies: impl IntoIterator<Item = Says>) -> Arc<Self> {
        Arc::new(Self {
            replies: Mutex::new(replies.into_iter().collect()),
            asked: Mutex::new(Vec::new()),
        })
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<(ModelRequest, Meter)> {
        self.asked.lock().unwrap().clone()
    }

    /// The last message of each question.
    pub fn last_messages(&self) -> Vec<String> {
        let last = |request: &ModelRequest| request.messages.last().unwrap().content.clone();
        self.asked()
            .iter()
            .map(|(request, _)| last(request))
            .collect()
    }
}

#[async_trait]
impl MeteredModels for Scripted {
    async fn complete(
        &self,
        request: &ModelRequest,
        meter: &Meter,
    ) -> Result<MeteredReply, MeteredError> {
        self.asked
            .lock()
            .unwrap()
            .push((request.clone(), meter.clone()));
        let says = {
            let mut replies = self.replies.lock().unwrap();
            let first = replies.front().cloned().unwrap();
            if replies.len() > 1 {
                replies.pop_front();
            }
            first
        };
        let (text, finish) = match says {
            Says::Text(text) => (text, FinishReason::Stop),
            Says::CutOff(text) => (text, FinishReason::Length),
            Says::Down => {
                return Err(MeteredError::Model(ModelError::Unavailable {
                    provider: "here".to_owned(),
                    attempts: 3,
                    message: "no answer".to_owned(),
                    unanswered: 0,
                }));
            }
            Says::NoKey => {
                return Err(MeteredError::Model(ModelError::NoKey {
                    entry: "task".to_owned(),
                    variable: "NONE".to_owned(),
                }));
            }
            Says::Broke => {
                return Err(MeteredError::Budget(LedgerError::Exhausted {
                    what: "no call is left".to_owned(),
                    may_fit_later: false,
                }));
            }
        };
        let spend = Spend {
            model_calls: 1,
            ..Spend::default()
        };
        Ok(MeteredReply {
            text,
            finish,
            spend,
            full_spend: spend,
            full_duration_ms: 0,
            cache_hit: false,
            attempts: 1,
        })
    }
}
