//! From a model entry to an address, headers and an HTTP client.

use std::time::Duration;

use fapo_domain::ports::models::ModelError;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::provider::EnvLookup;
use crate::wire::Protocol;

const ANTHROPIC_VERSION: &str = "2023-06-01";
/// Idle connections are closed before servers and middle boxes usually do it.
const IDLE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);

pub(super) fn config(entry: &str, message: impl Into<String>) -> ModelError {
    ModelError::Config {
        entry: entry.to_owned(),
        message: message.into(),
    }
}

/// Puts the environment into `${NAME}`, and what it put there into `values`: not shown to anybody, unless it is the whole
/// address.
pub(super) fn expand(
    entry: &str,
    text: &str,
    env: &EnvLookup,
    values: &mut Vec<SecretString>,
) -> Result<String, ModelError> {
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
        let value = value.trim();
        out.push_str(value);
        if !value.contains("://") {
            values.push(SecretString::from(value));
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The URL that calls go to. Errors show `shown` for the address.
pub(super) fn endpoint_url(
    entry: &str,
    base: &str,
    shown: &str,
    protocol: Protocol,
) -> Result<Url, ModelError> {
    let bad = |what: &str| config(entry, format!("base_url: {shown} {what}"));
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
    let path = format!("{path}/{}", protocol.call());
    url.set_path(&path);
    Ok(url)
}

pub(super) fn headers(
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

pub(super) fn client(url: &Url, headers: HeaderMap) -> reqwest::Result<Client> {
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
    if url.scheme() == "http" {
        // No TLS will be spoken, so the system's certificates need not be read.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}
