//! What of a session's answers counts, and what becomes of sessions that end otherwise.

use std::time::Duration;

use fapo_domain::model::case::Case;
use fapo_domain::model::finding::{Finding, Rule};
use fapo_domain::model::level::Level;
use fapo_domain::model::project::{ReaderBackend, ReaderSpec};
use fapo_domain::ports::models::ModelError;
use fapo_domain::ports::sandbox::SandboxError;
use fapo_domain::{CaseId, EvaluationId, StepId, TaskId};
use fapo_project::{PipelineContext, read_pipeline};

use super::*;
use crate::attribution::reader::Read;
use crate::testing::agent::{Plays, ScriptedAgent};
use crate::testing::store::Store;
use crate::testing::{case_with, job_spec, record, run, said, samples};

/// A failure in which the answer step wrote the words of its number.
fn failure(ordinal: u64) -> Unread {
    let wrote = format!("It was number {ordinal} of them.");
    Unread {
        finding: Finding {
            evaluation: EvaluationId(ContentHash::of(b"e")),
            ordinal,
            case_id: CaseId::new(format!("c{ordinal}")),
            step: StepId::new("answer"),
            rule: Rule::WrongAnswer,
            level: Level::Prompt,
            confidence: 0.3,
            lost: 1.0,
            detail: "the answer is wrong".to_owned(),
            reading: None,
        },
        case: case(ordinal),
        run: run(ordinal, &wrote, vec![record("answer", "llm", said(&wrote))]),
    }
}

fn case(ordinal: u64) -> Case {
    case_with(
        &format!("c{ordinal}"),
        json!({"question": format!("Who built mill {ordinal}?")}),
        json!({"answer": "Ada Quill"}),
    )
}

fn failures(count: u64) -> Vec<Unread> {
    (0..count).map(failure).collect()
}

fn says(number: u64, quote: &str) -> Value {
    json!({"failure": number, "kind": "reasoning", "step": "answer", "quote": quote, "explanation": "because"})
}

/// A house in which one agent reads.
struct House {
    spec: JobSpec,
    tree: VariantTree,
    agent: ScriptedAgent,
    store: Arc<Store>,
    readers: AgentReaders,
}

impl House {
    fn playing(plays: impl IntoIterator<Item = Plays>) -> Self {
        let (tree, mut project) = samples::single_hop();
        project.diagnosis.reader.backend = ReaderBackend::ClaudeCode;
        let spec = job_spec(project, tree.id());
        let agent = ScriptedAgent::new(plays);
        let store = Store::new(spec.clone());
        let readers = AgentReaders::new(store.clone())
            .with(ProposerBackend::ClaudeCode, Arc::new(agent.clone()));
        Self {
            spec,
            tree,
            agent,
            store,
            readers,
        }
    }

    fn reader(&self, backend: ProposerBackend) -> Result<AgentReader<'_>, WorkError> {
        let context = PipelineContext {
            project: &self.spec.project,
            input_keys: None,
        };
        let pipeline = read_pipeline(&self.tree, &context).0.unwrap();
        let flow = Flow::of(&pipeline, &self.spec.project).unwrap();
        let job = JobId::at(0, [7; 10]);
        let task = TaskId::derive(job, "attribute", "1");
        let payer = (job, Fence { task, epoch: 1 });
        self.readers
            .of(backend, &self.spec, (&flow, &self.tree), payer)
    }

    /// Reads so many failures in one prompt.
    async fn read(&self, count: u64) -> Result<Batch, WorkError> {
        let mut reader = self.reader(ProposerBackend::ClaudeCode)?;
        let batch = reader
            .read(&failures(count), &CancellationToken::new())
            .await;
        Box::new(reader).close().await?;
        batch
    }

    async fn recorded(&self) -> Vec<SessionRecord> {
        self.store.sessions(JobId::at(0, [7; 10])).await.unwrap()
    }
}

#[tokio::test]
async fn what_an_answer_says_counts_for_the_failure_whose_number_it_gives() {
    let house = House::playing([Plays::Answers(json!({"readings": [
        // not in order, of a failure that was never told, without a number
        says(3, "number 2 of them"),
        says(9, "number 0 of them"),
        {"kind": "reasoning", "step": "answer", "quote": "number 1 of them"},
        says(1, "number 0 of them"),
        // the words of another failure are no proof
        says(2, "number 0 of them"),
        // a second word about the same failure
        says(3, "nowhere to be found"),
        // no such kind
        {"failure": 5, "kind": "laziness", "step": "answer", "quote": "number 4 of them"},
        "and that is all",
    ]}))]);
    let batch = house.read(5).await.unwrap();
    let kept = |read: &Option<Read>| match read {
        Some(Read::Kept(reading)) => reading.quote.clone(),
        Some(other) => format!("{other:?}"),
        None => "not asked".to_owned(),
    };
    let reads: Vec<String> = batch.reads.iter().map(kept).collect();
    assert_eq!(
        reads,
        [
            "number 0 of them",
            "Discarded",
            "number 2 of them",
            // left out
            "Unusable",
            "Unusable"
        ]
    );
    assert_eq!((batch.note, batch.spend.model_calls), (None, 1));
}

#[tokio::test]
async fn answers_of_another_form_are_as_many_unusable_readings() {
    for answer in [
        Value::Null,
        json!([]),
        json!({"readings": "none"}),
        json!({"failure": 1, "kind": "format", "step": "answer", "quote": "number 0"}),
    ] {
        let house = House::playing([Plays::Answers(answer)]);
        let batch = house.read(2).await.unwrap();
        assert_eq!(batch.reads, vec![Some(Read::Unusable); 2]);
    }
}

#[tokio::test]
async fn each_failure_stands_between_its_own_lines_and_numbers_go_on_through_the_session() {
    let house = House::playing([
        Plays::Answers(json!({"readings": []})),
        Plays::Answers(json!({"readings": [says(7, "number 6 of them")]})),
    ]);
    let mut reader = house.reader(ProposerBackend::ClaudeCode).unwrap();
    assert!(
        house.agent.opened().is_empty(),
        "nothing was to be read yet"
    );
    let all = failures(7);
    let stop = CancellationToken::new();
    let chunks: Vec<&[Unread]> = all.chunks(reader.at_once()).collect();
    assert_eq!(chunks.len(), 2);
    reader.read(chunks[0], &stop).await.unwrap();
    let second = reader.read(chunks[1], &stop).await.unwrap();
    assert_eq!(second.reads[0], Some(Read::Unusable));
    assert!(matches!(second.reads[1], Some(Read::Kept(_))));

    let opened = house.agent.opened();
    assert_eq!(opened.len(), 1);
    let request = &opened[0];
    assert!(!request.writable);
    assert_eq!(request.role, SpendRole::Diagnosis);
    assert_eq!(request.tree, house.tree);
    assert_eq!(request.limits.wall, Duration::from_secs(300));
    assert_eq!(request.limits.cost, None);

    let prompts = house.agent.prompts();
    let numbers = |text: &str| -> Vec<u64> {
        text.lines()
            .filter_map(|line| line.strip_prefix("# Failure ")?.parse().ok())
            .collect()
    };
    assert_eq!(numbers(&prompts[0]), [1, 2, 3, 4, 5]);
    assert_eq!(numbers(&prompts[1]), [6, 7]);
    let marks: std::collections::BTreeSet<&str> = prompts
        .iter()
        .flat_map(|prompt| prompt.lines())
        .filter_map(|line| line.strip_prefix("<<<DATA-"))
        .collect();
    assert_eq!(marks.len(), 7);
    for mark in marks {
        let closed = format!("\nDATA-{mark}>>>\n");
        let times: usize = prompts
            .iter()
            .map(|prompt| prompt.matches(&closed).count())
            .sum();
        assert_eq!(times, 1, "{mark}");
    }
    let record = Box::new(reader).close().await.unwrap().unwrap();
    assert_eq!((record.id, record.prompts), (request.id, 2));
    assert_eq!(house.recorded().await, [record]);
}

#[tokio::test]
async fn the_session_holds_as_many_failures_as_the_project_may_ask_for() {
    let mut house = House::playing([]);
    let mut whole = 0;
    for cases in [1, 20, ReaderSpec::MOST_OF_A_SESSION] {
        house.spec.project.diagnosis.reader.cases = cases;
        let reader = house.reader(ProposerBackend::ClaudeCode).unwrap();
        whole = whole.max(reader.bytes * cases as usize);
        assert!(reader.bytes >= LEAST_CASE_BYTES);
    }
    assert_eq!(whole, SESSION_BYTES);
}

#[tokio::test]
async fn a_session_that_gives_no_answer_leaves_no_reading_and_one_that_cannot_go_on_a_note() {
    for end in [SessionEnd::NoAnswer, SessionEnd::OutOfTurns] {
        let house = House::playing([Plays::Ends(end)]);
        let batch = house.read(2).await.unwrap();
        assert_eq!(batch.reads, vec![Some(Read::Unusable); 2]);
        assert_eq!(batch.note, None);
    }
    for end in [
        SessionEnd::OutOfTime,
        SessionEnd::OutOfMoney,
        SessionEnd::Flooded,
        SessionEnd::Failed {
            message: "too long".to_owned(),
        },
    ] {
        let words = end.to_string();
        let house = House::playing([Plays::Ends(end)]);
        let batch = house.read(2).await.unwrap();
        assert_eq!(batch.reads, [None, None]);
        assert_eq!(batch.note, Some(format!("the reader's session {words}")));
        assert_eq!(batch.spend.model_calls, 1);
    }
    let house = House::playing([Plays::Ends(SessionEnd::Cancelled)]);
    assert_eq!(house.read(2).await.unwrap_err().reason, "INTERRUPTED");
    assert_eq!(house.recorded().await.len(), 1);
}

#[tokio::test]
async fn a_provider_that_is_down_is_a_note_and_what_is_set_up_wrong_an_error() {
    let down = || AgentError::Provider {
        message: "overloaded".to_owned(),
        configuration: false,
    };
    let away = || {
        AgentError::Relay(RelayError::Model(ModelError::Unavailable {
            provider: "endpoint".to_owned(),
            attempts: 3,
            message: "no route".to_owned(),
            unanswered: 0,
        }))
    };
    for (play, words) in [
        (Plays::Fails(down()), "overloaded"),
        (Plays::NotOpened(away()), "no route"),
    ] {
        let house = House::playing([play]);
        let batch = house.read(2).await.unwrap();
        assert_eq!(batch.reads, [None, None]);
        let note = batch.note.unwrap();
        assert!(note.contains(words), "{note}");
    }
    let no_key = AgentError::Provider {
        message: "invalid x-api-key".to_owned(),
        configuration: true,
    };
    let no_sandbox = AgentError::Sandbox(SandboxError::Unavailable {
        why: "no bubblewrap".to_owned(),
    });
    for (play, reason) in [
        (Plays::Fails(no_key), "AGENT_PROVIDER"),
        (Plays::NotOpened(no_sandbox), "SANDBOX_UNAVAILABLE"),
    ] {
        let house = House::playing([play]);
        let error = house.read(2).await.unwrap_err();
        assert_eq!(error.reason, reason);
        assert_eq!(error.retry, fapo_domain::Retry::Never);
    }
}

#[tokio::test]
async fn an_agent_that_is_not_here_is_told_before_anything_is_opened() {
    let house = House::playing([]);
    let error = house.reader(ProposerBackend::Codex).err().unwrap();
    assert_eq!(error.reason, "READER_CONFIG");
    assert!(error.message.contains("`codex`"), "{}", error.message);
}

#[tokio::test]
async fn nothing_is_asked_once_a_stop_is() {
    let house = House::playing([]);
    let mut reader = house.reader(ProposerBackend::ClaudeCode).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    let error = reader.read(&failures(1), &stop).await.unwrap_err();
    assert_eq!(error.reason, "INTERRUPTED");
    assert!(house.agent.opened().is_empty());
    assert_eq!(Box::new(reader).close().await.unwrap(), None);
}
