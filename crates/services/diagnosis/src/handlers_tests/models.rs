//! The handlers with a model behind them: the reviewer, the reader of unclear failures, revisions.

use std::sync::Arc;

use fapo_domain::JobId;
use fapo_domain::model::case::Split;
use fapo_domain::model::finding::Rule;
use fapo_domain::model::level::{Level, Strategy, Technique};
use fapo_domain::model::project::{ProposerBackend, ReaderBackend, ReviewerBackend};
use fapo_domain::model::proposal::{
    ReviewCheck, ReviewFinding, ReviewSeverity, ReviewVerdict, Revise,
};
use fapo_domain::model::session::SessionEnd;
use fapo_domain::model::task::TaskPayload;
use fapo_domain::ports::agents::AgentError;
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::ports::work::TaskHandler;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Setting, claimed, setting};
use crate::testing::agent::{Plays, ScriptedAgent};
use crate::testing::model::{Says, Scripted};

fn with_reviewer(says: impl IntoIterator<Item = Says>) -> Setting {
    let mut setting = setting(|spec| spec.project.reviewer.backend = ReviewerBackend::Model);
    setting.model = Scripted::new(says);
    setting
}

fn verdict(verdict: &str) -> Says {
    Says::Text(json!({"verdict": verdict, "findings": [], "summary": "so it is"}).to_string())
}

#[tokio::test]
async fn what_the_lints_let_pass_is_reviewed_and_paid_for_once() {
    let setting = with_reviewer([verdict("warn"), verdict("fail")]);
    setting.attribute().await;
    let child = setting.child("Reply with the name alone.");
    let reviewed = setting.reviewed(child).await;
    let review = reviewed.review.clone().unwrap();
    assert_eq!(review.verdict(), ReviewVerdict::Warn);
    assert_eq!(reviewed.spend.model_calls, 1);
    let told = &setting.model.last_messages()[0];
    for part in [
        "Reply with the name alone.",
        "It explains itself.",
        "## Passes",
        "## Fails: answer_buried@answer",
        "| model calls | 1 | 1 |",
        "How replies are drawn is not changed.",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    for canary in ["mason", "hidden valley", "Old Tom", "val-", "test-"] {
        assert!(!told.contains(canary), "{canary} in {told}");
    }
    // the same task again: what was recorded, and no second call
    assert_eq!(setting.reviewed(child).await, reviewed);
    assert_eq!(setting.model.asked().len(), 1);
}

#[tokio::test]
async fn what_a_lint_refuses_is_never_shown_to_the_reviewer() {
    let setting = with_reviewer([verdict("pass")]);
    setting.attribute().await;
    let leak = "Which mason raised the tower of the hidden valley in year 3?";
    let reviewed = setting.reviewed(setting.child(leak)).await;
    assert!(!reviewed.lints.passed());
    assert_eq!(reviewed.review, None);
    assert!(setting.model.asked().is_empty());
}

#[tokio::test]
async fn a_reviewer_that_is_down_is_asked_again_later_and_one_that_is_not_set_up_says_so() {
    let down = with_reviewer([Says::Down, verdict("pass")]);
    down.attribute().await;
    let child = down.child("Reply with the name alone.");
    let error = down.try_review(child).await.unwrap_err();
    assert_eq!(error.reason, "MODEL_UNAVAILABLE");
    assert!(error.retry != fapo_domain::Retry::Never);
    assert!(down.reviewed(child).await.review.is_some());

    let absent = setting(|spec| spec.project.proposer.backend = ProposerBackend::ClaudeCode);
    absent.attribute().await;
    let child = absent.child("Reply with the name alone.");
    let error = absent.try_review(child).await.unwrap_err();
    assert_eq!(error.reason, "REVIEWER_CONFIG");
    assert!(error.message.contains("claude-code"), "{}", error.message);
}

#[tokio::test]
async fn a_catalogue_has_no_reviewer_unless_one_is_asked_for() {
    let setting = setting(|_| {});
    setting.attribute().await;
    let reviewed = setting
        .reviewed(setting.child("Reply with the name alone."))
        .await;
    assert!(reviewed.lints.passed() && reviewed.review.is_none());
}

#[tokio::test]
async fn a_revision_is_asked_for_with_the_findings_and_the_first_try() {
    let mut setting = setting(|spec| spec.project.proposer.backend = ProposerBackend::Reflect);
    let attribution = setting.attribute().await;
    let better = "system:\nYou answer questions from passages. Reply with a name.\n\nuser:\nPassages:\n{{ steps.hop.docs }}\n\nQuestion: {{ question }}\n\nAnswer:\n";
    let reply = json!({
        "hypothesis": "h", "technique": "output_constraint", "idea": "a name",
        "edits": [{"path": "prompts/answer.md", "content": better}],
    });
    setting.model = Scripted::new([Says::Text(reply.to_string())]);
    let first = setting.child("Reply as the Quills of the mill do.");
    let mut task = setting.propose_task(&attribution);
    task.strategy = Strategy::OtherTechnique {
        avoid: vec![Technique::Role],
    };
    task.revise = Some(Revise {
        candidate: first,
        findings: vec![ReviewFinding {
            check: ReviewCheck::Leakage,
            severity: ReviewSeverity::Block,
            place: "prompts/answer.md".to_owned(),
            message: "names a family".to_owned(),
        }],
        hypothesis: "families help".to_owned(),
        idea: "families".to_owned(),
        technique: Technique::OutputConstraint,
        summary: String::new(),
    });
    let claimed = claimed(TaskPayload::Propose(Box::new(task)));
    let value = setting
        .propose(None)
        .handle(&claimed, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(value["outcome"], "variant");
    assert!(value["prompt_hash"].is_string());
    let told = &setting.model.last_messages()[0];
    for part in [
        "block: leakage at prompts/answer.md: names a family",
        "+Reply as the Quills of the mill do.",
        "Write your change again, mended",
        "none of role",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("negative_examples, role"), "{told}");
}

fn reading_of(kind: &str, quote: &str) -> Says {
    let reply = json!({"kind": kind, "step": "answer", "quote": quote, "explanation": "because"});
    Says::Text(reply.to_string())
}

fn with_reader(says: impl IntoIterator<Item = Says>) -> Setting {
    let mut setting = setting(|spec| spec.project.diagnosis.reader.backend = ReaderBackend::Model);
    setting.model = Scripted::new(says);
    setting
}

#[tokio::test]
async fn what_the_rules_leave_unclear_is_read_and_the_rest_is_not() {
    let setting = with_reader([reading_of("knowledge", "Bo Vane")]);
    let attribution = setting.attribute().await;
    // six have the answer buried, which is clear
    assert_eq!(setting.model.asked().len(), 1);
    let reader = attribution.reader.unwrap();
    assert_eq!((reader.unclear, reader.asked, reader.kept), (1, 1, 1));
    assert!(reader.prompt_hash.is_some());
    let unclear = attribution
        .clusters
        .iter()
        .find(|cluster| cluster.rule == Rule::WrongAnswer)
        .unwrap();
    assert_eq!(unclear.level, Level::Structure);
    assert_eq!(unclear.readings[0].reading.quote, "Bo Vane");
    assert!(unclear.label.contains("read: 1 knowledge"), "{unclear:?}");
}

#[tokio::test]
async fn a_quote_that_is_not_there_changes_nothing_and_is_counted() {
    let plain = setting(|_| {}).attribute().await;
    let setting = with_reader([reading_of("knowledge", "Cy Bell")]);
    let mut attribution = setting.attribute().await;
    let reader = attribution.reader.take().unwrap();
    assert_eq!((reader.asked, reader.kept, reader.discarded), (1, 0, 1));
    assert_eq!(attribution, plain);
}

#[tokio::test]
async fn a_reader_that_cannot_be_asked_is_noted_and_one_that_is_set_up_wrong_is_an_error() {
    let plain = setting(|_| {}).attribute().await;
    for (says, words) in [
        (Says::Down, "cannot be reached"),
        (Says::Broke, "no call is left"),
    ] {
        let setting = with_reader([says]);
        let mut attribution = setting.attribute().await;
        let note = attribution.reader.take().unwrap().note.unwrap();
        assert!(note.contains(words), "{note}");
        assert_eq!(attribution, plain);
    }
    let setting = with_reader([Says::NoKey]);
    let error = setting.try_attribute().await.unwrap_err();
    assert_eq!(error.reason, "MODEL_NO_KEY");
}

fn with_agent(plays: impl IntoIterator<Item = Plays>) -> (Setting, ScriptedAgent) {
    let mut setting =
        setting(|spec| spec.project.diagnosis.reader.backend = ReaderBackend::ClaudeCode);
    let agent = ScriptedAgent::new(plays);
    let readers = setting.agents.clone();
    setting.agents = readers.with(ProposerBackend::ClaudeCode, Arc::new(agent.clone()));
    (setting, agent)
}

#[tokio::test]
async fn a_session_reads_what_is_unclear_and_its_id_stands_with_the_readings() {
    let said = json!({"readings": [
        {"failure": 1, "kind": "knowledge", "step": "answer", "quote": "Bo Vane", "explanation": "because"},
    ]});
    let (setting, agent) = with_agent([Plays::Answers(said)]);
    let attribution = setting.attribute().await;
    let reader = attribution.reader.unwrap();
    assert_eq!((reader.unclear, reader.asked, reader.kept), (1, 1, 1));
    assert_eq!(reader.spend.model_calls, 1);
    let sessions = setting.store.sessions(JobId::at(0, [7; 10])).await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!(reader.session, Some(sessions[0].id));
    let unclear = attribution
        .clusters
        .iter()
        .find(|cluster| cluster.rule == Rule::WrongAnswer)
        .unwrap();
    assert_eq!(unclear.level, Level::Structure);
    // no model was asked, and nothing of a held-out case was told
    assert!(setting.model.asked().is_empty());
    for canary in ["mason", "hidden valley", "Old Tom"] {
        assert!(!agent.prompts()[0].contains(canary), "{canary}");
    }
}

#[tokio::test]
async fn a_session_that_comes_to_nothing_changes_nothing_and_is_recorded_all_the_same() {
    let plain = setting(|_| {}).attribute().await;
    let down = AgentError::Provider {
        message: "overloaded".to_owned(),
        configuration: false,
    };
    for (play, words) in [
        (Plays::Fails(down), "overloaded"),
        (Plays::Ends(SessionEnd::OutOfTime), "ran out of time"),
    ] {
        let (setting, _) = with_agent([play]);
        let mut attribution = setting.attribute().await;
        let reader = attribution.reader.take().unwrap();
        assert!(reader.note.unwrap().contains(words));
        assert_eq!((reader.unclear, reader.asked), (1, 0));
        // what it cost is counted
        assert_eq!(reader.spend.model_calls, 1);
        assert!(reader.session.is_some());
        assert_eq!(attribution, plain);
    }
    let (setting, _) = with_agent([Plays::Ends(SessionEnd::Cancelled)]);
    let error = setting.try_attribute().await.unwrap_err();
    assert_eq!(error.reason, "INTERRUPTED");
    let sessions = setting.store.sessions(JobId::at(0, [7; 10])).await.unwrap();
    assert_eq!(sessions.len(), 1);
}

#[tokio::test]
async fn no_session_is_opened_where_nothing_is_unclear() {
    let (setting, agent) = with_agent([]);
    // the one that is wrong without a reason is right now
    let mut scores = setting.store.all_scores();
    scores[18].score = 1.0;
    let evaluation = setting.evaluation(Split::Train);
    setting.store.add_evaluation(evaluation.id(), scores);
    let reader = setting.attribute().await.reader.unwrap();
    assert_eq!((reader.unclear, reader.session), (0, None));
    assert!(agent.opened().is_empty());
}

#[tokio::test]
async fn an_agent_that_is_not_set_up_fails_the_attribution() {
    let setting = setting(|spec| spec.project.diagnosis.reader.backend = ReaderBackend::Codex);
    let error = setting.try_attribute().await.unwrap_err();
    assert_eq!(error.reason, "READER_CONFIG");
    assert!(error.message.contains("`codex`"), "{}", error.message);
}
