//! Tokens.

use fapo_domain::model::access::{Role, TokenRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Moment;

/// A role that a token can be given here. A process of the cluster gets its token on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PersonRole {
    /// Read.
    Viewer,
    /// Also upload, submit, cancel, pause, resume, retry.
    Submitter,
    /// Also make and revoke the project's tokens.
    Admin,
}

impl From<PersonRole> for Role {
    fn from(role: PersonRole) -> Self {
        match role {
            PersonRole::Viewer => Self::Viewer,
            PersonRole::Submitter => Self::Submitter,
            PersonRole::Admin => Self::Admin,
        }
    }
}

/// A token to be made.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenBody {
    /// For people.
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")
    )]
    pub name: String,
    /// What it allows: never more than the token that asks.
    pub role: PersonRole,
    /// The project; where absent that of the token that asks, which for an administrator of all projects is every project.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"))]
    pub project: Option<String>,
    /// After how many seconds it ends; never where absent.
    #[serde(default, deserialize_with = "super::whole")]
    #[schemars(with = "Option<u64>", range(min = 1, max = 3_153_600_000_u64))]
    pub expires_in_seconds: Option<u64>,
}

/// A token, without its text.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TokenView {
    /// The public part of its text.
    pub id: String,
    /// For people.
    pub name: String,
    /// The project; `null` is every project.
    pub project: Option<String>,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created_at: Moment,
    /// When it ends; `null` is never.
    pub expires_at: Option<Moment>,
    /// When it was revoked.
    pub revoked_at: Option<Moment>,
}

impl From<TokenRecord> for TokenView {
    fn from(token: TokenRecord) -> Self {
        Self {
            id: token.id,
            name: token.name,
            project: token.project,
            role: token.role,
            created_at: token.created_at.into(),
            expires_at: token.expires_at.map(Into::into),
            revoked_at: token.revoked_at.map(Into::into),
        }
    }
}

/// A token that was just made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MadeTokenView {
    /// Its whole text. It is shown this once, and kept nowhere.
    pub token: String,
    /// What is kept of it.
    pub record: TokenView,
}
