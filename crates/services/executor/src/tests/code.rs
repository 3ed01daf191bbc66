//! Steps that run code.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::case::Split;
use fapo_domain::model::trace::{RunRecord, RunStatus, StepStatus};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::code::{CodeError, CodeRunner};
use fapo_domain::ports::variants::Variants;
use fapo_testkit::code::ScriptedCode;
use serde_json::{Value, json};

use super::house::House;
use super::script::{MemoryCache, Script};
use super::stage::{play_with, question, spec, text, tree};
use crate::outcome::Cause;

type Answer = dyn Fn() -> Result<Value, CodeError> + Send + Sync;

const FORM: &str = "
steps:
  - { id: find, kind: retrieve, corpus: wiki, query: '{{ question }}', k: 1 }
  - { id: never, kind: template, template: x, when: 'false' }
  - { id: beside, kind: template, template: x }
  - { id: form, kind: python, file: steps/form.py, needs: [find, never], timeout_s: 2 }
  - { id: say, kind: llm, prompt: prompts/say.md }
output: say
";

fn with_code(pipeline: &str) -> VariantTree {
    let say = "{{ steps.form.text }} {{ steps.form.json.n }} {{ steps.form.docs | length }}";
    let mut tree = tree(pipeline, &[("say", say)]);
    tree.insert(
        "steps/form.py",
        b"def run(inputs): ...\ndef judge(inputs): ...\n".as_slice(),
    );
    tree
}

async fn run(pipeline: &str, code: &dyn CodeRunner) -> RunRecord {
    let (spec, script) = (spec(), Script::echo());
    play_with(
        &spec,
        &with_code(pipeline),
        &script,
        code,
        question("hunts"),
        0,
    )
    .await
    .record
}

#[tokio::test]
async fn code_is_given_the_input_and_what_it_needs_and_others_see_what_it_returns() {
    let code = ScriptedCode::new(|_, _| {
        Ok(json!({"text": "t", "n": 7, "docs": [{"doc_id": "d", "title": "D", "text": "x"}]}))
    });
    let run = run(FORM, &code).await;
    assert_eq!(run.status, RunStatus::Completed, "{run:#?}");
    assert_eq!(run.output_text.as_deref(), Some("t 7 1"));
    let asked = &code.asked()[0];
    assert_eq!(asked["input"]["question"], "hunts");
    assert_eq!(asked["case_id"], "c0");
    assert_eq!(asked["steps"]["never"], Value::Null, "{asked:#}");
    assert_eq!(asked["steps"]["find"]["docs"].as_array().unwrap().len(), 1);
    assert!(asked["steps"]["find"]["docs"][0]["title"].is_string());
    assert_eq!(asked["steps"].as_object().unwrap().len(), 2, "needs alone");
    let record = run.step("form").unwrap();
    assert_eq!(record.input.as_ref(), Some(asked), "what went in is kept");
    assert_eq!((record.key, record.spend.model_calls), (None, 0));
}

#[tokio::test]
async fn codes_own_faults_fail_the_step_with_the_reason() {
    let file = || "steps/form.py".to_owned();
    let table: [(&str, Box<Answer>); 4] = [
        (
            "code_failed",
            Box::new(move || {
                Err(CodeError::Failed {
                    file: file(),
                    message: "KeyError: 'x' at line 3".to_owned(),
                })
            }),
        ),
        (
            "code_died",
            Box::new(move || {
                Err(CodeError::Died {
                    file: file(),
                    message: "killed".to_owned(),
                })
            }),
        ),
        (
            "code_timed_out",
            Box::new(move || {
                Err(CodeError::TimedOut {
                    file: file(),
                    seconds: 2,
                })
            }),
        ),
        ("code_output", Box::new(|| Ok(json!(3)))),
    ];
    for (kind, answer) in table {
        let code = ScriptedCode::new(move |_, _| answer());
        let run = run(FORM, &code).await;
        assert_eq!(run.status, RunStatus::Failed);
        assert_eq!(run.reason.as_deref(), Some(kind));
        let record = run.step("form").unwrap();
        assert_eq!(record.status, StepStatus::Failed);
        let said = record.error.as_deref().unwrap();
        assert!(said.contains("steps/form.py"), "{said}");
        assert!(run.step("say").is_none(), "nothing runs on from it");
    }
}

#[tokio::test]
async fn workers_that_cannot_be_had_make_the_run_missing() {
    let (spec, script, tree) = (spec(), Script::echo(), with_code(FORM));
    for configuration in [false, true] {
        let code = ScriptedCode::new(move |unit, _| {
            Err(CodeError::Unavailable {
                file: unit.file.clone(),
                message: "no python3".to_owned(),
                configuration,
            })
        });
        let ended = play_with(&spec, &tree, &script, &code, question("q"), 0).await;
        assert_eq!(ended.record.status, RunStatus::Missing);
        assert_eq!(ended.record.reason.as_deref(), Some("code_unavailable"));
        match ended.cause {
            Cause::Abort(error) => {
                assert!(configuration);
                assert_eq!(error.reason, "CODE_UNAVAILABLE");
            }
            Cause::Workers(_) => assert!(!configuration),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_block_without_workers_ends_with_their_name() {
    let mut house = House::new(6, |_| {}, |_| Script::echo()).await;
    let variant = house.store.put_variant(&with_code(FORM)).await.unwrap();
    let evaluation = house.evaluation(variant, Split::Train);
    for (configuration, retry) in [(false, true), (true, false)] {
        house.set_code(Arc::new(ScriptedCode::new(move |unit, _| {
            Err(CodeError::Unavailable {
                file: unit.file.clone(),
                message: "no python3".to_owned(),
                configuration,
            })
        })));
        let round = u32::from(configuration);
        let block = fapo_domain::model::evaluation::Block { start: 0, end: 6 };
        let task = house.claimed(&evaluation, block, round).await;
        let error = house.handle(&task).await.unwrap_err();
        assert_eq!(error.reason, "CODE_UNAVAILABLE");
        assert!(error.message.contains("no python3"), "{error}");
        assert_eq!(error.retry != fapo_domain::Retry::Never, retry);
    }
    house.set_code(Arc::new(ScriptedCode::new(|_, _| {
        Ok(json!({"text": "t", "n": 1, "docs": []}))
    })));
    let (executed, runs) = house.evaluate(&evaluation).await;
    assert_eq!((executed.completed, executed.missing), (6, 0));
    assert!(runs.iter().all(|run| run.status == RunStatus::Completed));
}

#[tokio::test(start_paused = true)]
async fn a_case_is_charged_what_its_code_took_and_not_what_it_waited_for() {
    let mut spec = spec();
    spec.project.limits.seconds = 5;
    let (script, tree) = (Script::echo(), with_code(FORM));
    let returns = |_: &_, _: &Value| Ok(json!({"text": "t", "n": 1, "docs": []}));
    let second = Duration::from_secs(1);
    let code = ScriptedCode::new(returns).slow(60 * second, second);
    let run = play_with(&spec, &tree, &script, &code, question("q"), 0)
        .await
        .record;
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!((run.duration_ms, run.full_duration_ms), (61_000, 1_000));
    assert_eq!(run.step("form").unwrap().full_duration_ms, 1_000);
    // three calls of two seconds each, of five that the case has
    let chain = "
steps:
  - { id: a, kind: python, file: steps/form.py, timeout_s: 3 }
  - { id: b, kind: python, file: steps/form.py, timeout_s: 3, needs: [a] }
  - { id: form, kind: python, file: steps/form.py, timeout_s: 3, needs: [b] }
  - { id: say, kind: llm, prompt: prompts/say.md }
output: say
";
    let slow = Script::echo().slow(second);
    let code = ScriptedCode::new(returns).slow(second, 2 * second);
    let run = play_with(&spec, &with_code(chain), &slow, &code, question("q"), 0)
        .await
        .record;
    assert_eq!(run.status, RunStatus::TimedOut, "{run:#?}");
    let code = ScriptedCode::new(returns).slow(second, 4 * second);
    let run = play_with(&spec, &with_code(chain), &slow, &code, question("q"), 0)
        .await
        .record;
    assert_eq!(run.reason.as_deref(), Some("code_timed_out"));
    assert_eq!(run.step("a").unwrap().full_duration_ms, 3_000);
}

#[tokio::test]
async fn code_is_run_again_and_a_model_call_on_the_same_words_is_not() {
    let cache = Arc::new(MemoryCache::default());
    let script = Script::echo().with_cache(cache);
    let (spec, tree) = (spec(), with_code(FORM));
    let code = ScriptedCode::new(|_, _| Ok(json!({"text": "t", "n": 1, "docs": []})));
    for calls in 1..=2 {
        let run = play_with(&spec, &tree, &script, &code, question("q"), 0)
            .await
            .record;
        assert_eq!(run.status, RunStatus::Completed);
        assert_eq!(run.step("say").unwrap().cache_hit, calls == 2);
        assert_eq!(code.asked().len(), calls);
    }
}

#[tokio::test]
async fn code_inside_a_sample_sees_what_stands_around_it_and_judges() {
    let pipeline = "
steps:
  - { id: before, kind: template, template: 'b' }
  - id: form
    kind: sample
    n: 3
    steps:
      - { id: draft, kind: llm, prompt: prompts/draft.md }
      - { id: trim, kind: python, file: steps/form.py, needs: [draft, before] }
    combine: { method: best_by, check: { id: judge, kind: python, file: steps/form.py, function: judge } }
output: form
";
    let mut tree = with_code(pipeline);
    tree.insert("prompts/draft.md", b"{{ question }}".as_slice());
    let asked = std::sync::atomic::AtomicU32::new(0);
    let code = ScriptedCode::new(move |unit, input| {
        Ok(json!(if unit.function == "judge" {
            let candidate = input["candidate"].as_str().unwrap();
            if candidate.ends_with('1') { "9" } else { "1" }.to_owned()
        } else {
            let at = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            format!(
                "{}{}{at}",
                input["steps"]["draft"]["text"].as_str().unwrap(),
                input["steps"]["before"]["text"].as_str().unwrap()
            )
        }))
    });
    let (spec, script) = (spec(), Script::echo());
    let run = play_with(&spec, &tree, &script, &code, question("q"), 0)
        .await
        .record;
    assert_eq!(run.status, RunStatus::Completed, "{run:#?}");
    assert_eq!(text(&run, "form"), "qb1");
    assert!(
        run.steps
            .iter()
            .any(|step| step.step.as_str() == "form[2].judge")
    );
}
