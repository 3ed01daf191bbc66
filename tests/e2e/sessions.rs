//! Sessions of coding agents, held for real: the real Claude Code CLI and programs that are worse, in the real sandbox, paid
//! through the real relay, against a scripted endpoint.

mod codex;
mod hostile;
mod real;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fapo_diagnosis::agent::{AgentParts, ClaudeCode, CliAgent, Installed};
use fapo_domain::clock::SystemClock;
use fapo_domain::model::session::SessionId;
use fapo_domain::model::task::Fence;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::money::{MicroUsd, SpendRole};
use fapo_domain::ports::agents::{AgentLimits, AgentRequest, AgentSession, CodingAgent};
use fapo_domain::ports::ledger::{Balance, Caps, Ledger};
use fapo_domain::ports::sandbox::Mount;
use fapo_llm::{LlmRelays, PriceTable};
use fapo_sandbox::{ProcessSandbox, SandboxConfig, SandboxMode, find_program};
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::messages::{Conversation, Move, Script, ScriptedMessages};
use fapo_testkit::sample;
use serde_json::{Value, json};

/// The provider's key: it must stand nowhere but in the relay's requests.
const KEY: &str = "sk-ant-api03-canary-of-the-key";

/// What a session is run with, and what it was paid from.
struct Lab {
    folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    claude: ScriptedMessages,
}

impl Lab {
    /// Plays these moves to the session.
    async fn playing(moves: impl IntoIterator<Item = Move>) -> Self {
        let conversation = moves
            .into_iter()
            .fold(Conversation::new("session"), Conversation::then);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = SqliteStore::open(&path, Arc::new(SystemClock), StoreOptions::default());
        let lab = Self {
            store: Arc::new(store.await.unwrap()),
            claude: ScriptedMessages::start(Script::new().conversation(conversation)).unwrap(),
            folder,
        };
        lab.store
            .open_account(sample::job_id(1), Caps::default())
            .await
            .unwrap();
        lab
    }

    fn parts(&self) -> AgentParts {
        self.parts_to(self.claude.base_url())
    }

    /// Sessions whose model is at this address.
    fn parts_to(&self, address: String) -> AgentParts {
        self.parts_held(address, SandboxMode::Required)
    }

    fn parts_held(&self, address: String, mode: SandboxMode) -> AgentParts {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut config = SandboxConfig::new(
            find_program("bwrap", &path),
            fapo_e2e::binary().unwrap(),
            vec!["sandbox-init".to_owned()],
        );
        config.mode = mode;
        let env = Arc::new(move |name: &str| match name {
            "ANTHROPIC_API_KEY" | "OPENAI_API_KEY" => Some(KEY.to_owned()),
            "ADDRESS" => Some(address.clone()),
            _ => None,
        });
        let ledger: Arc<dyn Ledger> = Arc::<SqliteStore>::clone(&self.store);
        AgentParts {
            sandbox: Arc::new(ProcessSandbox::new(config)),
            relays: Arc::new(LlmRelays::new(env, PriceTable::builtin(), ledger)),
            clock: Arc::new(SystemClock),
            scratch: self.folder.path().join("s"),
        }
    }

    /// A session of the real CLI, or of any program.
    async fn open(&self, installed: Installed, limits: AgentLimits) -> Box<dyn AgentSession> {
        CliAgent::new(ClaudeCode::new(installed), self.parts())
            .open(self.request(limits))
            .await
            .unwrap()
    }

    /// What a session that may write is opened with.
    fn request(&self, limits: AgentLimits) -> AgentRequest {
        let job = sample::job_id(1);
        let fence = Fence {
            task: sample::task_id(job, 1),
            epoch: 1,
        };
        AgentRequest {
            id: SessionId::derive(fence, 0),
            job,
            fence,
            role: SpendRole::Proposer,
            entry: "proposer".to_owned(),
            model: serde_json::from_value(json!({
                "provider": "anthropic", "model": "claude-opus-4-5", "base_url": "${ADDRESS}",
                "price": {"input": 1.0, "output": 2.0},
            }))
            .unwrap(),
            system: "You improve pipelines.".to_owned(),
            tree: files(),
            writable: true,
            schema: json!({
                "type": "object",
                "properties": {"hypothesis": {"type": "string"}},
                "required": ["hypothesis"],
            }),
            limits,
        }
    }

    async fn balance(&self) -> Balance {
        self.store.balance(sample::job_id(1)).await.unwrap()
    }
}

fn minute() -> AgentLimits {
    AgentLimits {
        wall: Duration::from_secs(60),
        cost: None,
    }
}

fn files() -> VariantTree {
    let mut tree = VariantTree::new();
    tree.insert("pipeline.yaml", b"steps: []\n".to_vec());
    tree.insert("prompts/answer.md", b"Answer.\n".to_vec());
    tree
}

/// The real CLI, or a plain word that it is not there.
fn claude(test: &str) -> Option<Installed> {
    let program = fapo_testkit::claude_or_skip(test)?;
    Some(Installed {
        mounts: vec![Mount::same(&program)],
        program,
        interpreter: None,
    })
}

/// A program that is worse than any CLI: a shell script in its place.
fn rogue(folder: &Path, script: &str) -> Installed {
    let program: PathBuf = folder.join("rogue.sh");
    std::fs::write(&program, script).unwrap();
    Installed {
        mounts: vec![Mount::same(&program)],
        program,
        interpreter: Some("/bin/sh".into()),
    }
}

fn answer() -> Value {
    json!({"hypothesis": "it helps"})
}

fn edit(path: &str, old: &str, new: &str) -> Move {
    Move::call(
        "Edit",
        json!({"file_path": path, "old_string": old, "new_string": new}),
    )
}

fn spent(balance: &Balance) -> MicroUsd {
    balance.total().cost
}
