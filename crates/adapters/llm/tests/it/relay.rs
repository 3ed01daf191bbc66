//! The relay between a client and the scripted endpoint, paid from a real ledger.

mod caps;
mod passing;
mod real;
mod refusing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::MicroUsd;
use fapo_domain::ids::JobId;
use fapo_domain::model::task::Fence;
use fapo_domain::money::{SpendRole, Usage};
use fapo_domain::ports::ledger::{Balance, Caps, Ledger};
use fapo_domain::ports::relay::{Relay, RelayError, RelayGrant, Relays};
use fapo_llm::{Addresses, LlmRelays, PriceTable, RelayConfig};
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::messages::{Conversation, Move, Script, ScriptedMessages};
use fapo_testkit::sample;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

const KEY: &str = "sk-ant-the-real-key";

/// A provider, a ledger, and relays between them.
struct Lab {
    folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    claude: ScriptedMessages,
    config: RelayConfig,
    addresses: Addresses,
}

impl Lab {
    /// Plays these moves to everybody, in the order in which they ask.
    async fn playing(moves: impl IntoIterator<Item = Move>) -> Self {
        let conversation = Conversation::new("any").tools_or_not();
        let conversation = moves
            .into_iter()
            .fold(conversation, |conversation, next| conversation.then(next));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let clock = ManualClock::new();
        let store = SqliteStore::open(&path, clock, StoreOptions::default());
        let lab = Self {
            store: Arc::new(store.await.unwrap()),
            claude: ScriptedMessages::start(Script::new().conversation(conversation)).unwrap(),
            folder,
            config: RelayConfig {
                drain: Duration::from_secs(5),
                ..RelayConfig::default()
            },
            addresses: Addresses::any(),
        };
        lab.cap(None).await;
        lab
    }

    async fn cap(&self, cost: Option<u64>) {
        let caps = Caps {
            cost: cost.map(MicroUsd),
            model_calls: None,
        };
        self.store.open_account(job(), caps).await.unwrap();
    }

    fn grant(&self) -> RelayGrant {
        let model = json!({
            "provider": "anthropic", "model": "claude-scripted", "base_url": "${ADDRESS}",
            "price": {"input": 1.0, "output": 2.0, "cached_input": 0.5},
        });
        RelayGrant {
            entry: "proposer".to_owned(),
            model: serde_json::from_value(model).unwrap(),
            job: job(),
            fence: Fence {
                task: sample::task_id(job(), 1),
                epoch: 1,
            },
            role: SpendRole::Proposer,
            cost: None,
            requests: None,
        }
    }

    async fn try_open(&self, grant: RelayGrant) -> Result<Box<dyn Relay>, RelayError> {
        let address = self.claude.base_url();
        let env = Arc::new(move |name: &str| match name {
            "ANTHROPIC_API_KEY" => Some(KEY.to_owned()),
            "ADDRESS" => Some(address.clone()),
            _ => None,
        });
        let ledger: Arc<dyn Ledger> = Arc::<SqliteStore>::clone(&self.store);
        LlmRelays::new(env, PriceTable::builtin(), ledger)
            .with_addresses(self.addresses.clone())
            .with_config(self.config)
            .open(grant, self.folder.path())
            .await
    }

    async fn open(&self) -> Box<dyn Relay> {
        self.try_open(self.grant()).await.unwrap()
    }

    async fn balance(&self) -> Balance {
        self.store.balance(job()).await.unwrap()
    }
}

fn job() -> JobId {
    sample::job_id(1)
}

fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage {
        input_tokens,
        output_tokens,
        ..Usage::default()
    }
}

fn body(max_tokens: u64, stream: bool) -> Value {
    json!({
        "model": "claude-scripted", "max_tokens": max_tokens, "stream": stream,
        "messages": [{"role": "user", "content": "go"}],
    })
}

async fn client(socket: &Path) -> SendRequest<Full<Bytes>> {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "relay")
        .header("x-api-key", "the-clients-own-key")
        .header("authorization", "Bearer the-clients-own-token")
        .header("cookie", "the-clients-cookie")
        .header("anthropic-beta", "some-beta")
        .header("user-agent", "claude-cli/test")
        .header("accept-encoding", "gzip, br")
        .body(Full::new(body.into()))
        .unwrap()
}

/// Sends a request for a message; the reply's body is still to be read.
async fn send(socket: &Path, body: &Value) -> Response<Incoming> {
    let request = request("POST", "/v1/messages?beta=true", body.to_string());
    client(socket).await.send_request(request).await.unwrap()
}

/// A reply, read whole.
struct Read {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Read {
    fn error(&self) -> (u16, String) {
        let body: Value = serde_json::from_str(&self.text).unwrap();
        let kind = body["error"]["type"].as_str().unwrap();
        (self.status.as_u16(), kind.to_owned())
    }
}

async fn read(response: Response<Incoming>) -> Read {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Read {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

async fn ask(relay: &dyn Relay, max_tokens: u64) -> Read {
    read(send(relay.socket(), &body(max_tokens, false)).await).await
}

/// The most a request can cost at the lab's price.
fn worst(body: &Value) -> u64 {
    let max_tokens = body["max_tokens"].as_u64().unwrap();
    body.to_string().len() as u64 + 2 * max_tokens
}

fn spent(balance: &Balance, role: SpendRole) -> (u64, u64) {
    balance
        .spent
        .iter()
        .find(|(known, _)| *known == role)
        .map_or((0, 0), |(_, spend)| (spend.cost.0, spend.model_calls))
}

fn nothing_is_reserved(balance: &Balance) {
    assert_eq!(balance.reserved.cost, MicroUsd::ZERO);
    assert_eq!(balance.reserved.model_calls, 0);
}
