//! What the model reviewer asks, and what becomes of its replies.

use std::sync::Arc;

use fapo_domain::TaskId;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::proposal::{Review, ReviewCheck, ReviewVerdict};
use fapo_domain::model::task::Fence;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::diagnosis::{ReviewError, Reviewer};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::ModelReviewer;
use crate::testing::model::{Says, Scripted};
use crate::testing::{job_spec, review_request, samples};

fn spec() -> JobSpec {
    let (tree, project) = samples::single_hop();
    job_spec(project, tree.id())
}

async fn ask(spec: &JobSpec, model: &Arc<Scripted>) -> Result<Review, ReviewError> {
    let request = review_request("Answer in one word.");
    let fence = Fence {
        task: TaskId::derive(request.job, "review", "1"),
        epoch: 1,
    };
    ModelReviewer::new(Arc::clone(model) as Arc<_>)
        .review(spec, &request, fence, &CancellationToken::new())
        .await
}

fn verdict(verdict: &str, severities: &[&str]) -> Says {
    let findings: Vec<_> = severities
        .iter()
        .map(|severity| {
            json!({"check": "leakage", "severity": severity, "place": "prompts/answer.md", "message": "names a town"})
        })
        .collect();
    Says::Text(json!({"verdict": verdict, "findings": findings, "summary": "narrow"}).to_string())
}

#[tokio::test]
async fn a_reply_becomes_a_review_with_its_hashes_and_its_cost() {
    let model = Scripted::new([verdict("pass", &["warn"])]);
    let review = ask(&spec(), &model).await.unwrap();
    assert_eq!(review.verdict(), ReviewVerdict::Warn);
    assert_eq!(review.findings()[0].check, ReviewCheck::Leakage);
    assert!(review.prompt_hash.is_some() && review.evidence_hash.is_some());
    assert_eq!(review.spend.model_calls, 1);
    let asked = model.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].1.role, SpendRole::Reviewer);
    assert_eq!(
        asked[0].0.schema.as_ref().unwrap()["required"][0],
        "verdict"
    );
    // the same question again has the same key: the cache answers
    ask(&spec(), &model).await.unwrap();
    assert_eq!(model.asked()[1].1.key, asked[0].1.key);
}

#[tokio::test]
async fn a_reply_that_cannot_be_used_is_asked_for_once_more() {
    for bad in [
        Says::Text("Looks good to me!".to_owned()),
        Says::CutOff("{\"verdict\": \"pass\"}".to_owned()),
    ] {
        let model = Scripted::new([bad, verdict("pass", &[])]);
        let review = ask(&spec(), &model).await.unwrap();
        assert_eq!(review.verdict(), ReviewVerdict::Pass);
        assert_eq!(review.spend.model_calls, 2);
        let last = model.last_messages();
        assert!(last[1].contains("could not be used"), "{}", last[1]);
        let keys: Vec<_> = model.asked().iter().map(|(_, meter)| meter.key).collect();
        assert_ne!(keys[0], keys[1]);
    }
}

#[tokio::test]
async fn without_a_usable_verdict_the_change_fails_and_is_not_sent_back() {
    let model = Scripted::new([Says::Text("Looks good to me!".to_owned())]);
    let review = ask(&spec(), &model).await.unwrap();
    assert_eq!(model.asked().len(), 2);
    assert_eq!(review.verdict(), ReviewVerdict::Fail);
    assert!(review.is_unusable() && !review.asks_for_revision());
    assert_eq!(review.spend.model_calls, 2);
}

#[tokio::test]
async fn where_the_budget_ends_nobody_vouches_for_the_change() {
    let model = Scripted::new([Says::Broke]);
    let review = ask(&spec(), &model).await.unwrap();
    assert!(review.is_unusable());
    assert!(review.summary().contains("no call is left"), "{review:?}");
}

#[tokio::test]
async fn a_reviewer_that_cannot_be_reached_or_is_not_there_is_an_error_and_no_verdict() {
    use fapo_domain::error::Classified;
    for (says, reason) in [
        (Says::Down, "MODEL_UNAVAILABLE"),
        (Says::NoKey, "MODEL_NO_KEY"),
    ] {
        let error = ask(&spec(), &Scripted::new([says])).await.unwrap_err();
        assert_eq!(error.reason(), reason);
    }
    let mut spec = spec();
    spec.project.reviewer.model = Some("strict".to_owned());
    let error = ask(&spec, &Scripted::new([Says::Down])).await.unwrap_err();
    assert_eq!(error.reason(), "REVIEWER_CONFIG");
    assert!(error.to_string().contains("`strict`"), "{error}");
}

#[tokio::test]
async fn a_projects_own_prompt_is_used_and_changes_the_hash() {
    let model = Scripted::new([verdict("pass", &[])]);
    let default = ask(&spec(), &model).await.unwrap();
    let mut own = spec();
    let words = "Be strict. {{ evidence }} {{ mark }}";
    own.prompts
        .insert("reviewer_user".to_owned(), words.to_owned());
    let review = ask(&own, &model).await.unwrap();
    assert!(model.last_messages()[1].starts_with("Be strict. # What the author says"));
    assert_ne!(review.prompt_hash, default.prompt_hash);
    assert_eq!(review.evidence_hash, default.evidence_hash);
    own.prompts
        .insert("reviewer_user".to_owned(), "{{ evidence".to_owned());
    let error = ask(&own, &model).await.unwrap_err();
    assert!(error.to_string().contains("reviewer_user"), "{error}");
}
