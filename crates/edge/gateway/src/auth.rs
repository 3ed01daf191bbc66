//! Who calls: the bearer token of a request, or nobody in particular.

use axum::http::{HeaderMap, header};
use fapo_domain::model::access::{AccessError, Caller, Credential, NewToken};

use crate::client;
use crate::config::AuthMode;
use crate::problem::Problem;
use crate::rate::Payer;
use crate::router::Api;

/// The token's text in `Authorization`.
fn bearer(headers: &HeaderMap) -> Result<&str, AccessError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = given.next() else {
        return Err(AccessError::NoToken);
    };
    if given.next().is_some() {
        return Err(AccessError::InvalidToken);
    }
    let text = first.to_str().map_err(|_| AccessError::InvalidToken)?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(AccessError::InvalidToken),
    }
}

/// Finds out who calls, and counts the request on their rate. A request whose token is not good counts on its address, so
/// that guessing is as slow as asking without one.
///
/// # Errors
/// 401 with what is wrong with the token; 429 where the rate is used up; 503 where tokens cannot be looked up.
pub(crate) async fn caller(
    api: &Api,
    extensions: &axum::http::Extensions,
    headers: &HeaderMap,
) -> Result<Caller, Problem> {
    let stranger = client::address(extensions, headers, api.config.trust_proxy)
        .map_or(Payer::Others, Payer::Address);
    if api.config.auth == AuthMode::Off {
        count(api, stranger)?;
        return Ok(Caller::local());
    }
    match known(api, headers).await {
        Ok((caller, payer)) => {
            count(api, payer)?;
            Ok(caller)
        }
        Err(problem) => {
            count(api, stranger)?;
            Err(problem)
        }
    }
}

/// The caller whose token it is, and the token as payer.
async fn known(api: &Api, headers: &HeaderMap) -> Result<(Caller, Payer), Problem> {
    let text = bearer(headers)?;
    let hash = NewToken::hash_of(text).ok_or(AccessError::InvalidToken)?;
    let record = api.ports.tokens.find_token(hash).await?;
    let caller = record
        .ok_or(AccessError::InvalidToken)?
        .caller(api.ports.clock.now(), Some(Credential::new(text)))?;
    Ok((caller, Payer::Token(hash)))
}

/// Counts one request.
pub(crate) fn count(api: &Api, payer: Payer) -> Result<(), Problem> {
    api.rates
        .take(payer, api.ports.clock.now())
        .map_err(|wait| {
            Problem::new(
                axum::http::StatusCode::TOO_MANY_REQUESTS,
                "RATE_LIMITED",
                "too many requests: wait as long as Retry-After says",
            )
            .retry_after(wait)
        })
}
