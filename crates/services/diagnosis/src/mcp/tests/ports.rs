//! What the tools run: a runner that a test holds back and looks at, and the real Python without a sandbox.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use fapo_domain::model::case::Case;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::{RunRecord, RunStatus};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::code::{CodeError, ScriptReply, ScriptRequest, ScriptRunner};
use fapo_domain::ports::pipelines::{PipelineRunner, RunScorer};
use fapo_domain::ports::sandbox::ProcessExit;
use fapo_domain::ports::work::WorkError;
use fapo_domain::{JobId, MicroUsd, Spend, VariantId};
use tokio::sync::watch;

use crate::testing::{record, run, said, score};

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub job: JobId,
    pub variant: VariantId,
    pub case: String,
    pub fresh: bool,
    pub payer: Option<Fence>,
}

/// Answers each case rightly, but for those a test says otherwise of.
pub struct Runner {
    pub asked: Mutex<Vec<Asked>>,
    pub most_at_once: AtomicU32,
    at_once: AtomicU32,
    /// Calls wait while this is closed.
    pub open: watch::Sender<bool>,
    /// How many calls have begun.
    pub begun: watch::Sender<u32>,
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            asked: Mutex::default(),
            most_at_once: AtomicU32::new(0),
            at_once: AtomicU32::new(0),
            open: watch::Sender::new(true),
            begun: watch::Sender::new(0),
        }
    }
}

impl Runner {
    pub fn cases(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|asked| asked.case.clone()).collect()
    }
}

#[async_trait]
impl PipelineRunner for Runner {
    async fn run_case(
        &self,
        job: JobId,
        _: &JobSpec,
        tree: &VariantTree,
        case: &Case,
        fresh: bool,
        payer: Option<Fence>,
    ) -> Result<RunRecord, WorkError> {
        let id = case.case_id.as_str().to_owned();
        self.asked.lock().unwrap().push(Asked {
            job,
            variant: tree.id(),
            case: id.clone(),
            fresh,
            payer,
        });
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        self.begun.send_modify(|count| *count += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        // others get their turn while this one is under way
        tokio::task::yield_now().await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        assert_ne!(id, "c17", "a case that panics");
        if id == "c16" {
            return Err(WorkError::permanent("X", "a failure at /srv/house/secret"));
        }
        let ordinal: u64 = id[1..].parse().unwrap();
        let answer = case.expected["answer"].as_str().unwrap();
        let mut found = run(ordinal, answer, vec![record("answer", "llm", said(answer))]);
        if id == "c15" {
            found.status = RunStatus::Missing;
            found.reason = Some("provider_unavailable".to_owned());
            found.output_text = None;
        }
        found.spend = Spend {
            cost: MicroUsd(100),
            model_calls: 1,
            ..Spend::default()
        };
        Ok(found)
    }
}

#[async_trait]
impl RunScorer for Runner {
    async fn score_run(
        &self,
        _: &JobSpec,
        case: &Case,
        run: &RunRecord,
    ) -> Result<CaseScore, WorkError> {
        let right = run.output_text.as_deref() == case.expected["answer"].as_str();
        let status = match run.status {
            RunStatus::Missing => ScoreStatus::Missing,
            _ => ScoreStatus::Scored,
        };
        Ok(score(run.ordinal, status, f64::from(u8::from(right))))
    }
}

/// The real Python, in a folder of its own and without a sandbox: what is run here are scripts of these tests.
pub struct Python;

#[async_trait]
impl ScriptRunner for Python {
    async fn run(&self, script: ScriptRequest) -> Result<ScriptReply, CodeError> {
        assert!(!script.source.contains("PANIC"), "a script that panics");
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in &script.files {
            std::fs::write(folder.path().join(path), content).unwrap();
        }
        std::fs::write(folder.path().join("script.py"), &script.source).unwrap();
        let work = tokio::process::Command::new("python3")
            .args(["-B", "script.py"])
            .env("PYTHONIOENCODING", "utf-8")
            .current_dir(folder.path())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(script.time, work).await {
            Ok(output) => output.map_err(|error| CodeError::Unavailable {
                file: "script.py".to_owned(),
                message: error.to_string(),
                configuration: true,
            })?,
            Err(_) => {
                return Ok(ScriptReply {
                    stdout: String::new(),
                    stderr: String::new(),
                    exit: ProcessExit::TimedOut,
                    truncated: false,
                });
            }
        };
        let kept = |bytes: &[u8]| {
            let end = bytes.len().min(script.output_bytes);
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        Ok(ScriptReply {
            stdout: kept(&output.stdout),
            stderr: kept(&output.stderr),
            exit: ProcessExit::Code {
                code: output.status.code().unwrap(),
            },
            truncated: output.stdout.len().max(output.stderr.len()) > script.output_bytes,
        })
    }
}
