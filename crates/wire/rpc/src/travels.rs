//! The ports' errors on their way: what each takes along, and what each becomes again.

use fapo_domain::model::access::{AccessError, Role};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::optimizer::OptimizerError;
use fapo_domain::ports::queue::QueueError;
use fapo_domain::ports::work::WorkError;
use fapo_domain::problem::{Problem, Problems, Severity};
use fapo_domain::{ContentHash, ErrorCode, TaskId};

use crate::fault::{Fault, Travels};
use crate::names::name;

/// How many missing blobs an error names; whoever wants all of them asks for them.
const MISSING_BLOBS_TOLD: usize = 20;
/// Bytes of a project's problems, as JSON, that an error carries.
const PROBLEMS_TOLD: usize = 2800;

impl Travels for StoreError {
    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NotFound { kind, id }
            | Self::AlreadyExists { kind, id }
            | Self::VersionConflict { kind, id } => {
                vec![("kind", (*kind).to_owned()), ("id", id.clone())]
            }
            Self::StaleLease { task } => vec![("task", task.to_string())],
            Self::Invalid { .. } => Vec::new(),
            Self::Unwritable { place, .. } => vec![("place", place.clone())],
            Self::Unavailable { operation, .. } | Self::Corrupt { operation, .. } => {
                vec![("operation", (*operation).to_owned())]
            }
        }
    }

    fn arrived(mut fault: Fault) -> Self {
        match fault.reason.as_str() {
            "NOT_FOUND" => Self::NotFound {
                kind: fault.take_name("kind"),
                id: fault.take("id"),
            },
            "ALREADY_EXISTS" => Self::AlreadyExists {
                kind: fault.take_name("kind"),
                id: fault.take("id"),
            },
            "VERSION_CONFLICT" => Self::VersionConflict {
                kind: fault.take_name("kind"),
                id: fault.take("id"),
            },
            "LEASE_STALE" => match fault.take("task").parse() {
                Ok(task) => Self::StaleLease { task: TaskId(task) },
                Err(_) => unavailable(fault),
            },
            Self::UNWRITABLE => Self::Unwritable {
                place: fault.take("place"),
                source: fault.said(),
            },
            "STORE_UNAVAILABLE" => Self::Unavailable {
                operation: fault.take_name("operation"),
                source: fault.said(),
            },
            "STORE_CORRUPT" => Self::Corrupt {
                operation: fault.take_name("operation"),
                source: fault.said(),
            },
            _ => match fault.code {
                ErrorCode::InvalidArgument | ErrorCode::FailedPrecondition => Self::Invalid {
                    message: fault.message,
                },
                ErrorCode::Internal => Self::Corrupt {
                    operation: "answer a call",
                    source: fault.said(),
                },
                // also a token that the server does not take: the store is not to be had, whatever the reason
                ErrorCode::Unauthenticated
                | ErrorCode::Forbidden
                | ErrorCode::NotFound
                | ErrorCode::AlreadyExists
                | ErrorCode::Conflict
                | ErrorCode::Exhausted
                | ErrorCode::Timeout
                | ErrorCode::Unavailable => unavailable(fault),
            },
        }
    }
}

fn unavailable(fault: Fault) -> StoreError {
    StoreError::Unavailable {
        operation: "call its server",
        source: fault.said(),
    }
}

impl Travels for AccessError {
    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NoToken | Self::InvalidToken => Vec::new(),
            Self::ExpiredToken { name } => vec![("name", name.clone())],
            Self::Forbidden { name, role, needed } => vec![
                ("name", name.clone()),
                ("role", role.as_str().to_owned()),
                ("needed", needed.as_str().to_owned()),
            ],
        }
    }

    fn arrived(mut fault: Fault) -> Self {
        let role = |name: String| Role::of(&name).unwrap_or(Role::Viewer);
        match fault.reason.as_str() {
            "TOKEN_MISSING" => Self::NoToken,
            "TOKEN_EXPIRED" => Self::ExpiredToken {
                name: fault.take("name"),
            },
            "ACCESS_FORBIDDEN" => Self::Forbidden {
                name: fault.take("name"),
                role: role(fault.take("role")),
                needed: role(fault.take("needed")),
            },
            _ => Self::InvalidToken,
        }
    }
}

impl Travels for WorkError {
    fn fields(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn arrived(fault: Fault) -> Self {
        let message = if fault.is_unreachable() {
            format!("{} cannot be reached: {}", fault.server, fault.message)
        } else {
            fault.message
        };
        Self {
            message,
            code: fault.code,
            retry: fault.retry,
            reason: name(&fault.reason),
            source: None,
        }
    }
}

impl Travels for OptimizerError {
    fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Access(error) => error.fields(),
            Self::NotFound { kind, id } => vec![("kind", (*kind).to_owned()), ("id", id.clone())],
            Self::Project(problems) => vec![("problems", problems_json(problems))],
            Self::MissingBlobs { missing } => {
                let told: Vec<String> = missing
                    .iter()
                    .take(MISSING_BLOBS_TOLD)
                    .map(ContentHash::to_string)
                    .collect();
                vec![
                    ("missing", told.join(" ")),
                    ("count", missing.len().to_string()),
                ]
            }
            Self::RequestReused { request_id } => vec![("request_id", request_id.clone())],
            Self::Store(error) => error.fields(),
            Self::Queue(error) => queue_fields(error),
            Self::Invalid { .. }
            | Self::State { .. }
            | Self::Models { .. }
            | Self::Unreachable { .. }
            | Self::Internal { .. } => Vec::new(),
        }
    }

    fn violation(&self) -> Option<(String, String)> {
        match self {
            Self::Invalid { field, message } => Some((field.clone(), message.clone())),
            _ => None,
        }
    }

    fn arrived(mut fault: Fault) -> Self {
        match fault.reason.as_str() {
            "TOKEN_MISSING" | "TOKEN_INVALID" | "TOKEN_EXPIRED" | "ACCESS_FORBIDDEN" => {
                Self::Access(AccessError::arrived(fault))
            }
            "NOT_FOUND" => Self::NotFound {
                kind: fault.take_name("kind"),
                id: fault.take("id"),
            },
            "PROJECT_INVALID" => Self::Project(read_problems(&fault.take("problems"))),
            "BLOBS_MISSING" => Self::MissingBlobs {
                missing: fault
                    .take("missing")
                    .split(' ')
                    .filter_map(|hash| hash.parse().ok())
                    .collect(),
            },
            "REQUEST_ID_REUSED" => Self::RequestReused {
                request_id: fault.take("request_id"),
            },
            "MODELS_NOT_CALLABLE" => Self::Models {
                message: fault.message,
            },
            "QUEUE_UNAVAILABLE" => Self::Queue(QueueError::Unavailable {
                operation: fault.take_name("operation"),
                source: fault.said(),
            }),
            "DELIVERY_LOST" => Self::Queue(QueueError::Lost {
                token: fault.take("token"),
            }),
            "ALREADY_EXISTS"
            | "VERSION_CONFLICT"
            | "LEASE_STALE"
            | "STORE_INPUT_INVALID"
            | "STORE_UNWRITABLE"
            | "STORE_UNAVAILABLE"
            | "STORE_CORRUPT" => Self::Store(StoreError::arrived(fault)),
            _ => by_code(fault),
        }
    }
}

/// The nearest error of a reason that is not known here.
fn by_code(fault: Fault) -> OptimizerError {
    match fault.code {
        ErrorCode::InvalidArgument => {
            let (field, message) = fault
                .violation
                .unwrap_or_else(|| ("request".to_owned(), fault.message));
            OptimizerError::Invalid { field, message }
        }
        ErrorCode::Unauthenticated | ErrorCode::Forbidden => {
            OptimizerError::Access(AccessError::InvalidToken)
        }
        ErrorCode::FailedPrecondition | ErrorCode::AlreadyExists | ErrorCode::Conflict => {
            OptimizerError::State {
                message: fault.message,
            }
        }
        ErrorCode::NotFound | ErrorCode::Internal => OptimizerError::Internal {
            message: fault.message,
            source: None,
        },
        ErrorCode::Exhausted | ErrorCode::Timeout | ErrorCode::Unavailable => {
            OptimizerError::Unreachable {
                server: fault.server.clone(),
                source: fault.said(),
            }
        }
    }
}

fn queue_fields(error: &QueueError) -> Vec<(&'static str, String)> {
    match error {
        QueueError::Unavailable { operation, .. } => vec![("operation", (*operation).to_owned())],
        QueueError::Lost { token } => vec![("token", token.clone())],
    }
}

/// As many problems as fit, errors first in the order they were found; a last one says how many were left out.
fn problems_json(problems: &Problems) -> String {
    let mut told: Vec<&Problem> = problems.iter().collect();
    told.sort_by_key(|problem| problem.severity);
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for problem in &told {
        let json = serde_json::to_string(problem).expect("a problem has JSON: its keys are texts");
        bytes += json.len() + 1;
        if bytes > PROBLEMS_TOLD {
            break;
        }
        kept.push(json);
    }
    let left = told.len() - kept.len();
    if left > 0 {
        let rest = Problem {
            severity: Severity::Warning,
            rule: "more-problems".into(),
            file: "fapo.yaml".to_owned(),
            line: None,
            column: None,
            path: None,
            message: format!("{left} more problems are not shown"),
            help: Some("`fapo check` shows all of them".to_owned()),
        };
        kept.push(serde_json::to_string(&rest).expect("a problem has JSON: its keys are texts"));
    }
    format!("[{}]", kept.join(","))
}

/// Those that can be read.
fn read_problems(json: &str) -> Problems {
    serde_json::from_str(json).unwrap_or_default()
}

/// A port's error, made again from what a server said.
pub(crate) fn arrived<E: Travels>(fault: Fault) -> E {
    let error = E::arrived(fault);
    tracing::debug!(error.reason = error.reason(), "a call failed: {error}");
    error
}

#[cfg(test)]
mod tests;
