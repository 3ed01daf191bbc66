//! Errors as a person meets them: once, with the whole chain of causes, and with a hint where there is one.

use std::io::ErrorKind;

use fapo_domain::Classified;
use fapo_domain::error::chain;
use fapo_domain::model::access::AccessError;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::agents::AgentError;
use fapo_domain::ports::ledger::LedgerError;
use fapo_domain::ports::models::{MeteredError, ModelError};
use fapo_domain::ports::optimizer::OptimizerError;
use fapo_domain::ports::sandbox::SandboxError;
use fapo_domain::ports::work::WorkError;
use fapo_orchestrator::OrchestratorError;
use fapo_queue::RedisServerError;

/// What failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Advice {
    message: String,
    hint: String,
    /// The stable name of what was behind it, where that is known from elsewhere than its causes.
    reason: Option<String>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Advice {
    /// A failure of its own.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
            reason: None,
            source: None,
        }
    }

    /// A failure with a cause.
    pub fn because<E>(message: impl Into<String>, hint: impl Into<String>, source: E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        Self {
            message: message.into(),
            hint: hint.into(),
            reason: None,
            source: Some(Box::new(source)),
        }
    }

    /// With another hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// With the stable name that a stored message begins with, as in `MODEL_TIMEOUT: no reply came`.
    pub fn named_as_in(mut self, message: &str) -> Self {
        let is_name = |name: &&str| {
            name.contains('_')
                && name
                    .bytes()
                    .all(|byte| byte == b'_' || byte.is_ascii_uppercase())
        };
        let name = message.split(": ").next().filter(is_name);
        self.reason = name.map(str::to_owned);
        self
    }
}

/// The error with all its causes, outermost first. A cause that its parent repeats is said once.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let said = cause.to_string();
        if text.is_empty() {
            text = said;
        } else if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
    }
    text
}

/// The stable name of the innermost cause that has one; `docs/errors` has a page for each that a person can meet.
pub fn reason(error: &anyhow::Error) -> Option<String> {
    let named = |cause: &(dyn std::error::Error + 'static)| {
        let said = cause.downcast_ref::<Advice>();
        if let Some(name) = said.and_then(|advice| advice.reason.clone()) {
            return Some(name);
        }
        let store = cause.downcast_ref::<StoreError>().map(Classified::reason);
        let model = cause.downcast_ref::<ModelError>().map(Classified::reason);
        let ledger = cause.downcast_ref::<LedgerError>().map(Classified::reason);
        let work = cause.downcast_ref::<WorkError>().map(Classified::reason);
        let job = cause
            .downcast_ref::<OrchestratorError>()
            .map(Classified::reason);
        let agent = cause.downcast_ref::<AgentError>().map(Classified::reason);
        let sandbox = cause.downcast_ref::<SandboxError>().map(Classified::reason);
        let known = store.or(model).or(ledger).or(work).or(job);
        let remote = cause
            .downcast_ref::<OptimizerError>()
            .map(Classified::reason);
        let redis = cause
            .downcast_ref::<RedisServerError>()
            .map(Classified::reason);
        let known = known.or(agent).or(sandbox).or(remote).or(redis);
        known.map(str::to_owned)
    };
    error.chain().filter_map(named).last()
}

/// What to do about it: the first hint along the chain.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(advice) = cause.downcast_ref::<Advice>() {
            return Some(advice.hint.clone());
        }
        if let Some(error) = cause.downcast_ref::<OptimizerError>() {
            return remote_hint(error).map(str::to_owned);
        }
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return store_hint(error);
        }
        if let Some(MeteredError::Model(error)) = cause.downcast_ref::<MeteredError>() {
            return model_hint(error);
        }
        if let Some(error) = cause.downcast_ref::<ModelError>() {
            return model_hint(error);
        }
        if let Some(AgentError::Config { .. }) = cause.downcast_ref::<AgentError>() {
            return Some(WITHOUT_AGENT.to_owned());
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return system_hint(error.kind()).map(str::to_owned);
        }
        None
    })
}

/// What can be done where a coding agent is not there.
pub const WITHOUT_AGENT: &str = "`fapo doctor DIR` looks at all that an agent needs; without one: `proposer: { backend: catalogue }` in fapo.yaml (offline, \
     free), or `reflect` (a model of `models:` proposes), `reviewer: { backend: none }`, and no `diagnosis.reader`";

const FULL: &str = "the disk is full: make room, then run the same command again; nothing is lost";
const FORBIDDEN: &str =
    "fapo writes into the project's folder `.fapo`: check its owner and permissions";

const fn system_hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(FULL),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Some(FORBIDDEN),
        _ => None,
    }
}

/// What can be done about an answer of a server. Its own causes are the server's to mend.
const fn remote_hint(error: &OptimizerError) -> Option<&'static str> {
    match error {
        OptimizerError::Access(AccessError::Forbidden { .. }) => {
            Some("ask whoever runs the server for a token that allows it")
        }
        OptimizerError::Access(
            AccessError::NoToken | AccessError::InvalidToken | AccessError::ExpiredToken { .. },
        ) => Some(
            "give a token with --token-file FILE or in FAPO_TOKEN; whoever runs the server makes one with `fapo token`",
        ),
        OptimizerError::MissingBlobs { .. } => {
            Some("run the same command again: it sends what is missing")
        }
        OptimizerError::RequestReused { .. } => {
            Some("give another --request-id, or none: then a new one is made")
        }
        OptimizerError::Models { .. } => Some(
            "keys and addresses of models are set in the environment of the server, by whoever runs it",
        ),
        OptimizerError::Unreachable { .. } => Some(
            "check the address, and that the server runs; jobs there are not touched by this, and the same command may be run again",
        ),
        OptimizerError::Store(_) | OptimizerError::Queue(_) => {
            Some("whoever runs the server finds more in its log; the same command may be run again")
        }
        OptimizerError::Internal { .. } => {
            Some("whoever runs the server finds the reason in its log")
        }
        OptimizerError::NotFound { .. } => {
            Some("`fapo status --server URL` lists the jobs that this token may see")
        }
        OptimizerError::Invalid { .. }
        | OptimizerError::Project(_)
        | OptimizerError::State { .. } => None,
    }
}

fn store_hint(error: &StoreError) -> Option<String> {
    let hint = match error {
        StoreError::Unwritable { source, .. } => {
            let cause = chain(source.as_ref()).to_lowercase();
            if cause.contains("full") || cause.contains("no space") {
                FULL
            } else {
                FORBIDDEN
            }
        }
        StoreError::Unavailable { .. } => {
            "another process may hold the store: wait for it, or run the same command again"
        }
        StoreError::Corrupt { .. } => {
            "the store in `.fapo` may be newer than this program, or damaged; moving `.fapo` away starts afresh"
        }
        StoreError::NotFound { .. }
        | StoreError::AlreadyExists { .. }
        | StoreError::StaleLease { .. }
        | StoreError::VersionConflict { .. }
        | StoreError::Invalid { .. } => return None,
    };
    Some(hint.to_owned())
}

fn model_hint(error: &ModelError) -> Option<String> {
    Some(match error {
        ModelError::NoKey { variable, .. } => format!("export {variable}=..., then run it again"),
        ModelError::Rejected {
            status: 401 | 403, ..
        } => "the key is not accepted: check it with `fapo doctor DIR`".to_owned(),
        ModelError::Rejected { status: 404, .. } => {
            "check `model` and `base_url` in fapo.yaml; base_url ends in /v1".to_owned()
        }
        ModelError::Unavailable { .. } | ModelError::Timeout { .. } => {
            "check that the endpoint is up: `fapo doctor DIR`".to_owned()
        }
        ModelError::Config { .. }
        | ModelError::Rejected { .. }
        | ModelError::Overloaded { .. }
        | ModelError::Malformed { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_whole_chain_is_said_once_with_its_hint() {
        let cause = StoreError::Unwritable {
            place: ".fapo/store.db".to_owned(),
            source: Box::new(std::io::Error::other("no space left on device")),
        };
        let error = anyhow::Error::from(cause).context("the job could not be started");
        assert_eq!(
            explain(&error),
            "the job could not be started: cannot write to .fapo/store.db: no space left on device"
        );
        assert!(hint(&error).unwrap().contains("disk is full"));
        assert_eq!(reason(&error).as_deref(), Some("STORE_UNWRITABLE"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_explained() {
        let denied = std::io::Error::from(ErrorKind::PermissionDenied);
        let error = anyhow::Error::from(denied).context("cannot make the folder p/.fapo");
        assert!(hint(&error).unwrap().contains("permissions"));
        let gone = anyhow::Error::from(std::io::Error::from(ErrorKind::NotFound));
        assert_eq!(hint(&gone), None);
    }

    #[test]
    fn an_agent_that_is_not_there_comes_with_what_does_without() {
        let error = anyhow::Error::from(AgentError::Config {
            message: "`claude-code` is to propose, and is not there".to_owned(),
        });
        assert!(hint(&error).unwrap().contains("backend: catalogue"));
        assert_eq!(reason(&error).as_deref(), Some("AGENT_CONFIG"));
    }

    #[test]
    fn a_stored_message_gives_its_name() {
        let named = |message: &str| {
            let advice = Advice::new("the evaluation has no result", "mend it");
            reason(&advice.named_as_in(message).into())
        };
        let name = named("MODEL_TIMEOUT: no reply came: not in 3 s");
        assert_eq!(name.as_deref(), Some("MODEL_TIMEOUT"));
        assert_eq!(named("no task left a reason"), None);
        assert_eq!(named("IO: it broke"), None);
    }

    #[test]
    fn advice_is_found_below_further_context() {
        let error = Err::<(), _>(Advice::new("no job yet", "run `fapo optimize`"))
            .context("cannot show the lineage")
            .unwrap_err();
        assert_eq!(explain(&error), "cannot show the lineage: no job yet");
        assert_eq!(hint(&error).unwrap(), "run `fapo optimize`");
    }
}
