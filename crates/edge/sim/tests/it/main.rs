//! The simulated model over real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up must fail, in helpers too"
)]

mod behaviours;
mod faults;
mod readme;

use std::net::{Ipv4Addr, SocketAddr};

use fapo_sim::{SimHandle, SimServer, World};
use serde_json::{Value, json};

/// A running world and a client for it.
struct Sim {
    handle: SimHandle,
    http: reqwest::Client,
}

impl Sim {
    async fn start(world: &Value) -> Self {
        Self::start_text(&world.to_string()).await
    }

    async fn start_text(world: &str) -> Self {
        // A second installation reports that there is one already, which is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let world = World::load(world).unwrap();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            handle: SimServer::start(world, addr).await.unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> reqwest::Result<reqwest::Response> {
        self.http
            .post(format!("{}{path}", self.handle.base_url()))
            .json(body)
            .send()
            .await
    }

    /// The whole reply to a chat request with `extra` keys.
    async fn chat(&self, prompt: &str, extra: Value) -> Value {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": prompt}]});
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        let response = self.post("/chat/completions", &body).await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    /// The text of the reply to a prompt at temperature 0.
    async fn ask(&self, prompt: &str) -> String {
        let reply = self.chat(prompt, json!({"temperature": 0})).await;
        reply["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}
