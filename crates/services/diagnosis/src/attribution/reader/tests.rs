//! Which failures are read, and which readings count.

use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::Document;
use fapo_domain::model::finding::Rule;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::project::ReaderBackend;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::{RetrievedDocument, StepOutput};
use fapo_domain::money::SpendRole;
use fapo_domain::{CaseId, EvaluationId, JobId, StepId, TaskId};
use fapo_project::{PipelineContext, read_pipeline};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::attribution::Flow;
use crate::testing::model::{Says, Scripted};
use crate::testing::{case_with, job_spec, record, run, said, samples};

fn finding(ordinal: u64) -> Finding {
    Finding {
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
    }
}

fn trace() -> RunRecord {
    let docs = StepOutput {
        docs: Some(vec![RetrievedDocument {
            document: Document {
                doc_id: "d".to_owned(),
                title: "Lake Tarn".to_owned(),
                text: "The lake is   deep\nand cold.".to_owned(),
            },
            score: 1.0,
        }]),
        ..StepOutput::default()
    };
    let mut asked = record("answer", "llm", said("Bo"));
    asked.input = Some(json!([{"role": "user", "content": "Question: Who built the mill?"}]));
    run(0, "Bo", vec![record("hop", "retrieve", docs), asked])
}

fn spec() -> JobSpec {
    let (tree, mut project) = samples::single_hop();
    project.diagnosis.reader.backend = ReaderBackend::Model;
    job_spec(project, tree.id())
}

fn flow(spec: &JobSpec) -> Flow {
    let (tree, _) = samples::single_hop();
    let context = PipelineContext {
        project: &spec.project,
        input_keys: None,
    };
    Flow::of(&read_pipeline(&tree, &context).0.unwrap(), &spec.project).unwrap()
}

fn payer() -> (JobId, Fence) {
    let job = JobId::at(0, [7; 10]);
    let task = TaskId::derive(job, "attribute", "1");
    (job, Fence { task, epoch: 1 })
}

async fn read_with(spec: &JobSpec, says: Says) -> Result<Batch, WorkError> {
    let model = Scripted::new([says]);
    let mut reader = ModelReader::of(&*model, spec, &flow(spec), payer())?;
    let failure = Unread {
        finding: finding(0),
        case: case_with(
            "c0",
            json!({"question": "Who built the mill?"}),
            json!({"answer": "Ada Quill"}),
        ),
        run: trace(),
    };
    let batch = reader.read(&[failure], &CancellationToken::new()).await?;
    let (request, meter) = model.asked().remove(0);
    assert_eq!(meter.role, SpendRole::Diagnosis);
    let told = &request.messages[1].content;
    assert!(
        told.contains("The steps are, in order: hop, answer."),
        "{told}"
    );
    assert!(told.starts_with("<<<DATA-"), "{told}");
    Ok(batch)
}

/// What came of the one failure.
async fn read_one(spec: &JobSpec, says: Says) -> Read {
    let mut batch = read_with(spec, says).await.unwrap();
    assert_eq!((batch.spend.model_calls, &batch.note), (1, &None));
    assert_eq!(batch.reads.len(), 1);
    batch.reads.remove(0).unwrap()
}

fn says(kind: &str, step: &str, quote: &str) -> Says {
    let reply = json!({"kind": kind, "step": step, "quote": quote, "explanation": "because"});
    Says::Text(reply.to_string())
}

#[tokio::test]
async fn a_quote_counts_where_it_stands_in_the_trace_of_its_step() {
    let spec = spec();
    for (step, quote, kept) in [
        // up to white space
        ("hop", "The lake is deep and cold.", true),
        ("hop", "Lake Tarn: The lake", true),
        ("answer", "Who built the mill?", true),
        // all that was written
        ("answer", "Bo", true),
        // shorter than that, it stands everywhere
        ("answer", "o", false),
        ("answer", "", false),
        // of another step, of no step, in other words
        ("answer", "The lake is deep", false),
        ("hop", "the lake is deep", false),
        ("hop", "The lake is shallow", false),
    ] {
        let read = read_one(&spec, says("knowledge", step, quote)).await;
        assert_eq!(matches!(read, Read::Kept(_)), kept, "{step}: {quote}");
    }
}

#[tokio::test]
async fn a_reply_without_kind_step_or_quote_is_unusable() {
    let spec = spec();
    for bad in [
        Says::Text("It did not know.".to_owned()),
        says("laziness", "hop", "The lake"),
        says("knowledge", "nowhere", "The lake"),
        Says::Text("{\"kind\": \"format\", \"step\": \"answer\"}".to_owned()),
        Says::CutOff("{\"kind\": \"form".to_owned()),
    ] {
        assert_eq!(read_one(&spec, bad).await, Read::Unusable);
    }
}

#[tokio::test]
async fn what_hinders_reading_is_told_apart_from_what_is_set_up_wrong() {
    let spec = spec();
    for says in [Says::Down, Says::Broke] {
        let batch = read_with(&spec, says).await.unwrap();
        assert_eq!(batch.reads, [None]);
        assert!(!batch.note.unwrap().is_empty());
    }
    let error = read_with(&spec, Says::NoKey).await.unwrap_err();
    assert_eq!(error.reason, "MODEL_NO_KEY");
    let mut wrong = spec;
    wrong.project.diagnosis.reader.model = Some("nobody".to_owned());
    let error = read_with(&wrong, Says::Down).await.unwrap_err();
    assert_eq!(error.reason, "READER_CONFIG");
    assert!(error.message.contains("`nobody`"));
}

#[test]
fn a_kept_reading_decides_level_and_confidence() {
    for (kind, level, sure) in [
        (FailureKind::Reasoning, Level::Prompt, true),
        (FailureKind::Format, Level::Prompt, true),
        (FailureKind::Knowledge, Level::Structure, true),
        (FailureKind::Content, Level::Prompt, false),
    ] {
        let mut finding = finding(0);
        let reading = Reading {
            kind,
            step: StepId::new("hop"),
            quote: "two\nlines".to_owned(),
            explanation: String::new(),
        };
        apply(&mut finding, reading);
        assert_eq!((finding.level, finding.confidence > 0.5), (level, sure));
        assert_eq!(finding.reading.unwrap().quote, "two lines");
    }
}

proptest! {
    #[test]
    fn the_choice_is_the_same_in_whatever_order_failures_come(
        ordinals in prop::collection::btree_set(0u64..500, 0..60),
        most in 0usize..20,
        seed: u64,
        rotate in 0usize..60,
    ) {
        let choose = |ordinals: &[u64]| {
            let mut choice = Choice::new(most, seed, VariantId(ContentHash::of(b"v")));
            let left: Vec<u64> = ordinals
                .iter()
                .filter_map(|ordinal| choice.offer(finding(*ordinal)))
                .map(|finding| finding.ordinal)
                .collect();
            let seen = choice.seen;
            let chosen: Vec<u64> = choice.finish().iter().map(|finding| finding.ordinal).collect();
            (chosen, left, seen)
        };
        let forwards: Vec<u64> = ordinals.iter().copied().collect();
        let mut rotated = forwards.clone();
        if !rotated.is_empty() {
            let by = rotate % rotated.len();
            rotated.rotate_left(by);
        }
        let (chosen, left, seen) = choose(&forwards);
        prop_assert_eq!(&chosen, &choose(&rotated).0);
        prop_assert_eq!(chosen.len(), most.min(forwards.len()));
        prop_assert_eq!(seen, forwards.len() as u64);
        // each is read or handed back
        let mut all = [chosen, left].concat();
        all.sort_unstable();
        prop_assert_eq!(all, forwards);
    }
}
