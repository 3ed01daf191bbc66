//! A client of a world.

use std::sync::LazyLock;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use serde_json::Value;

use crate::world::World;

/// The client of all tests; TLS is by ring. It keeps no connections: each test has a runtime of its own, and a connection
/// ends with the runtime that it was made in.
pub fn client() -> Client {
    static CLIENT: LazyLock<Client> = LazyLock::new(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client without settings of its own can be built")
    });
    CLIENT.clone()
}

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub method: Method,
    pub path: String,
    pub token: Option<String>,
    pub headers: HeaderMap,
    pub body: Option<Vec<u8>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Ask {
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            ..Self::default()
        }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header's value of a test");
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// A JSON body.
    pub fn json(self, body: &Value) -> Self {
        let mut ask = self.header("content-type", "application/json");
        ask.body = Some(body.to_string().into_bytes());
        ask
    }

    /// Raw bytes.
    pub fn bytes(self, body: impl Into<Vec<u8>>) -> Self {
        let mut ask = self.header("content-type", "application/octet-stream");
        ask.body = Some(body.into());
        ask
    }

    /// With the token of one of the world's holders.
    pub fn with(mut self, world: &World, holder: &str) -> Self {
        self.token = Some(world.tokens[holder].clone());
        self
    }

    pub async fn send(self, world: &World) -> anyhow::Result<Reply> {
        let mut request = client()
            .request(self.method, world.url(&self.path))
            .headers(self.headers);
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await?;
        Ok(Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            bytes: response.bytes().await?.to_vec(),
        })
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The reason of a problem, once it is sure that it is one, whole and of one shape.
    pub fn reason(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        for key in ["type", "title", "detail"] {
            let text = problem[key].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{key}: {problem}");
        }
        problem["type"].as_str().unwrap_or_default().to_owned()
    }

    /// The fields that a problem names.
    pub fn fields(&self) -> Vec<String> {
        let problem = self.json();
        let parts = problem["errors"].as_array().cloned().unwrap_or_default();
        parts
            .iter()
            .map(|part| part["field"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}
