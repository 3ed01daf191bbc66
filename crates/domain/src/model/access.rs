//! Who calls, and what they may do.

mod token;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Classified, ErrorCode, Retry};
use crate::hash::ContentHash;

pub use token::NewToken;

/// What a token allows, each including what stands before it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read the project's jobs, runs, lineage, reports.
    Viewer,
    /// Also upload, submit, cancel, pause, resume, retry.
    Submitter,
    /// Also make and revoke the project's tokens.
    Admin,
    /// A process of the cluster: run cases, ingest runs, score, for any project. Never for a person.
    Service,
}

impl Role {
    /// The name in rows and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Submitter => "submitter",
            Self::Admin => "admin",
            Self::Service => "service",
        }
    }

    /// The role of that name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Submitter, Self::Admin, Self::Service]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

/// A secret that a caller showed, kept to be passed on to the next server, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Arc<str>);

impl Credential {
    /// Wraps a secret.
    pub fn new(secret: impl AsRef<str>) -> Self {
        Self(Arc::from(secret.as_ref()))
    }

    /// The secret. For a header to be sent, and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is, for logs: the token's name.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
    /// The one project they may touch; `None` is every project.
    pub project: Option<Arc<str>>,
    /// What they showed, to be passed on where the call goes on to another server.
    pub credential: Option<Credential>,
}

impl Caller {
    /// The person at the keyboard of an embedded fapo, and a server that was told to ask for no tokens.
    pub fn local() -> Self {
        Self {
            name: "local".into(),
            role: Role::Service,
            project: None,
            credential: None,
        }
    }

    /// Whether `project` is theirs to see at all.
    pub fn sees(&self, project: &str) -> bool {
        self.project
            .as_deref()
            .is_none_or(|theirs| theirs == project)
    }

    /// Holds the caller against what a call needs.
    ///
    /// # Errors
    /// [`AccessError::Forbidden`] where the role is less than `needed`.
    pub fn need(&self, needed: Role) -> Result<(), AccessError> {
        if self.role >= needed {
            Ok(())
        } else {
            Err(AccessError::Forbidden {
                name: self.name.to_string(),
                role: self.role,
                needed,
            })
        }
    }
}

/// Why a caller was turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No token came with the call.
    #[error("no token was given: send `authorization: Bearer fapo_...`")]
    NoToken,
    /// The token is none of ours, or was revoked.
    #[error("the token is not valid")]
    InvalidToken,
    /// The token's time is over.
    #[error("the token {name:?} expired")]
    ExpiredToken {
        /// Its name.
        name: String,
    },
    /// The token does not allow this.
    #[error("the token {name:?} is a {}'s; this needs {}", role.as_str(), needed.as_str())]
    Forbidden {
        /// Its name.
        name: String,
        /// What it allows.
        role: Role,
        /// What would be needed.
        needed: Role,
    },
}

impl Classified for AccessError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoToken | Self::InvalidToken | Self::ExpiredToken { .. } => {
                ErrorCode::Unauthenticated
            }
            Self::Forbidden { .. } => ErrorCode::Forbidden,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "TOKEN_MISSING",
            Self::InvalidToken => "TOKEN_INVALID",
            Self::ExpiredToken { .. } => "TOKEN_EXPIRED",
            Self::Forbidden { .. } => "ACCESS_FORBIDDEN",
        }
    }
}

/// A token's row: everything but its secret, of which only the hash is kept. A secret has 256 random bits, so a fast hash is
/// enough: there is nothing to guess.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The public part: 16 hex digits, also in the token's text.
    pub id: String,
    /// SHA-256 of the token's whole text.
    #[serde(skip)]
    pub hash: Option<ContentHash>,
    /// For people.
    pub name: String,
    /// The project; `None` is every project.
    pub project: Option<String>,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl TokenRecord {
    /// The caller that shows this token at `now`.
    ///
    /// # Errors
    /// Where it was revoked, or its time is over.
    pub fn caller(
        &self,
        now: Timestamp,
        credential: Option<Credential>,
    ) -> Result<Caller, AccessError> {
        if self.revoked_at.is_some() {
            return Err(AccessError::InvalidToken);
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(AccessError::ExpiredToken {
                name: self.name.clone(),
            });
        }
        Ok(Caller {
            name: self.name.as_str().into(),
            role: self.role,
            project: self.project.as_deref().map(Into::into),
            credential,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> TokenRecord {
        TokenRecord {
            id: "0123456789abcdef".to_owned(),
            hash: None,
            name: "ci".to_owned(),
            project: Some("qa".to_owned()),
            role: Role::Submitter,
            created_at: Timestamp(0),
            expires_at: Some(Timestamp(10)),
            revoked_at: None,
        }
    }

    #[test]
    fn a_token_serves_until_its_end_and_not_once_revoked() {
        let caller = record().caller(Timestamp(9), None).unwrap();
        assert!(caller.sees("qa") && !caller.sees("other"));
        assert!(caller.need(Role::Viewer).is_ok() && caller.need(Role::Submitter).is_ok());
        assert_eq!(
            caller.need(Role::Admin).unwrap_err().reason(),
            "ACCESS_FORBIDDEN"
        );
        let late = record().caller(Timestamp(10), None).unwrap_err();
        assert_eq!(late.reason(), "TOKEN_EXPIRED");
        let revoked = TokenRecord {
            revoked_at: Some(Timestamp(1)),
            ..record()
        };
        let refused = revoked.caller(Timestamp(2), None).unwrap_err();
        assert_eq!(refused, AccessError::InvalidToken);
    }

    #[test]
    fn a_credential_is_not_printed() {
        let caller = Caller {
            credential: Some(Credential::new("fapo_secret")),
            ..Caller::local()
        };
        assert!(!format!("{caller:?}").contains("fapo_secret"));
    }
}
