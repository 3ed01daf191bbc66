//! Proposers and reviewers.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::agents::AgentError;
use super::models::MeteredError;
use super::work::WorkError;
use crate::error::{Classified, ErrorCode, Retry};
use crate::model::job::JobSpec;
use crate::model::proposal::{Draft, ProposalRequest, Review, ReviewRequest};
use crate::model::task::Fence;
use crate::money::Spend;

/// What a proposer answers.
#[derive(Debug, Clone)]
pub enum Proposal {
    /// A changed tree.
    Draft(Box<Draft>),
    /// No (further) idea at this level for this parent.
    NoIdea {
        /// Why.
        reason: String,
        /// What asking cost.
        spend: Spend,
    },
    /// Something unusable: unreadable, cut off, or about files that do not exist.
    Unusable {
        /// What was wrong.
        reason: String,
        /// What asking cost.
        spend: Spend,
    },
}

/// Why a proposer gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Its model could not be called.
    #[error("the proposer's model could not be called")]
    Model(#[from] MeteredError),
    /// Its session could not be run.
    #[error("the proposer's session could not be run")]
    Agent(#[from] AgentError),
    /// What it was to be held against could not be read.
    #[error("the proposal could not be looked at")]
    Work(#[source] WorkError),
    /// It was asked to stop.
    #[error("the proposer was asked to stop")]
    Stopped,
    /// The proposer is not set up right.
    #[error("{message}")]
    Config {
        /// What to change.
        message: String,
    },
}

impl Classified for ProposeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Model(error) => error.code(),
            Self::Agent(error) => error.code(),
            Self::Work(error) => error.code(),
            Self::Stopped => ErrorCode::Unavailable,
            Self::Config { .. } => ErrorCode::FailedPrecondition,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Model(error) => error.retry(),
            Self::Agent(error) => error.retry(),
            Self::Work(error) => error.retry(),
            Self::Stopped => Retry::Now,
            Self::Config { .. } => Retry::Never,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Model(error) => error.reason(),
            Self::Agent(error) => error.reason(),
            Self::Work(error) => error.reason(),
            Self::Stopped => "INTERRUPTED",
            Self::Config { .. } => "PROPOSER_CONFIG",
        }
    }
}

/// Writes one scoped change. What it says about its change is recorded, and believed in nothing: level, scope and
/// effect are decided from the tree it returns.
#[async_trait]
pub trait Proposer: Send + Sync {
    /// Proposes one change. The same request gives the same proposal (a model's reply is remembered by the step cache),
    /// so repeating after a crash is harmless and free; an agent's session is run again). `fence` is the claimed task that
    /// pays. Returns soon after `stop` is cancelled.
    async fn propose(
        &self,
        spec: &JobSpec,
        request: &ProposalRequest,
        fence: Fence,
        stop: &CancellationToken,
    ) -> Result<Proposal, ProposeError>;
}

/// Why a reviewer gave no review. What it said and could not be used is a review that fails ([`Review::unusable`]).
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Its model could not be called.
    #[error("the reviewer's model could not be called")]
    Model(#[from] MeteredError),
    /// Its session could not be run.
    #[error("the reviewer's session could not be run")]
    Agent(#[from] AgentError),
    /// It was asked to stop.
    #[error("the reviewer was asked to stop")]
    Stopped,
    /// The reviewer is not set up right.
    #[error("{message}")]
    Config {
        /// What to change.
        message: String,
    },
}

impl Classified for ReviewError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Model(error) => error.code(),
            Self::Agent(error) => error.code(),
            Self::Stopped => ErrorCode::Unavailable,
            Self::Config { .. } => ErrorCode::FailedPrecondition,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Model(error) => error.retry(),
            Self::Agent(error) => error.retry(),
            Self::Stopped => Retry::Now,
            Self::Config { .. } => Retry::Never,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Model(error) => error.reason(),
            Self::Agent(error) => error.reason(),
            Self::Stopped => "INTERRUPTED",
            Self::Config { .. } => "REVIEWER_CONFIG",
        }
    }
}

/// Reads a change that the lints let pass, with fresh eyes: it is not the proposer, shares nothing with it, and cannot
/// change the files. What it says is judged by [`Review::judged`]; it can refuse, and it can approve nothing that a lint
/// refused, because such a change never comes here.
#[async_trait]
pub trait Reviewer: Send + Sync {
    /// Reviews one change. `fence` is the claimed task that pays. A model's reply is remembered by the step cache, so
    /// repeating after a crash is harmless and free; an agent's review is recorded by whoever asked for it. Returns soon
    /// after `stop` is cancelled.
    async fn review(
        &self,
        spec: &JobSpec,
        request: &ReviewRequest,
        fence: Fence,
        stop: &CancellationToken,
    ) -> Result<Review, ReviewError>;
}
