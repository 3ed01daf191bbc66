//! The tools as a session meets them: a real MCP client over the real socket, on a store in memory. Every answer of every
//! test is searched for what only held-out cases say.

mod analyses;
mod door;
mod evidence;
mod ports;
mod sealed;
mod trials;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::Split;
use fapo_domain::model::evaluation::{CacheUse, EvaluationSpec, HeldOutMean};
use fapo_domain::model::job::{JobGoal, JobSpec};
use fapo_domain::model::level::Level;
use fapo_domain::model::proposal::LintFinding;
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::model::task::{ClaimedTask, TaskPayload};
use fapo_domain::model::trace::{RetrievedDocument, StepOutput};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::agents::{AgentError, SessionFiles};
use fapo_domain::ports::jobs::Findings;
use fapo_domain::ports::work::TaskHandler;
use fapo_domain::{DatasetId, JobId, TaskId};
use rmcp::RoleClient;
use rmcp::model::CallToolRequestParams;
use rmcp::service::RunningService;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::ports::{Python, Runner};
use super::answer::MOST_BYTES;
use super::{SessionGrant, SessionRole, SessionTools, ToolPorts, Tools, ToolsUse};
use crate::DiagnosisService;
use crate::testing::store::Store;
use crate::testing::{case_with, record, run, said, samples, score};

/// Words that stand in held-out cases only.
const CANARIES: [&str; 6] = [
    "kestrel",
    "quarrymen",
    "Wolfgar",
    "heliotrope",
    "bargemen",
    "Ysolde",
];

/// A question that every train case starts with.
fn question(ordinal: u64) -> String {
    format!("Who built mill number {ordinal} by the lake?")
}

/// A house with one job: twenty train cases (twelve right, six with the answer buried, one wrong, one missing), and five of
/// val and of test whose words occur nowhere else.
struct House {
    store: Arc<Store>,
    runner: Arc<Runner>,
    ports: ToolPorts,
    grant: SessionGrant,
    parent: VariantTree,
    folder: tempfile::TempDir,
    heard: Mutex<Vec<String>>,
}

/// Files that do not change.
struct FixedTree(VariantTree);

#[async_trait]
impl SessionFiles for FixedTree {
    async fn tree(&self) -> Result<(VariantTree, Vec<LintFinding>), AgentError> {
        Ok((self.0.clone(), Vec::new()))
    }
}

impl House {
    async fn new() -> Self {
        let (parent, project) = samples::single_hop();
        let spec = JobSpec {
            goal: JobGoal::Optimize,
            project,
            baseline: parent.id(),
            dataset: DatasetId(ContentHash::of(b"d")),
            cases: BTreeMap::from([(Split::Train, 20), (Split::Val, 5), (Split::Test, 5)]),
            corpora: BTreeMap::new(),
            seal: ContentHash::of(b"s"),
            protect: Vec::new(),
            playbook: None,
            prompts: BTreeMap::new(),
            scorer_code: BTreeMap::new(),
        };
        let store = Store::new(spec.clone());
        store.add_tree(&parent);
        fill(&store);
        let job = JobId::at(0, [7; 10]);
        let evaluation = EvaluationSpec {
            job,
            variant: parent.id(),
            dataset: spec.dataset,
            split: Split::Train,
            sample: 0,
            cases: 20,
            order_seed: None,
            cache: CacheUse::Shared,
            attempt: 0,
        };
        let claimed = ClaimedTask {
            id: TaskId::derive(job, "t", "diagnose"),
            job,
            payload: TaskPayload::Attribute {
                evaluation: evaluation.clone(),
            },
            epoch: 3,
            lease_until: Timestamp(0),
            trace: None,
        };
        let diagnosis = DiagnosisService {
            jobs: store.clone(),
            variants: store.clone(),
            scores: store.clone(),
            traces: store.clone(),
            datasets: store.clone(),
            findings: store.clone(),
            models: crate::testing::model::Scripted::new([]),
            agents: crate::AgentReaders::new(store.clone()),
        };
        diagnosis
            .handle(&claimed, &CancellationToken::new())
            .await
            .unwrap();
        let attribution = store.attribution(evaluation.id()).await.unwrap().unwrap();
        let runner = Arc::new(Runner::default());
        let ports = ToolPorts {
            variants: store.clone(),
            scores: store.clone(),
            traces: store.clone(),
            datasets: store.clone(),
            findings: store.clone(),
            runner: runner.clone(),
            scorer: runner.clone(),
            scripts: Arc::new(Python),
        };
        let grant = SessionGrant {
            job,
            spec: Arc::new(spec),
            fence: claimed.fence(),
            role: SessionRole::Proposer,
            parent: parent.id(),
            evaluation,
            iteration: 1,
            slot: 0,
            level: Level::Prompt,
            cluster: attribution.clusters.first().cloned(),
            history: Vec::new(),
            earlier: vec![parent.id()],
            val: Some(HeldOutMean {
                cases: 5,
                mean: 0.617_3,
            }),
            tree: Arc::new(FixedTree(parent.clone())),
            tries: 10,
            analyses: 5,
            expires: Instant::now() + Duration::from_secs(3600),
        };
        Self {
            store,
            runner,
            ports,
            grant,
            parent,
            folder: tempfile::tempdir().unwrap(),
            heard: Mutex::default(),
        }
    }

    /// The session works on the parent with this text added to its prompt.
    fn edit(&mut self, text: &str) {
        let mut tree = self.parent.clone();
        let prompt = tree.text("prompts/answer.md").unwrap().to_owned();
        let edited = prompt.replace("from passages.", &format!("from passages.\n{text}"));
        tree.insert("prompts/answer.md", edited.into_bytes());
        self.grant.tree = Arc::new(FixedTree(tree));
    }

    fn open(&self) -> Tools {
        SessionTools::open(self.ports.clone(), self.grant.clone(), self.folder.path()).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("tools.sock")
    }

    /// Calls a tool; the answer, and whether it is an error.
    async fn call(&self, client: &Client, tool: &str, arguments: Value) -> (Value, bool) {
        let (text, error) = call(client, tool, arguments).await;
        assert!(text.len() <= MOST_BYTES, "{tool}: {} bytes", text.len());
        let value = serde_json::from_str(&text).unwrap();
        self.heard.lock().unwrap().push(text);
        (value, error)
    }

    /// Calls a tool that must answer.
    async fn ask(&self, client: &Client, tool: &str, arguments: Value) -> Value {
        let (value, error) = self.call(client, tool, arguments).await;
        assert!(!error, "{tool}: {value}");
        value
    }

    /// Calls a tool that must not; what it says.
    async fn denied(&self, client: &Client, tool: &str, arguments: Value) -> String {
        let (value, error) = self.call(client, tool, arguments).await;
        assert!(error, "{tool}: {value}");
        value["error"].as_str().unwrap().to_owned()
    }

    /// Ends the session: nothing that was heard, and nothing that is recorded, holds what only held-out cases say.
    async fn end(&self, tools: Tools) -> ToolsUse {
        let used = tools.close().await;
        let recorded = format!("{used:?}");
        for text in self.heard.lock().unwrap().iter().chain([&recorded]) {
            for canary in CANARIES {
                assert!(!text.contains(canary), "{canary} in {text}");
            }
        }
        used
    }
}

fn fill(store: &Store) {
    for ordinal in 0..20u64 {
        let answer = format!("Person{ordinal} Quill");
        let (text, status, value) = match ordinal {
            0..12 => (answer.clone(), ScoreStatus::Scored, 1.0),
            12..18 => (
                format!("The passages say that it was {answer}."),
                ScoreStatus::Scored,
                0.0,
            ),
            18 => ("Bo Vane".to_owned(), ScoreStatus::Scored, 0.0),
            _ => (String::new(), ScoreStatus::Missing, 0.0),
        };
        store.add_case(
            Split::Train,
            case_with(
                &format!("c{ordinal}"),
                json!({"question": question(ordinal)}),
                json!({"answer": answer}),
            ),
        );
        let document = json!({
            "doc_id": format!("d{ordinal}"), "title": format!("Mill {ordinal}"),
            "text": format!("{answer} built it."), "score": 1.5,
        });
        let document: RetrievedDocument = serde_json::from_value(document).unwrap();
        let mut found = record(
            "hop",
            "retrieve",
            StepOutput {
                docs: Some(vec![document]),
                ..StepOutput::default()
            },
        );
        found.input = Some(json!({"queries": [question(ordinal)]}));
        let mut answered = record("answer", "llm", said(&text));
        answered.input = Some(json!([
            {"role": "system", "content": "You answer questions from passages."},
            {"role": "user", "content": format!("Question: {}", question(ordinal))},
        ]));
        store.add_run(
            run(ordinal, &text, vec![found, answered]),
            CaseScore {
                feedback: format!("scored number {ordinal}"),
                ..score(ordinal, status, value)
            },
        );
    }
    for (split, words) in [(Split::Val, &CANARIES[..3]), (Split::Test, &CANARIES[3..])] {
        for number in 0..5 {
            let question = format!(
                "Which {} did the {} of the hidden valley raise in year {number}?",
                words[0], words[1]
            );
            store.add_case(
                split,
                case_with(
                    &format!("{split}-{number}"),
                    json!({"question": question}),
                    json!({"answer": format!("{} {number}", words[2])}),
                ),
            );
        }
    }
}

type Client = RunningService<RoleClient, ()>;

/// Connects as the bridge does.
async fn connect(tools: &Tools) -> Client {
    let tools = tools.agent_tools();
    let mut stream = UnixStream::connect(&tools.socket).await.unwrap();
    let line = format!("{}\n", tools.token);
    stream.write_all(line.as_bytes()).await.unwrap();
    rmcp::serve_client((), stream).await.unwrap()
}

async fn call(client: &Client, tool: &str, arguments: Value) -> (String, bool) {
    let Value::Object(arguments) = arguments else {
        panic!("arguments are an object");
    };
    let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
    let result = client.call_tool(request).await.unwrap();
    let text = result.content[0].as_text().unwrap().text.clone();
    (text, result.is_error == Some(true))
}
