//! One question to a server of ours, over HTTP: whether it is ready.

use std::time::Duration;

/// Most bytes of an answer that are read.
const LARGEST: usize = 64 << 10;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
#[error("{url} does not answer")]
pub struct GetError {
    /// What was asked.
    pub url: String,
    /// What happened.
    #[source]
    pub source: reqwest::Error,
}

/// GETs `url` once, past any proxy and following no redirect, and returns status and body (its beginning, where it is long).
///
/// # Errors
/// When there is no answer within `timeout`.
pub async fn get(url: &str, timeout: Duration) -> Result<(u16, String), GetError> {
    let told = |source| GetError {
        url: url.to_owned(),
        source,
    };
    let client = reqwest::Client::builder()
        .timeout(timeout)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(told)?;
    let mut answer = client
        .get(url)
        .send()
        .await
        .map_err(|e| told(e.without_url()))?;
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    while body.len() < LARGEST
        && let Some(part) = answer.chunk().await.map_err(told)?
    {
        body.extend_from_slice(&part);
    }
    body.truncate(LARGEST);
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
