//! One endpoint: its address, its key, its connections, and one HTTP exchange with it.

mod setup;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fapo_domain::clock::Clock;
use fapo_domain::hash::Hasher;
use fapo_domain::model::project::{ModelSpec, Provider};
use fapo_domain::ports::models::ModelError;
use reqwest::header::{HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Request, RequestBuilder, Response, Url};
use secrecy::{ExposeSecret, SecretString};

use self::setup::{client, config, endpoint_url, expand, headers};
use crate::addresses::Addresses;
use crate::limiter::Limiter;
use crate::provider::EnvLookup;
use crate::retry::Failure;
use crate::wire::{Protocol, complaint, one_line};

const OPENAI: &str = "https://api.openai.com/v1";
const ANTHROPIC: &str = "https://api.anthropic.com/v1";

/// Largest reply: far above what any model writes.
const MAX_REPLY: usize = 32 * 1024 * 1024;
/// Largest part of an error that is read.
const MAX_ERROR: usize = 64 * 1024;

/// An endpoint.
pub(crate) struct Endpoint {
    identity: Identity,
    pub(crate) protocol: Protocol,
    /// Host and port, for messages.
    pub(crate) host: String,
    url: Url,
    client: Client,
    key: Option<SecretString>,
    /// What the environment put into the address.
    hidden: Vec<SecretString>,
    limiters: RwLock<Vec<ModelLimiter>>,
}

/// What of a model entry makes an endpoint.
struct Identity {
    provider: Provider,
    base_url: Option<String>,
    address_hash: Option<String>,
    api_key_env: Option<String>,
    world: Option<String>,
}

/// Providers limit each model by itself, and each entry has its own cap.
struct ModelLimiter {
    model: String,
    cap: u32,
    limiter: Arc<Limiter>,
}

impl Endpoint {
    /// Opens the endpoint of a model entry, where `addresses` admits it. `simulated` is the address of the running simulated model, for `provider: sim`.
    pub(crate) fn open(
        entry: &str,
        spec: &ModelSpec,
        env: &EnvLookup,
        addresses: &Addresses,
        simulated: Option<&str>,
    ) -> Result<Self, ModelError> {
        let (protocol, official, default_key) = match spec.provider {
            Provider::Openai => (Protocol::OpenAi, Some(OPENAI), Some("OPENAI_API_KEY")),
            Provider::Anthropic => (
                Protocol::Anthropic,
                Some(ANTHROPIC),
                Some("ANTHROPIC_API_KEY"),
            ),
            Provider::Sim => (Protocol::OpenAi, None, None),
        };
        let mut hidden = Vec::new();
        let base = match (&spec.base_url, simulated.or(official)) {
            (Some(base), _) => expand(entry, base, env, &mut hidden)?,
            (None, Some(base)) => base.to_owned(),
            (None, None) => {
                return Err(config(
                    entry,
                    "the simulated model is not running: give its address as base_url, or its world file as world",
                ));
            }
        };
        if let Some(known) = &spec.address_hash
            && *known != ModelSpec::hash_of_address(&base)
        {
            return Err(config(
                entry,
                format!(
                    "base_url: {} stands for another address now than when the job was submitted; set its variables as \
                     they were, or start anew",
                    spec.base_url.as_deref().unwrap_or_default()
                ),
            ));
        }
        // What stands in the file, not what the environment put into it, is shown.
        let shown = spec.base_url.as_deref().unwrap_or(&base);
        if !addresses.admit(spec, &base, official, env) {
            return Err(config(
                entry,
                format!(
                    "base_url: {shown} is no address that models may be called at here: leave it out, or begin it with a \
                     variable of models.env that holds an address; whoever runs the server can add it to models.base_urls"
                ),
            ));
        }
        let url = endpoint_url(entry, &base, shown, protocol)?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(config(entry, format!("base_url: {shown} names no host"))),
        };
        let key = match default_key {
            None => None,
            Some(default) => {
                let variable = spec.api_key_env.as_deref().unwrap_or(default);
                let key = env(variable).filter(|key| !key.trim().is_empty());
                let needed = spec.api_key_env.is_some()
                    || official.is_some_and(|official| {
                        Url::parse(official).is_ok_and(|official| official.host() == url.host())
                    });
                if key.is_none() && needed {
                    return Err(ModelError::NoKey {
                        entry: entry.to_owned(),
                        variable: variable.to_owned(),
                    });
                }
                key.map(|key| (variable, SecretString::from(key.trim())))
            }
        };
        let headers = headers(entry, protocol, key.as_ref())?;
        let client = client(&url, headers)
            .map_err(|error| config(entry, format!("no HTTP client: {}", chain(error))))?;
        Ok(Self {
            identity: Identity {
                provider: spec.provider,
                base_url: spec.base_url.clone(),
                address_hash: spec.address_hash.clone(),
                api_key_env: spec.api_key_env.clone(),
                world: spec.world.clone(),
            },
            protocol,
            host,
            url,
            client,
            key: key.map(|(_, key)| key),
            hidden,
            limiters: RwLock::default(),
        })
    }

    /// Whether calls of this entry go here.
    pub(crate) fn serves(&self, spec: &ModelSpec) -> bool {
        let mine = &self.identity;
        mine.provider == spec.provider
            && mine.base_url == spec.base_url
            && mine.address_hash == spec.address_hash
            && mine.api_key_env == spec.api_key_env
            && mine.world == spec.world
    }

    /// The name under which all processes share a model's limits: where it is, whose account, which model. A hash, since the
    /// address may hold what the environment put into it; the key has no part in it.
    pub(crate) fn shared_key(&self, spec: &ModelSpec) -> String {
        let mut hasher = Hasher::new("shared-limit/v1");
        hasher
            .part(spec.provider.as_str().as_bytes())
            .part(self.url.as_str().as_bytes())
            .part(spec.api_key_env.as_deref().unwrap_or_default().as_bytes())
            .part(spec.model.as_bytes());
        hasher.finish().to_string()
    }

    /// The limiter of a model entry.
    pub(crate) fn limiter(&self, spec: &ModelSpec) -> Arc<Limiter> {
        let find = |limiters: &[ModelLimiter]| {
            limiters
                .iter()
                .find(|limiter| limiter.cap == spec.concurrency && limiter.model == spec.model)
                .map(|limiter| Arc::clone(&limiter.limiter))
        };
        const POISON: &str = "nothing panics while the limiters are held";
        if let Some(limiter) = find(&self.limiters.read().expect(POISON)) {
            return limiter;
        }
        let mut limiters = self.limiters.write().expect(POISON);
        find(&limiters).unwrap_or_else(|| {
            let limiter = Limiter::new(spec.concurrency);
            limiters.push(ModelLimiter {
                model: spec.model.clone(),
                cap: spec.concurrency,
                limiter: Arc::clone(&limiter),
            });
            limiter
        })
    }

    /// Sends a body and reads the body of a success.
    pub(crate) async fn exchange(
        &self,
        body: Bytes,
        timeout: Duration,
        clock: &dyn Clock,
    ) -> Result<Bytes, Failure> {
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.body_mut() = Some(body.into());
        let exchange = async {
            let response = self
                .client
                .execute(request)
                .await
                .map_err(|error| self.unavailable(error))?;
            if response.status().is_success() {
                match Self::read(response, MAX_REPLY)
                    .await
                    .map_err(|error| self.cut_off(error))?
                {
                    (body, true) => Ok(body),
                    (_, false) => Err(Failure::TooLarge),
                }
            } else {
                Err(self.refusal(response, clock).await)
            }
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or(Err(Failure::Timeout))
    }

    /// A request to another path beside the one for calls, with this endpoint's key; `path` as after `/v1/`.
    pub(crate) fn post(&self, path: &str, body: Bytes) -> RequestBuilder {
        let mut url = self.url.clone();
        let base = url
            .path()
            .strip_suffix(self.protocol.call())
            .unwrap_or_default();
        let path = format!("{base}{path}");
        url.set_path(&path);
        self.client.post(url).body(body)
    }

    /// Reads at most `most` bytes; tells whether that was all.
    pub(crate) async fn read(
        mut response: Response,
        most: usize,
    ) -> Result<(Bytes, bool), reqwest::Error> {
        let Some(first) = response.chunk().await? else {
            return Ok((Bytes::new(), true));
        };
        if first.len() > most {
            return Ok((first.slice(..most), false));
        }
        // The usual reply comes in one piece and is never copied.
        let Some(second) = response.chunk().await? else {
            return Ok((first, true));
        };
        let mut all = BytesMut::from(first);
        let mut chunk = Some(second);
        while let Some(bytes) = chunk {
            if all.len() + bytes.len() > most {
                all.extend_from_slice(&bytes[..most - all.len()]);
                return Ok((all.freeze(), false));
            }
            all.extend_from_slice(&bytes);
            chunk = response.chunk().await?;
        }
        Ok((all.freeze(), true))
    }

    /// What an error's status, headers and body mean.
    async fn refusal(&self, response: Response, clock: &dyn Clock) -> Failure {
        let status = response.status().as_u16();
        let headers = response.headers();
        let retry_after = retry_after(headers, clock);
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let said = text(&HeaderName::from_static("x-should-retry")).map(str::to_owned);
        let location = text(&LOCATION).map(str::to_owned);
        let complaint = match Self::read(response, MAX_ERROR).await {
            Ok((body, _)) => complaint(&body),
            // The status alone says enough.
            Err(_) => crate::wire::Complaint::default(),
        };
        let mut message = self.scrub(&complaint.message);
        if let Some(location) = location {
            message = format!("redirected to {} {message}", self.scrub(&location));
        }
        let message = one_line(&message);
        let quota = complaint
            .kinds
            .iter()
            .any(|kind| kind == "insufficient_quota");
        // Anthropic says this with a 400, as if it were about the request; no other request would fare better.
        let unpaid = status == 400 && message.contains("credit balance is too low");
        let status = if unpaid { 402 } else { status };
        let passes = match said.as_deref() {
            Some("true") => true,
            Some("false") => false,
            Some(_) | None => !quota && matches!(status, 408 | 409 | 429 | 500 | 502..=599),
        };
        if !passes {
            Failure::Rejected { status, message }
        } else if matches!(status, 429 | 503 | 529) {
            Failure::Overloaded {
                status,
                retry_after,
            }
        } else {
            Failure::Unavailable {
                message: format!("status {status}: {message}"),
                retry_after,
            }
        }
    }

    fn unavailable(&self, error: reqwest::Error) -> Failure {
        Failure::Unavailable {
            message: one_line(&self.scrub(&chain(error))),
            retry_after: None,
        }
    }

    /// The status said that the reply is there, and not all of it came.
    fn cut_off(&self, error: reqwest::Error) -> Failure {
        Failure::CutOff {
            message: format!(
                "the reply broke off: {}",
                one_line(&self.scrub(&chain(error)))
            ),
        }
    }

    /// Takes the key, and what the environment put into the address, out of a text that came from outside. Done before
    /// any cutting, so no half of it stays.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let mut text = match &self.key {
            Some(key) => text.replace(key.expose_secret(), "[key]"),
            None => text.to_owned(),
        };
        for value in &self.hidden {
            text = text.replace(value.expose_secret(), "[hidden]");
        }
        text
    }
}

/// An error with its sources, without the URL (the host is named apart).
pub(crate) fn chain(error: reqwest::Error) -> String {
    fapo_domain::error::chain(&error.without_url())
}

/// How long the provider asks to be left alone: `retry-after-ms`, or `Retry-After` in seconds or as a date (RFC 9110
/// 10.2.3).
fn retry_after(headers: &HeaderMap, clock: &dyn Clock) -> Option<Duration> {
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let number = |text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && *number >= 0.0)
    };
    if let Some(ms) = text(HeaderName::from_static("retry-after-ms")).and_then(number) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let text = text(RETRY_AFTER)?;
    if let Some(seconds) = number(text) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let wait = date.timestamp().as_millisecond() - clock.now().0;
    Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
