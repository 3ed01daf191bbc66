//! One endpoint: its address, its key, its connections, and one HTTP exchange with it.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fapo_domain::clock::Clock;
use fapo_domain::model::project::{ModelSpec, Provider};
use fapo_domain::ports::models::ModelError;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Client, Method, Request, Response, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::limiter::Limiter;
use crate::provider::EnvLookup;
use crate::retry::Failure;
use crate::wire::{Protocol, complaint, one_line};

const OPENAI: &str = "https://api.openai.com/v1";
const ANTHROPIC: &str = "https://api.anthropic.com/v1";
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// Largest reply: far above what any model writes.
const MAX_REPLY: usize = 32 * 1024 * 1024;
/// Largest part of an error that is read.
const MAX_ERROR: usize = 64 * 1024;
/// Idle connections are closed before servers and middle boxes usually do it.
const IDLE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);

/// An endpoint.
pub(crate) struct Endpoint {
    identity: Identity,
    pub(crate) protocol: Protocol,
    /// Host and port, for messages.
    pub(crate) host: String,
    url: Url,
    client: Client,
    key: Option<SecretString>,
    limiters: RwLock<Vec<ModelLimiter>>,
}

/// What of a model entry makes an endpoint.
struct Identity {
    provider: Provider,
    base_url: Option<String>,
    api_key_env: Option<String>,
    world: Option<String>,
}

/// Providers limit each model by itself, and each entry has its own cap.
struct ModelLimiter {
    model: String,
    cap: u32,
    limiter: Arc<Limiter>,
}

fn config(entry: &str, message: impl Into<String>) -> ModelError {
    ModelError::Config {
        entry: entry.to_owned(),
        message: message.into(),
    }
}

/// Puts the environment into `${NAME}`.
fn expand(entry: &str, text: &str, env: &EnvLookup) -> Result<String, ModelError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let Some((name, after)) = rest[at + 2..].split_once('}') else {
            return Err(config(
                entry,
                format!("base_url: `${{` without `}}` in {text}"),
            ));
        };
        let value = env(name)
            .filter(|value| !value.trim().is_empty())
            .ok_or_else(|| {
                config(
                    entry,
                    format!("base_url: the environment variable {name} is not set"),
                )
            })?;
        out.push_str(value.trim());
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

impl Endpoint {
    /// Opens the endpoint of a model entry. `simulated` is the address of the running simulated model, for `provider: sim`.
    pub(crate) fn open(
        entry: &str,
        spec: &ModelSpec,
        env: &EnvLookup,
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
        let base = match (&spec.base_url, simulated.or(official)) {
            (Some(base), _) => expand(entry, base, env)?,
            (None, Some(base)) => base.to_owned(),
            (None, None) => {
                return Err(config(
                    entry,
                    "the simulated model is not running: give its address as base_url, or its world file as world",
                ));
            }
        };
        let url = endpoint_url(entry, &base, protocol)?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(config(entry, format!("base_url: {base} names no host"))),
        };
        let key = match default_key {
            None => None,
            Some(default) => {
                let variable = spec.api_key_env.as_deref().unwrap_or(default);
                let key = env(variable).filter(|key| !key.trim().is_empty());
                let needed = spec.api_key_env.is_some()
                    || official.is_some_and(|official| base.starts_with(official));
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
                api_key_env: spec.api_key_env.clone(),
                world: spec.world.clone(),
            },
            protocol,
            host,
            url,
            client,
            key: key.map(|(_, key)| key),
            limiters: RwLock::default(),
        })
    }

    /// Whether calls of this entry go here.
    pub(crate) fn serves(&self, spec: &ModelSpec) -> bool {
        let mine = &self.identity;
        mine.provider == spec.provider
            && mine.base_url == spec.base_url
            && mine.api_key_env == spec.api_key_env
            && mine.world == spec.world
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
                match self.read(response, MAX_REPLY).await? {
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

    /// Reads at most `most` bytes; tells whether that was all.
    async fn read(&self, mut response: Response, most: usize) -> Result<(Bytes, bool), Failure> {
        let mut next = async || {
            response
                .chunk()
                .await
                .map_err(|error| self.unavailable(error))
        };
        let Some(first) = next().await? else {
            return Ok((Bytes::new(), true));
        };
        if first.len() > most {
            return Ok((first.slice(..most), false));
        }
        // The usual reply comes in one piece and is never copied.
        let Some(second) = next().await? else {
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
            chunk = next().await?;
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
        let complaint = match self.read(response, MAX_ERROR).await {
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

    /// Takes the key out of a text that came from outside. Done before any cutting, so no half of it stays.
    pub(crate) fn scrub(&self, text: &str) -> String {
        match &self.key {
            Some(key) => text.replace(key.expose_secret(), "[key]"),
            None => text.to_owned(),
        }
    }
}

/// An error with its sources, without the URL (the host is named apart).
fn chain(error: reqwest::Error) -> String {
    fapo_domain::error::chain(&error.without_url())
}

fn endpoint_url(entry: &str, base: &str, protocol: Protocol) -> Result<Url, ModelError> {
    let bad = |what: &str| config(entry, format!("base_url: {base} {what}"));
    let mut url = Url::parse(base.trim_end_matches('/')).map_err(|_| bad("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(config(
            entry,
            "base_url: a key does not belong into the address; set it in the environment",
        ));
    }
    let path = match url.path().trim_end_matches('/') {
        // `http://host` is a common way to write `http://host/v1`.
        "" => "/v1",
        path => path,
    };
    let call = match protocol {
        Protocol::OpenAi => "chat/completions",
        Protocol::Anthropic => "messages",
    };
    let path = format!("{path}/{call}");
    url.set_path(&path);
    Ok(url)
}

fn headers(
    entry: &str,
    protocol: Protocol,
    key: Option<&(&str, SecretString)>,
) -> Result<HeaderMap, ModelError> {
    let json = HeaderValue::from_static("application/json");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, json.clone());
    headers.insert(ACCEPT, json);
    if protocol == Protocol::Anthropic {
        headers.insert(
            HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static(ANTHROPIC_VERSION),
        );
    }
    if let Some((variable, key)) = key {
        let (name, text) = match protocol {
            Protocol::OpenAi => (AUTHORIZATION, format!("Bearer {}", key.expose_secret())),
            Protocol::Anthropic => (
                HeaderName::from_static("x-api-key"),
                key.expose_secret().to_owned(),
            ),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            config(
                entry,
                format!("the key in {variable} holds characters that no key has"),
            )
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn client(url: &Url, headers: HeaderMap) -> reqwest::Result<Client> {
    crate::install_crypto();
    let mut builder = Client::builder()
        .user_agent(concat!("fapo/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        // A redirect could carry the key elsewhere, and turns a POST into a GET.
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .http1_only();
    let loopback = url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    });
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build()
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
mod tests {
    use fapo_domain::clock::Timestamp;
    use serde_json::json;

    use super::*;

    #[derive(Debug)]
    struct At(i64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp(self.0)
        }
    }

    fn spec(value: serde_json::Value) -> ModelSpec {
        serde_json::from_value(value).unwrap()
    }

    fn open(
        value: serde_json::Value,
        env: &'static [(&str, &str)],
    ) -> Result<Endpoint, ModelError> {
        let env: EnvLookup = Arc::new(move |name| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        Endpoint::open("task", &spec(value), &env, None)
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let clock = At(784_111_770_000); // Sun, 06 Nov 1994 08:49:30 GMT
        let read = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]);
            retry_after(&headers, &clock)
        };
        assert_eq!(read("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(
            read("retry-after", "0.25"),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            read("retry-after-ms", "1500"),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            read("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            read("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"),
            Some(Duration::ZERO)
        );
        for nonsense in ["soon", "-1", "nan", "1e400", ""] {
            assert_eq!(read("retry-after", nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), &clock), None);
    }

    #[test]
    fn addresses_are_expanded_and_completed() {
        let url = |base: &str| {
            let env: EnvLookup =
                Arc::new(|name| (name == "HOST").then(|| " 127.0.0.1:1 ".to_owned()));
            let spec = spec(json!({"provider": "openai", "model": "m", "base_url": base}));
            Endpoint::open("task", &spec, &env, None).map(|endpoint| endpoint.url.to_string())
        };
        let full = "http://127.0.0.1:1/v1/chat/completions";
        assert_eq!(url("http://${HOST}/v1").unwrap(), full);
        assert_eq!(url("http://127.0.0.1:1/v1/").unwrap(), full);
        assert_eq!(url("http://127.0.0.1:1").unwrap(), full);
        assert_eq!(
            url("https://gateway.test/openai/v4").unwrap(),
            "https://gateway.test/openai/v4/chat/completions"
        );
        for (bad, what) in [
            ("http://${NOWHERE}/v1", "NOWHERE is not set"),
            ("http://${HOST", "without `}`"),
            ("not a url", "is not a URL"),
            ("ftp://x/v1", "neither http nor https"),
            ("http://me:secret@x/v1", "does not belong"),
        ] {
            let message = url(bad).unwrap_err().to_string();
            assert!(message.contains(what), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn keys_are_needed_where_they_are_and_only_there() {
        let official = json!({"provider": "openai", "model": "m"});
        assert!(matches!(
            open(official.clone(), &[]),
            Err(ModelError::NoKey { variable, .. }) if variable == "OPENAI_API_KEY"
        ));
        assert!(open(official, &[("OPENAI_API_KEY", "k\n")]).is_ok());
        let local =
            json!({"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"});
        assert!(open(local, &[]).unwrap().key.is_none());
        let named = json!({"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key_env": "MINE"});
        assert!(
            matches!(open(named.clone(), &[]), Err(ModelError::NoKey { variable, .. }) if variable == "MINE")
        );
        assert!(open(named, &[("MINE", "k")]).unwrap().key.is_some());
        let anthropic = json!({"provider": "anthropic", "model": "m"});
        assert!(matches!(
            open(anthropic, &[("ANTHROPIC_API_KEY", " ")]),
            Err(ModelError::NoKey { .. })
        ));
        let sim = json!({"provider": "sim", "model": "m"});
        assert!(matches!(open(sim, &[]), Err(ModelError::Config { .. })));
        let broken = json!({"provider": "openai", "model": "m"});
        let error = open(broken, &[("OPENAI_API_KEY", "ab\u{7}cd")])
            .err()
            .unwrap();
        assert!(error.is_configuration());
        assert!(!format!("{error:?}").contains("cd"));
    }
}
