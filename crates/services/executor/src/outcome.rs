//! How steps and runs end badly: whose fault it is, and what it means for the run and for the block.
//!
//! | what happened | run | class |
//! |---|---|---|
//! | a template cannot be rendered | failed | `render_error` |
//! | a reply cannot be read as JSON, or breaks the schema | failed | `invalid_json`, `schema_mismatch` |
//! | a pointer, or the pipeline's output, leads nowhere | failed | `pointer_missing`, `output_missing`, `output_skipped` |
//! | code raises an exception, dies, takes too long, or returns what is no step's value | failed | `code_failed`, `code_died`, `code_timed_out`, `code_output` |
//! | a retrieval is asked more than 100 queries | failed | `too_many_queries` |
//! | no sample succeeded | failed | the first sample's class |
//! | the provider refuses the request itself | failed | `provider_rejected` |
//! | a cap is met | failed | `cap_model_calls`, `cap_tokens`, `cap_usd`, `cap_documents` |
//! | the case's seconds are over | timed out | `cap_seconds` |
//! | the model declines | refused | `refused` |
//! | the provider fails | missing | `provider_unavailable`, `provider_overloaded`, `provider_timeout`, `provider_malformed` |
//! | no worker for code can be had | missing; where a person must change something the block ends with an error | `code_unavailable` |
//! | the job's budget is used up | missing | `budget` |
//! | the work is stopped | missing | `cancelled` |
//! | the setup is wrong, or the store fails | missing, and the block ends with an error | `configuration`, `store` |

use fapo_domain::model::trace::RunStatus;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::code::CodeError;
use fapo_domain::ports::ledger::LedgerError;
use fapo_domain::ports::models::{MeteredError, ModelError};
use fapo_domain::ports::work::WorkError;
use fapo_domain::{Classified, Retry};
use fapo_project::template::TemplateError;

/// The class of a model that declined.
pub(crate) const REFUSED: &str = "refused";

/// A step failed by the pipeline's own fault. Steps that need it are not run; others are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl From<TemplateError> for Fault {
    fn from(error: TemplateError) -> Self {
        Self::new("render_error", cut(&error.to_string()))
    }
}

/// The whole run ends, whatever its other steps do.
#[derive(Debug)]
pub(crate) struct Halt {
    pub(crate) status: RunStatus,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) cause: Cause,
}

/// What the end of a run means for the other runs of its block.
#[derive(Debug, Default)]
pub(crate) enum Cause {
    /// Nothing.
    #[default]
    Own,
    /// The provider failed.
    Provider(ModelError),
    /// No worker for code could be had.
    Workers(CodeError),
    /// The job's budget is used up.
    Budget,
    /// The work is to stop.
    Stopped,
    /// The block cannot go on.
    Abort(WorkError),
}

/// How a step ended badly.
#[derive(Debug)]
pub(crate) enum StepError {
    /// By the pipeline's own fault.
    Fault(Fault),
    /// The model declined: the run is refused.
    Refused,
    /// The run ends.
    Halt(Box<Halt>),
}

impl From<Fault> for StepError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<TemplateError> for StepError {
    fn from(error: TemplateError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Halt> for StepError {
    fn from(halt: Halt) -> Self {
        Self::Halt(Box::new(halt))
    }
}

impl StepError {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.kind,
            Self::Refused => REFUSED,
            Self::Halt(halt) => halt.kind,
        }
    }

    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Fault(fault) => &fault.message,
            Self::Refused => "the model declined to answer",
            Self::Halt(halt) => &halt.message,
        }
    }
}

/// A cap that is met.
pub(crate) fn cap(kind: &'static str, message: String) -> Halt {
    Halt {
        status: RunStatus::Failed,
        kind,
        message,
        cause: Cause::Own,
    }
}

/// Work that is to stop.
pub(crate) fn stopped() -> Halt {
    missing(
        "cancelled",
        "the work was stopped".to_owned(),
        Cause::Stopped,
    )
}

fn missing(kind: &'static str, message: String, cause: Cause) -> Halt {
    Halt {
        status: RunStatus::Missing,
        kind,
        message,
        cause,
    }
}

/// What a model call that gave no reply means.
pub(crate) fn from_metered(error: MeteredError) -> StepError {
    match error {
        MeteredError::Model(error) => from_model(error),
        MeteredError::Budget(LedgerError::Exhausted { what, .. }) => {
            missing("budget", what, Cause::Budget).into()
        }
        MeteredError::Budget(LedgerError::Store(error)) | MeteredError::Store(error) => {
            from_store("a model call could not be booked", error).into()
        }
    }
}

fn from_store(message: &str, error: StoreError) -> Halt {
    let text = format!("{message}: {error}");
    let abort = Cause::Abort(WorkError::from_port(message, error));
    missing("store", text, abort)
}

fn from_model(error: ModelError) -> StepError {
    let message = cut(&error.to_string());
    let kind = match &error {
        ModelError::Unavailable { .. } => "provider_unavailable",
        ModelError::Overloaded { .. } => "provider_overloaded",
        ModelError::Timeout { .. } => "provider_timeout",
        ModelError::Malformed { .. } => "provider_malformed",
        // too long, or not what the endpoint takes: another prompt or other parameters can mend it
        ModelError::Rejected {
            status: 400 | 413 | 414 | 422 | 431,
            ..
        } => return Fault::new("provider_rejected", message).into(),
        ModelError::NoKey { .. } | ModelError::Config { .. } | ModelError::Rejected { .. } => {
            let abort = WorkError {
                message: message.clone(),
                code: error.code(),
                retry: Retry::Never,
                reason: error.reason(),
                source: None,
            };
            return missing("configuration", message, Cause::Abort(abort)).into();
        }
    };
    missing(kind, message, Cause::Provider(error)).into()
}

/// What a call of code that gave no answer means.
pub(crate) fn from_code(error: CodeError) -> StepError {
    let message = cut(&error.to_string());
    let configuration = match &error {
        CodeError::Failed { .. } => return Fault::new("code_failed", message).into(),
        CodeError::Died { .. } => return Fault::new("code_died", message).into(),
        CodeError::TimedOut { .. } => return Fault::new("code_timed_out", message).into(),
        CodeError::Unavailable { configuration, .. } => *configuration,
    };
    let cause = if configuration {
        Cause::Abort(WorkError::from_port(message.clone(), error))
    } else {
        Cause::Workers(error)
    };
    missing("code_unavailable", message, cause).into()
}

/// Longest message kept, in characters.
const MESSAGE: usize = 500;

/// Cuts a message to a length that a report can hold.
pub(crate) fn cut(message: &str) -> String {
    match message.char_indices().nth(MESSAGE) {
        None => message.to_owned(),
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}
