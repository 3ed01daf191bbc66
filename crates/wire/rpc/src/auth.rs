//! Who calls: the bearer token of a call becomes a [`Caller`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fapo_domain::ContentHash;
use fapo_domain::clock::{Clock, Timestamp};
use fapo_domain::model::access::{AccessError, Caller, Credential, TokenRecord};
use fapo_domain::ports::access::Tokens;
use tonic::{Request, Status};

use crate::fault::status;

/// How long a token that was found is not looked up again. A revoked token serves that much longer at most; a token's own end
/// is held to the moment.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Tokens remembered at once.
const MOST: usize = 4096;

/// Finds out who calls.
pub struct Authenticator {
    tokens: Option<Arc<dyn Tokens>>,
    clock: Arc<dyn Clock>,
    seen: Mutex<HashMap<ContentHash, (Timestamp, TokenRecord)>>,
}

impl Authenticator {
    /// By the token that a call brings; a call without one is turned away.
    pub fn by_token(tokens: Arc<dyn Tokens>, clock: Arc<dyn Clock>) -> Self {
        Self {
            tokens: Some(tokens),
            clock,
            seen: Mutex::default(),
        }
    }

    /// Everybody is [`Caller::local`]: for a server that nobody but its own machine can reach.
    pub fn off(clock: Arc<dyn Clock>) -> Self {
        Self {
            tokens: None,
            clock,
            seen: Mutex::default(),
        }
    }

    /// The caller that shows `authorization`, the header's value.
    pub(crate) async fn caller(&self, authorization: Option<&str>) -> Result<Caller, Status> {
        let Some(tokens) = &self.tokens else {
            return Ok(Caller::local());
        };
        let secret = authorization
            .and_then(bearer)
            .ok_or_else(|| status(&AccessError::NoToken))?;
        let hash = ContentHash::of(secret.as_bytes());
        let now = self.clock.now();
        let record = match self.remembered(hash, now) {
            Some(record) => record,
            None => {
                let found = tokens.find_token(hash).await.map_err(|e| status(&e))?;
                let record = found.ok_or_else(|| status(&AccessError::InvalidToken))?;
                self.remember(hash, now, record.clone());
                record
            }
        };
        record
            .caller(now, Some(Credential::new(secret)))
            .map_err(|error| status(&error))
    }

    fn remembered(&self, hash: ContentHash, now: Timestamp) -> Option<TokenRecord> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&hash)
            .filter(|(until, _)| now < *until)
            .map(|(_, record)| record.clone())
    }

    fn remember(&self, hash: ContentHash, now: Timestamp, record: TokenRecord) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.retain(|_, (until, _)| now < *until);
        }
        if seen.len() < MOST {
            seen.insert(hash, (now.plus(REMEMBERED), record));
        }
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("by_token", &self.tokens.is_some())
            .finish_non_exhaustive()
    }
}

/// The token of `Bearer <token>`; the scheme's name in any case of letters (RFC 9110, 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The caller of a request, which the guard has put there.
pub(crate) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| status(&AccessError::NoToken))
}
