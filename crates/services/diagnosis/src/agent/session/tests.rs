use std::sync::Mutex;

use fapo_domain::model::project::ModelSpec;
use fapo_domain::model::session::SessionId;
use fapo_domain::model::task::Fence;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::agents::AgentLimits;
use fapo_domain::ports::relay::{RelayError, RelayUse};
use fapo_domain::ports::sandbox::{ProcessExit, SandboxError, SandboxedProcess, Streams};
use fapo_domain::{JobId, TaskId};
use fapo_testkit::clock::ManualClock;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::agent::Installed;
use crate::agent::cli::{Outcome, Reader};
use crate::agent::follow::Followed;
use crate::testing::tree;

/// A program that asks its model as often as its prompt says, then says a line and ends.
struct Asking {
    installed: Installed,
}

struct LastLine(Report);

impl Reader for LastLine {
    fn read(&mut self, _line: &[u8]) -> bool {
        self.0.answer = Some(json!({}));
        self.0.outcome = Outcome::Done;
        false
    }

    fn finish(&mut self) -> Report {
        std::mem::take(&mut self.0)
    }
}

impl Cli for Asking {
    fn name(&self) -> &'static str {
        "asking"
    }

    fn installed(&self) -> &Installed {
        &self.installed
    }

    fn endpoint(&self) -> (&'static str, &'static str) {
        ("ADDRESS", "{port}")
    }

    fn call(&self, asked: &Asked<'_>) -> Call {
        Call {
            stdin: asked.text.to_owned(),
            ..Call::default()
        }
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(LastLine(Report::default()))
    }

    fn counts_turns(&self) -> bool {
        false
    }
}

type Used = Arc<Mutex<RelayUse>>;

struct Double {
    used: Used,
    /// Whether the ledger fails at the end.
    fails: bool,
    /// Whether programs leave something behind that holds their output open.
    leaves: bool,
}

#[async_trait]
impl Relay for Double {
    fn socket(&self) -> &Path {
        Path::new("/nowhere")
    }

    fn used(&self) -> RelayUse {
        self.used.lock().unwrap().clone()
    }

    async fn close(self: Box<Self>) -> Result<RelayUse, StoreError> {
        if self.fails {
            return Err(StoreError::Invalid {
                message: "the ledger failed".to_owned(),
            });
        }
        Ok(self.used())
    }
}

#[async_trait]
impl Relays for Double {
    async fn open(&self, _: RelayGrant, _: &Path) -> Result<Box<dyn Relay>, RelayError> {
        let used = Arc::clone(&self.used);
        let (fails, leaves) = (self.fails, self.leaves);
        Ok(Box::new(Self {
            used,
            fails,
            leaves,
        }))
    }
}

#[async_trait]
impl Sandbox for Double {
    async fn confinement(&self) -> Result<Confinement, SandboxError> {
        Ok(Confinement {
            namespaces: true,
            landlock_abi: 0,
            detail: String::new(),
        })
    }

    async fn spawn(&self, _: ProcessSpec) -> Result<Box<dyn SandboxedProcess>, SandboxError> {
        let (stdin, input) = tokio::io::duplex(1024);
        let (output, stdout) = tokio::io::duplex(1024);
        let program = tokio::spawn(asks(Arc::clone(&self.used), input, output));
        Ok(Box::new(Running {
            program,
            leaves: self.leaves,
            left: None,
            ended: None,
            streams: Some(Streams {
                stdin: Box::new(stdin),
                stdout: Box::new(stdout),
                stderr: Box::new(tokio::io::empty()),
            }),
        }))
    }

    fn bridge(&self) -> (PathBuf, Vec<String>) {
        (PathBuf::from("/bridge"), vec![])
    }
}

/// Returns its output, which is open as long as somebody has it.
async fn asks(used: Used, mut input: DuplexStream, mut output: DuplexStream) -> DuplexStream {
    let mut prompt = String::new();
    input.read_to_string(&mut prompt).await.unwrap();
    let replies = prompt.parse::<u64>().ok();
    let mut asked = 0;
    loop {
        if Some(asked) == replies {
            output.write_all(b"done\n").await.unwrap();
            return output;
        }
        asked += 1;
        used.lock().unwrap().spend.model_calls += 1;
        tokio::task::yield_now().await;
    }
}

struct Running {
    program: tokio::task::JoinHandle<DuplexStream>,
    leaves: bool,
    left: Option<DuplexStream>,
    ended: Option<ProcessExit>,
    streams: Option<Streams>,
}

#[async_trait]
impl SandboxedProcess for Running {
    fn streams(&mut self) -> Option<Streams> {
        self.streams.take()
    }

    async fn wait(&mut self) -> Result<ProcessExit, SandboxError> {
        if self.ended.is_none() {
            let output = (&mut self.program).await.ok();
            self.left = output.filter(|_| self.leaves);
        }
        Ok(*self.ended.get_or_insert(ProcessExit::Code { code: 0 }))
    }

    async fn kill(&mut self) -> Result<ProcessExit, SandboxError> {
        self.program.abort();
        self.wait().await?;
        Ok(ProcessExit::Killed)
    }

    fn peak_memory(&self) -> Option<u64> {
        None
    }
}

async fn turn(prompts: &[&str], turns: u32) -> (SessionEnd, u32) {
    let record = recorded(prompts, turns, (false, false)).await;
    (record.end, record.turns)
}

async fn turn_of(leaves: bool, prompts: &[&str], turns: u32) -> (SessionEnd, u32) {
    let record = recorded(prompts, turns, (false, leaves)).await;
    (record.end, record.turns)
}

/// The record of a session whose relay cannot be closed (`fails`), or whose programs leave something behind (`leaves`).
async fn recorded(prompts: &[&str], turns: u32, (fails, leaves): (bool, bool)) -> SessionRecord {
    let scratch = tempfile::tempdir().unwrap();
    let used = Used::default();
    let double = || {
        Arc::new(Double {
            used: Arc::clone(&used),
            fails,
            leaves,
        })
    };
    let agent = CliAgent::new(
        Asking {
            installed: Installed {
                program: "/asking".into(),
                mounts: vec![],
                interpreter: None,
            },
        },
        AgentParts {
            sandbox: double(),
            relays: double(),
            clock: ManualClock::new(),
            scratch: scratch.path().join("s"),
        },
    );
    let fence = Fence {
        task: TaskId::derive(JobId::at(1, [0; 10]), "propose", "1"),
        epoch: 1,
    };
    let request = AgentRequest {
        id: SessionId::derive(fence, 0),
        job: JobId::at(1, [0; 10]),
        fence,
        role: SpendRole::Proposer,
        entry: "proposer".to_owned(),
        model: serde_json::from_value::<ModelSpec>(json!({"provider": "openai", "model": "m"}))
            .unwrap(),
        system: String::new(),
        tree: tree(&[]),
        writable: true,
        schema: json!({}),
        limits: AgentLimits {
            wall: Duration::from_secs(60),
            cost: None,
        },
    };
    let mut session = agent.open(request).await.unwrap();
    let stop = CancellationToken::new();
    for prompt in prompts {
        session.prompt(prompt, turns, &stop).await.unwrap();
    }
    session.close().await.unwrap()
}

#[tokio::test]
async fn a_program_that_does_not_count_its_turns_is_ended_after_one_too_many() {
    assert_eq!(turn(&["3"], 3).await, (SessionEnd::Answered, 3));
    assert_eq!(turn(&["4"], 3).await, (SessionEnd::OutOfTurns, 4));
    // each prompt has its own bound
    assert_eq!(turn(&["3", "3"], 3).await, (SessionEnd::Answered, 6));
}

#[tokio::test]
async fn a_program_that_asks_for_ever_and_says_nothing_is_ended() {
    let (end, turns) = turn(&["for ever"], 3).await;
    assert_eq!(end, SessionEnd::OutOfTurns);
    assert!(turns > 3);
}

#[tokio::test]
async fn a_session_whose_relay_cannot_be_closed_is_recorded_all_the_same() {
    let record = recorded(&["3"], 3, (true, false)).await;
    assert_eq!(record.end, SessionEnd::Answered);
    assert_eq!(record.spend.model_calls, 3);
    assert!(!record.transcript_text.is_empty());
}

/// How a prompt ended in which the program said nothing, by its exit and what its relay saw.
fn end_of_silence(exit: ProcessExit, used: &RelayUse) -> Result<SessionEnd, AgentError> {
    let followed = Followed {
        exit: Some(exit),
        ..Followed::default()
    };
    ended_with(&Report::default(), &followed, used)
}

#[test]
fn a_provider_that_fails_or_says_nothing_is_not_held_against_the_session() {
    let failed = RelayUse {
        failure: Some("the provider answered with status 529".to_owned()),
        ..RelayUse::default()
    };
    let unanswered = RelayUse {
        waiting: 1,
        ..RelayUse::default()
    };
    let code = ProcessExit::Code { code: 1 };
    for exit in [ProcessExit::TimedOut, code] {
        for used in [&failed, &unanswered] {
            let error = end_of_silence(exit, used).unwrap_err();
            assert!(
                matches!(
                    error,
                    AgentError::Provider {
                        configuration: false,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }
    // where it answered, the time and the exit are the program's own
    let answered = RelayUse::default();
    let late = end_of_silence(ProcessExit::TimedOut, &answered).unwrap();
    assert_eq!(late, SessionEnd::OutOfTime);
    let broken = end_of_silence(code, &answered).unwrap();
    assert!(matches!(broken, SessionEnd::Failed { .. }), "{broken}");
    // money is known to be the end before anything else is
    let broke = RelayUse {
        out_of_money: true,
        ..failed
    };
    assert_eq!(
        end_of_silence(code, &broke).unwrap(),
        SessionEnd::OutOfMoney
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_program_leaves_behind_does_not_hold_its_session() {
    let turn = turn_of(true, &["1", "1"], 3);
    let turn = tokio::time::timeout(Duration::from_secs(3600), turn);
    assert_eq!(turn.await, Ok((SessionEnd::Answered, 2)));
}

#[test]
fn what_an_agent_put_in_the_place_of_a_file_is_removed() {
    let home = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("kept"), "kept").unwrap();
    std::fs::create_dir_all(home.path().join("config.toml/deep")).unwrap();
    std::os::unix::fs::symlink(outside.path(), home.path().join("config.toml/link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("kept"), home.path().join("answer.json"))
        .unwrap();
    let file = |name: &str| (name.to_owned(), "ours".to_owned());
    put_home(home.path(), &[file("config.toml"), file("answer.json")]).unwrap();
    for name in ["config.toml", "answer.json"] {
        assert_eq!(std::fs::read(home.path().join(name)).unwrap(), b"ours");
    }
    assert_eq!(std::fs::read(outside.path().join("kept")).unwrap(), b"kept");
}
