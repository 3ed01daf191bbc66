//! How runs end badly.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::project::LimitsSpec;
use fapo_domain::model::trace::{FinishReason, RunStatus, StepStatus};
use fapo_domain::ports::ledger::LedgerError;
use fapo_domain::ports::models::{MeteredError, ModelError};
use serde_json::json;

use super::pipelines::{DIAMOND, JSON, SIDES};
use super::script::{MemoryCache, Script, unreachable};
use super::stage::{play, play_at, question, spec, text, tree};
use crate::outcome::Cause;

#[tokio::test]
async fn an_unreadable_reply_fails_its_dependants_only_and_is_kept() {
    for (reply, kind) in [
        ("no json", "invalid_json"),
        ("{\"label\": 3}", "schema_mismatch"),
    ] {
        let script = Script::table(&[("L q", reply)]);
        let run = play(&spec(), &tree(JSON, &SIDES), &script, question("q")).await;
        assert_eq!(run.status, RunStatus::Failed);
        assert_eq!(run.reason.as_deref(), Some(kind));
        let record = run.step("answer").unwrap();
        assert_eq!(record.status, StepStatus::Failed);
        assert_eq!(record.error_kind.as_deref(), Some(kind));
        assert_eq!(text(&run, "answer"), reply);
        assert!(run.step("after").is_none());
        assert_eq!(run.step("other").unwrap().status, StepStatus::Ok);
        assert_eq!(run.output_text, None);
    }
}

#[tokio::test]
async fn a_fault_beside_the_output_leaves_the_run_complete() {
    let pipeline = "
steps:
  - { id: side, kind: llm, prompt: prompts/left.md, output: json }
  - { id: out, kind: llm, prompt: prompts/right.md }
output: out
";
    let run = play(
        &spec(),
        &tree(pipeline, &SIDES),
        &Script::echo(),
        question("q"),
    )
    .await;
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(
        run.step("side").unwrap().error_kind.as_deref(),
        Some("invalid_json")
    );
}

#[tokio::test]
async fn a_refusal_makes_the_run_refused_and_a_cut_off_reply_is_only_noted() {
    let script = Script::new(|request| match request.messages[0].content.as_str() {
        "L q" => Ok((String::new(), FinishReason::Refusal)),
        _ => Ok(("cut o".to_owned(), FinishReason::Length)),
    });
    let run = play(&spec(), &tree(DIAMOND, &SIDES), &script, question("q")).await;
    assert_eq!(
        (run.status, run.reason.as_deref()),
        (RunStatus::Refused, Some("refused"))
    );
    assert_eq!(
        run.step("left").unwrap().finish,
        Some(FinishReason::Refusal)
    );
    let right = run.step("right").unwrap();
    assert_eq!(
        (right.status, right.finish),
        (StepStatus::Ok, Some(FinishReason::Length))
    );
    assert!(run.step("join").is_none());
}

#[tokio::test]
async fn infrastructure_is_missing_and_setup_ends_the_block() {
    type Given = (fn() -> MeteredError, RunStatus, &'static str);
    let cases: [Given; 6] = [
        (
            || unreachable().unwrap_err(),
            RunStatus::Missing,
            "provider_unavailable",
        ),
        (|| timeout().into(), RunStatus::Missing, "provider_timeout"),
        (
            || rejected(400).into(),
            RunStatus::Failed,
            "provider_rejected",
        ),
        (|| rejected(401).into(), RunStatus::Missing, "configuration"),
        (|| rejected(402).into(), RunStatus::Missing, "configuration"),
        (budget, RunStatus::Missing, "budget"),
    ];
    for (error, status, reason) in cases {
        let script = Script::new(move |_| Err(error()));
        let ended = play_at(&spec(), &tree(DIAMOND, &SIDES), &script, question("q"), 0).await;
        let run = &ended.record;
        assert_eq!((run.status, run.reason.as_deref()), (status, Some(reason)));
        assert_eq!(
            matches!(ended.cause, Cause::Abort(_)),
            reason == "configuration"
        );
        assert_eq!(run.steps[0].error_kind.as_deref(), Some(reason));
        assert!(run.steps[0].input.is_some(), "what was asked is kept");
    }
}

fn timeout() -> ModelError {
    ModelError::Timeout {
        provider: "p".to_owned(),
        seconds: 1,
        attempts: 1,
        unanswered: 1,
    }
}

fn rejected(status: u16) -> ModelError {
    ModelError::Rejected {
        provider: "p".to_owned(),
        status,
        message: "no".to_owned(),
        unanswered: 0,
    }
}

fn budget() -> MeteredError {
    MeteredError::Budget(LedgerError::Exhausted {
        what: "0 of 10 calls are left".to_owned(),
        may_fit_later: false,
    })
}

#[tokio::test]
async fn caps_fail_the_case_by_name_and_hits_count_like_calls() {
    let cap = |change: fn(&mut LimitsSpec)| {
        let mut spec = spec();
        change(&mut spec.project.limits);
        spec
    };
    // each side takes 2 words and gives 2: 4 tokens, 4 micro-dollars
    for (spec, reason) in [
        (cap(|limits| limits.tokens = Some(7)), Some("cap_tokens")),
        (cap(|limits| limits.tokens = Some(8)), None),
        (cap(|limits| limits.usd = Some(0.000_007)), Some("cap_usd")),
        (cap(|limits| limits.usd = Some(0.000_008)), None),
        (cap(|limits| limits.model_calls = 2), None),
    ] {
        let cache = Arc::new(MemoryCache::default());
        let script = Script::echo().with_cache(cache);
        for look in ["first", "cached"] {
            let run = play(&spec, &tree(DIAMOND, &SIDES), &script, question("q")).await;
            assert_eq!(run.reason.as_deref(), reason, "{look}");
            let status = if reason.is_some() {
                RunStatus::Failed
            } else {
                RunStatus::Completed
            };
            assert_eq!(run.status, status, "{look}");
            assert_eq!(run.full_spend.model_calls, 2);
            assert_eq!(run.spend.model_calls, if look == "cached" { 0 } else { 2 });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_provider_is_not_the_cases_own_time() {
    let mut spec = spec();
    spec.project.limits.seconds = 3;
    let pipeline = "
steps:
  - { id: first, kind: llm, prompt: prompts/left.md }
  - { id: second, kind: llm, prompt: prompts/left.md, needs: [first] }
output: second
";
    let status = async |seconds| {
        let script = Script::echo()
            .slow(Duration::from_millis(seconds))
            .crowded(Duration::from_secs(600), Duration::from_secs(1));
        let run = play(&spec, &tree(pipeline, &SIDES), &script, question("q")).await;
        assert!(run.duration_ms > 1_200_000, "it waited all the same");
        (run.status, run.full_duration_ms)
    };
    assert_eq!(status(1_400).await, (RunStatus::Completed, 2_800));
    assert_eq!(status(1_600).await, (RunStatus::TimedOut, 3_000));
}

#[tokio::test(start_paused = true)]
async fn a_case_that_takes_too_long_is_timed_out_with_what_it_did() {
    let mut spec = spec();
    spec.project.limits.seconds = 3;
    let pipeline = "
steps:
  - { id: first, kind: template, template: done }
  - { id: slow, kind: llm, prompt: prompts/left.md }
output: slow
";
    let script = Script::echo().slow(Duration::from_secs(4));
    let run = play(&spec, &tree(pipeline, &SIDES), &script, question("q")).await;
    assert_eq!(
        (run.status, run.reason.as_deref()),
        (RunStatus::TimedOut, Some("cap_seconds"))
    );
    assert_eq!((run.duration_ms, run.full_duration_ms), (3000, 3000));
    assert_eq!(text(&run, "first"), "done");
    let slow = run.step("slow").unwrap();
    assert_eq!((slow.status, slow.duration_ms), (StepStatus::Failed, 3000));
    assert_eq!(slow.error_kind.as_deref(), Some("cap_seconds"));
    assert_eq!(
        slow.input,
        Some(json!([{ "role": "user", "content": "L q" }]))
    );
    assert_eq!(script.under_way(), 0);
}
