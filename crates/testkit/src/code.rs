//! Workers for code that say what a test tells them to: for what real ones do not do when asked, such as not being there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::ports::code::{CodeError, CodeReply, CodeRunner, CodeUnit};
use serde_json::Value;

type Answer = dyn Fn(&CodeUnit, &Value) -> Result<Value, CodeError> + Send + Sync;

/// Scripted [`CodeRunner`].
pub struct ScriptedCode {
    answer: Box<Answer>,
    waits: Duration,
    takes: Duration,
    asked: Mutex<Vec<Value>>,
}

impl ScriptedCode {
    /// Answers every call so.
    pub fn new(
        answer: impl Fn(&CodeUnit, &Value) -> Result<Value, CodeError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer: Box::new(answer),
            waits: Duration::ZERO,
            takes: Duration::ZERO,
            asked: Mutex::default(),
        }
    }

    /// No worker can be had, and a person would have to change something first.
    pub fn none() -> Self {
        Self::new(|unit, _| {
            Err(CodeError::Unavailable {
                file: unit.file.clone(),
                message: "this test has none".to_owned(),
                configuration: true,
            })
        })
    }

    /// Lets each call wait for a worker, and the code take its time.
    #[must_use]
    pub fn slow(mut self, waits: Duration, takes: Duration) -> Self {
        (self.waits, self.takes) = (waits, takes);
        self
    }

    /// What was asked so far, in order.
    pub fn asked(&self) -> Vec<Value> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl CodeRunner for ScriptedCode {
    async fn call(
        &self,
        unit: &Arc<CodeUnit>,
        input: &Value,
        time: Duration,
    ) -> Result<CodeReply, CodeError> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(input.clone());
        tokio::time::sleep(self.waits).await;
        tokio::time::sleep(self.takes.min(time)).await;
        if self.takes > time {
            return Err(CodeError::TimedOut {
                file: unit.file.clone(),
                seconds: time.as_secs(),
            });
        }
        Ok(CodeReply {
            output: (self.answer)(unit, input)?,
            printed: String::new(),
            took: self.takes,
        })
    }
}
