//! The request, the reply, and what becomes of a bad one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::finding::Rule;
use fapo_domain::model::job::{JobGoal, JobSpec};
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::pipeline::StepSpec;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::ProposalRequest;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::FinishReason;
use fapo_domain::money::{Spend, SpendRole};
use fapo_domain::ports::diagnosis::{Proposal, ProposeError, Proposer};
use fapo_domain::ports::models::{Meter, MeteredError, MeteredModels, MeteredReply, ModelRequest};
use fapo_domain::{DatasetId, JobId, TaskId, VariantId};
use serde_json::{Value, json};

use tokio_util::sync::CancellationToken;

use super::Reflect;
use crate::testing::{case_with, evidence, record, request, run, said, samples, tried};

/// A model that says one thing and remembers what it was asked.
struct Says {
    text: String,
    finish: FinishReason,
    asked: Mutex<Vec<(ModelRequest, Meter)>>,
}

#[async_trait]
impl MeteredModels for Says {
    async fn complete(
        &self,
        request: &ModelRequest,
        meter: &Meter,
    ) -> Result<MeteredReply, MeteredError> {
        self.asked
            .lock()
            .unwrap()
            .push((request.clone(), meter.clone()));
        let spend = Spend {
            model_calls: 1,
            ..Spend::default()
        };
        Ok(MeteredReply {
            text: self.text.clone(),
            finish: self.finish,
            spend,
            full_spend: spend,
            full_duration_ms: 0,
            cache_hit: false,
            attempts: 1,
        })
    }
}

fn spec(project: &ProjectSpec) -> JobSpec {
    JobSpec {
        goal: JobGoal::Optimize,
        project: project.clone(),
        baseline: VariantId(ContentHash::of(b"b")),
        dataset: DatasetId(ContentHash::of(b"d")),
        cases: BTreeMap::new(),
        corpora: BTreeMap::new(),
        seal: ContentHash::of(b"s"),
        protect: Vec::new(),
        scorer_code: BTreeMap::new(),
        playbook: None,
        prompts: BTreeMap::new(),
    }
}

fn fence() -> Fence {
    Fence {
        task: TaskId::derive(JobId::at(0, [7; 10]), "propose", "1"),
        epoch: 1,
    }
}

async fn ask(
    project: &ProjectSpec,
    request: &ProposalRequest,
    text: &str,
) -> (Proposal, Arc<Says>) {
    ask_until(project, request, text, FinishReason::Stop).await
}

async fn ask_until(
    project: &ProjectSpec,
    request: &ProposalRequest,
    text: &str,
    finish: FinishReason,
) -> (Proposal, Arc<Says>) {
    let says = Arc::new(Says {
        text: text.to_owned(),
        finish,
        asked: Mutex::new(Vec::new()),
    });
    let reflect = Reflect::new(Arc::clone(&says) as Arc<dyn MeteredModels>);
    let proposal = reflect
        .propose(&spec(project), request, fence(), &CancellationToken::new())
        .await
        .unwrap();
    (proposal, says)
}

fn reply(edits: Value) -> String {
    json!({
        "hypothesis": "The reply explains itself.",
        "technique": "output_constraint",
        "idea": "Only the answer",
        "target_cluster": "answer_buried@answer",
        "expected_gain": 0.2,
        "edits": edits,
    })
    .to_string()
}

const BETTER: &str = "system:\nYou answer questions from passages. Reply with the answer only.\n\nuser:\nPassages:\n{{ steps.hop.docs }}\n\nQuestion: {{ question }}\n\nAnswer:";

fn prompt_request() -> (ProjectSpec, ProposalRequest) {
    let (tree, project) = samples::single_hop();
    let request = request(&tree, Level::Prompt, Some((Rule::AnswerBuried, "answer")));
    (project, request)
}

#[tokio::test]
async fn a_good_reply_becomes_a_draft() {
    let (project, request) = prompt_request();
    let fenced = format!(
        "Here it is:\n```json\n{}\n```",
        reply(json!([{"path": "pipeline/prompts/answer.md", "content": BETTER}]))
    );
    for text in [
        reply(json!([{"path": "prompts/answer.md", "content": BETTER}])),
        fenced,
    ] {
        let (proposal, says) = ask(&project, &request, &text).await;
        let Proposal::Draft(draft) = proposal else {
            panic!("{proposal:?}")
        };
        assert_eq!(
            draft.tree.text("prompts/answer.md").unwrap(),
            format!("{BETTER}\n")
        );
        assert_eq!(draft.technique, Technique::OutputConstraint);
        assert_eq!(draft.idea, "output_constraint/only the answer");
        assert_eq!(draft.cluster.as_deref(), Some("answer_buried@answer"));
        assert_eq!(draft.spend.model_calls, 1);
        assert!(draft.evidence_hash.is_some() && draft.transcript.is_some());
        let asked = says.asked.lock().unwrap();
        let (call, meter) = &asked[0];
        assert_eq!(meter.role, SpendRole::Proposer);
        assert!(call.schema.is_some() && call.max_tokens >= 2048);
        let user = &call.messages[1].content;
        assert!(
            user.contains("=== prompts/answer.md") && user.contains("answer_buried@answer"),
            "{user}"
        );
    }
}

#[tokio::test]
async fn words_with_braces_and_odd_fields_spoil_no_edits() {
    let (project, request) = prompt_request();
    let edits = json!([{"path": "prompts/answer.md", "content": BETTER}]);
    let good = reply(edits.clone());
    let odd = json!({
        "hypothesis": null,
        "technique": 3,
        "idea": ["x"],
        "target_cluster": null,
        "expected_gain": " 0.5 ",
        "edits": edits,
    });
    for (text, gain) in [
        (
            format!("`{{{{ question }}}}` comes last now.\n{good}"),
            Some(0.2),
        ),
        (
            format!("I fill in {{}} and {{\"edits\": []}}:\n```json\n{good}\n```\n{{done}}"),
            Some(0.2),
        ),
        (json!({ "reply": odd.clone() }).to_string(), Some(0.5)),
        (odd.to_string(), Some(0.5)),
        (
            json!({ "edits": edits, "expected_gain": "some" }).to_string(),
            None,
        ),
    ] {
        let (proposal, _) = ask(&project, &request, &text).await;
        let Proposal::Draft(draft) = proposal else {
            panic!("{text}: {proposal:?}")
        };
        let prompt = draft.tree.text("prompts/answer.md").unwrap();
        assert_eq!((prompt.trim_end(), draft.expected_gain), (BETTER, gain));
    }
}

#[tokio::test]
async fn bad_replies_are_unusable_and_say_why() {
    let (project, request) = prompt_request();
    let same = request.tree.text("prompts/answer.md").unwrap();
    for (text, reason) in [
        ("I would rather not.".to_owned(), "no JSON"),
        (
            "{\"hypothesis\": \"x\", \"edits\": [".to_owned(),
            "cannot be read",
        ),
        ("{\"edits\": 3}".to_owned(), "not what was asked for"),
        ("{\"hypothesis\": \"x\"}".to_owned(), "no `edits`"),
        (
            "{{ question }} comes first: {\"edits\": [{\"path\": \"a\"".to_owned(),
            "EOF",
        ),
        (reply(json!([])), "changes no file"),
        (
            reply(json!([{"path": "prompts/answer.md", "content": same}])),
            "changes no file",
        ),
        (
            reply(json!([{"path": "prompts/other.md", "content": "x"}])),
            "does not exist",
        ),
        (
            reply(json!([{"path": "../fapo.yaml", "content": "x"}])),
            "no path in the pipeline",
        ),
        (
            reply(json!([{"path": "/etc/passwd", "content": "x"}])),
            "no path in the pipeline",
        ),
    ] {
        let (proposal, _) = ask(&project, &request, &text).await;
        let Proposal::Unusable {
            reason: said,
            spend,
        } = proposal
        else {
            panic!("{text}: {proposal:?}")
        };
        assert!(said.contains(reason), "{said}");
        assert_eq!(spend.model_calls, 1);
    }
    let whole = reply(json!([{"path": "prompts/answer.md", "content": BETTER}]));
    for (finish, reason) in [
        (FinishReason::Length, "cut off"),
        (FinishReason::Refusal, "declined"),
    ] {
        let (proposal, _) = ask_until(&project, &request, &whole, finish).await;
        let Proposal::Unusable { reason: said, .. } = proposal else {
            panic!("{proposal:?}")
        };
        assert!(said.contains(reason), "{said}");
    }
}

#[tokio::test]
async fn new_prompts_and_code_are_allowed_at_the_structure_level_only() {
    let (project, mut request) = prompt_request();
    let text =
        reply(json!([{"path": "prompts/check.md", "content": "Check {{ steps.answer.text }}"}]));
    assert!(matches!(
        ask(&project, &request, &text).await.0,
        Proposal::Unusable { .. }
    ));
    request.level = Level::Structure;
    assert!(matches!(
        ask(&project, &request, &text).await.0,
        Proposal::Draft(_)
    ));
    let code = |path: &str| reply(json!([{"path": path, "content": "x"}]));
    assert!(matches!(
        ask(&project, &request, &code("steps/x.py")).await.0,
        Proposal::Draft(_)
    ));
    for elsewhere in ["steps/x.sh", "x.py", "prompts/x.py"] {
        assert!(matches!(
            ask(&project, &request, &code(elsewhere)).await.0,
            Proposal::Unusable { .. }
        ));
    }
}

#[tokio::test]
async fn files_that_were_not_shown_cannot_be_replaced() {
    let (mut project, mut request) = prompt_request();
    project.proposer.evidence_tokens = 500;
    let long = format!(
        "{}\n{{{{ question }}}} {{{{ steps.hop.docs }}}}\n",
        "Read with care. ".repeat(400)
    );
    request.tree.insert("prompts/answer.md", long.into_bytes());
    let text = reply(json!([{"path": "prompts/answer.md", "content": BETTER}]));
    let (proposal, _) = ask(&project, &request, &text).await;
    let Proposal::Unusable { reason, .. } = proposal else {
        panic!("{proposal:?}")
    };
    assert!(reason.contains("was not shown"), "{reason}");
}

#[tokio::test]
async fn a_repeated_task_has_the_same_key_and_another_iteration_another() {
    let (project, mut request) = prompt_request();
    let key = async |request: &ProposalRequest| {
        let (_, says) = ask(&project, request, "").await;
        let asked = says.asked.lock().unwrap();
        asked[0].1.key
    };
    let first = key(&request).await;
    assert_eq!(first, key(&request).await);
    request.iteration = 2;
    assert_ne!(first, key(&request).await);
}

#[tokio::test]
async fn the_proposers_model_is_named_or_found() {
    let (mut project, request) = prompt_request();
    let entry = async |project: &ProjectSpec| {
        let (_, says) = ask(project, &request, "").await;
        let asked = says.asked.lock().unwrap();
        asked[0].0.entry.to_string()
    };
    assert_eq!(entry(&project).await, "task");
    let large = project.models["task"].clone();
    project.models.insert("proposer".to_owned(), large.clone());
    assert_eq!(entry(&project).await, "proposer");
    project.models.insert("large".to_owned(), large);
    project.proposer.model = Some("large".to_owned());
    assert_eq!(entry(&project).await, "large");
    project.proposer.model = Some("none".to_owned());
    let says = Says {
        text: String::new(),
        finish: FinishReason::Stop,
        asked: Mutex::new(Vec::new()),
    };
    let error = Reflect::new(Arc::new(says))
        .propose(
            &spec(&project),
            &request,
            fence(),
            &CancellationToken::new(),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, ProposeError::Config { .. }), "{error}");
}

#[tokio::test]
async fn a_model_is_offered_only_where_the_scope_allows_one() {
    let (mut project, mut request) = prompt_request();
    let asked = async |project: &ProjectSpec, request: &ProposalRequest| {
        let (_, says) = ask(project, request, "").await;
        let asked = says.asked.lock().unwrap();
        let (call, _) = &asked[0];
        format!("{} {:?}", call.messages[1].content, call.schema)
    };
    for level in [Level::Parameter, Level::Structure] {
        request.level = level;
        project.scope.models.clear();
        let without = asked(&project, &request).await;
        assert!(
            !without.contains("model_choice") && !without.contains(", model"),
            "{without}"
        );
        project.scope.models = vec!["large".to_owned()];
        let with = asked(&project, &request).await;
        assert!(with.contains("`model`") && with.contains("large"), "{with}");
    }
    for word in
        StepSpec::KINDS
            .into_iter()
            .chain(["`when`", "vote", "best_by", "merge", "output: json"])
    {
        assert!(asked(&project, &request).await.contains(word), "{word}");
    }
}

#[tokio::test]
async fn the_words_of_the_request_are_as_written() {
    let (project, mut request) = prompt_request();
    request.history.push(tried(&request, "role/expert"));
    request.playbook = Some("Answers are names of people.".to_owned());
    for (ordinal, cluster) in [(0, Some("answer_buried@answer")), (1, None)] {
        let case = case_with(
            "c",
            json!({"question": "Who built the mill?"}),
            json!({"answer": "Ada Quill"}),
        );
        let text = "It was Ada Quill, as the passages say.";
        request.evidence.push(evidence(
            ordinal,
            cluster,
            case,
            run(ordinal, text, vec![record("answer", "llm", said(text))]),
        ));
    }
    let (_, says) = ask(&project, &request, "").await;
    let asked = says.asked.lock().unwrap();
    insta::assert_snapshot!(asked[0].0.messages[1].content);
}
