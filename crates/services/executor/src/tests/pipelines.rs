//! What one run does: order, conditions, outputs, retrieval.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::pipeline::RetrieveStep;
use fapo_domain::model::trace::{FinishReason, RunRecord, RunStatus, StepStatus};
use proptest::prelude::*;
use serde_json::json;

use super::script::{MemoryCache, Script, say};
use super::stage::{play, play_at, question, spec, text, tree};

pub(super) const DIAMOND: &str = "
steps:
  - { id: join, kind: template, template: '{{ steps.left.text }}+{{ steps.right.text }}' }
  - { id: left, kind: llm, prompt: prompts/left.md }
  - { id: right, kind: llm, prompt: prompts/right.md }
output: join
";
pub(super) const SIDES: [(&str, &str); 2] =
    [("left", "L {{ question }}"), ("right", "R {{ question }}")];

#[tokio::test(start_paused = true)]
async fn independent_steps_run_at_the_same_time_and_their_records_say_so() {
    let script = Script::echo().slow(Duration::from_millis(100));
    let run = play(&spec(), &tree(DIAMOND, &SIDES), &script, question("q")).await;
    assert_eq!(run.status, RunStatus::Completed);
    assert_eq!(run.output_text.as_deref(), Some("L q+R q"));
    assert_eq!((run.duration_ms, script.peak()), (100, 2));
    let shown: Vec<_> = run
        .steps
        .iter()
        .map(|step| {
            (
                step.step.as_str(),
                step.position,
                step.started_ms,
                step.duration_ms,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("left", 0, 0, 100),
            ("right", 1, 0, 100),
            ("join", 2, 100, 0)
        ]
    );
    let left = &run.steps[0];
    assert_eq!(
        left.input,
        Some(json!([{ "role": "user", "content": "L q" }]))
    );
    assert_eq!((left.finish, left.attempts), (Some(FinishReason::Stop), 1));
    assert!(left.key.is_some() && run.steps[2].key.is_none());
    assert_eq!(run.spend.model_calls, 2);
    assert_eq!(run.full_spend, run.spend);
}

#[tokio::test(start_paused = true)]
async fn a_run_answered_from_the_cache_says_how_long_it_would_have_taken() {
    const CHAIN: &str = "
steps:
  - { id: left, kind: llm, prompt: prompts/left.md }
  - { id: right, kind: llm, prompt: prompts/right.md }
  - { id: last, kind: llm, prompt: prompts/last.md }
output: last
";
    let chain = |last| {
        let last = ("last", last);
        tree(CHAIN, &[SIDES[0], SIDES[1], last])
    };
    let script = Script::echo()
        .slow(Duration::from_millis(100))
        .with_cache(Arc::new(MemoryCache::default()));
    let both = "A {{ steps.left.text }} {{ steps.right.text }}";
    let first = play(&spec(), &chain(both), &script, question("q")).await;
    assert_eq!((first.duration_ms, first.full_duration_ms), (200, 200));

    // only the last step is asked anew; the two before it stand side by side
    let edited = both.replace('A', "B");
    let second = play(&spec(), &chain(&edited), &script, question("q")).await;
    assert_eq!((second.duration_ms, second.full_duration_ms), (100, 200));
    let shown = |run: &RunRecord| -> Vec<(bool, u32, u32)> {
        run.steps
            .iter()
            .map(|step| (step.cache_hit, step.duration_ms, step.full_duration_ms))
            .collect()
    };
    assert_eq!(
        shown(&second),
        [(true, 0, 100), (true, 0, 100), (false, 100, 100)]
    );
    let third = play(&spec(), &chain(&edited), &script, question("q")).await;
    assert_eq!((third.duration_ms, third.full_duration_ms), (0, 200));
}

#[tokio::test]
async fn a_skipped_step_is_null_and_what_needs_it_runs() {
    let pipeline = "
steps:
  - { id: hard, kind: template, template: '{{ question | length > 3 }}' }
  - { id: think, kind: llm, prompt: prompts/left.md, when: 'steps.hard.text == \"true\"' }
  - { id: out, kind: template, template: '{{ steps.think.text | default(\"short\") }}' }
output: out
";
    let tree = tree(pipeline, &SIDES);
    let run = play(&spec(), &tree, &Script::echo(), question("abc")).await;
    assert_eq!(run.output_text.as_deref(), Some("short"));
    assert_eq!(run.step("think").unwrap().status, StepStatus::Skipped);
    let run = play(&spec(), &tree, &Script::echo(), question("abcd")).await;
    assert_eq!(run.output_text.as_deref(), Some("L abcd"));
}

#[tokio::test]
async fn a_skipped_output_fails_the_run() {
    let pipeline = "
steps:
  - { id: out, kind: llm, prompt: prompts/left.md, when: 'question == \"go\"' }
output: out
";
    let run = play(
        &spec(),
        &tree(pipeline, &SIDES),
        &Script::echo(),
        question("stay"),
    )
    .await;
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.reason.as_deref(), Some("output_skipped"));
}

pub(super) const JSON: &str = "
steps:
  - id: answer
    kind: llm
    prompt: prompts/left.md
    output: json
    schema: { type: object, properties: { label: { type: string } }, required: [label] }
  - { id: other, kind: llm, prompt: prompts/right.md }
  - { id: after, kind: template, template: '{{ steps.answer.json.label }}!' }
output: answer.json.label
";

#[tokio::test]
async fn json_is_read_checked_and_scored_by_path() {
    let script = Script::table(&[("L ok", "```json\n{\"label\": \"Yes é\"}\n```")]);
    let run = play(&spec(), &tree(JSON, &SIDES), &script, question("ok")).await;
    assert_eq!(run.status, RunStatus::Completed, "{run:#?}");
    assert_eq!(run.output_text.as_deref(), Some("Yes é"));
    assert_eq!(run.output_json, Some(json!("Yes é")));
    assert_eq!(text(&run, "after"), "Yes é!");
    let asked = script.requests();
    assert!(asked[0].schema.as_ref().unwrap().is_object() && asked[1].schema.is_none());
}

#[tokio::test]
async fn templates_extract_point_and_fail_with_a_class() {
    let pipeline = "
steps:
  - { id: raw, kind: template, template: '{{ question }}' }
  - { id: found, kind: template, template: '{{ steps.raw.text }}', extract: 'answer: (\\w+)' }
  - { id: whole, kind: template, template: '{{ steps.raw.text }}', extract: '[a-z]+:' }
  - { id: picked, kind: template, template: '{\"a\": [1, {\"b\": \"Ü\"}]}', pointer: /a/1/b }
  - { id: out, kind: template, template: '{{ steps.found.text }}|{{ steps.whole.text }}|{{ steps.picked.text }}' }
output: out
";
    let tree_ok = tree(pipeline, &[]);
    let run = play(
        &spec(),
        &tree_ok,
        &Script::echo(),
        question("so answer: Čau"),
    )
    .await;
    assert_eq!(run.output_text.as_deref(), Some("Čau|answer:|Ü"));
    let run = play(&spec(), &tree_ok, &Script::echo(), question("NOTHING")).await;
    assert_eq!(run.output_text.as_deref(), Some("NOTHING|NOTHING|Ü"));
    let missing = pipeline.replace("/a/1/b", "/a/7");
    let run = play(
        &spec(),
        &tree(&missing, &[]),
        &Script::echo(),
        question("x"),
    )
    .await;
    assert_eq!(run.reason.as_deref(), Some("pointer_missing"));
    let unknown = "
steps:
  - { id: out, kind: template, template: '{{ input.absent }}' }
output: out
";
    let run = play(&spec(), &tree(unknown, &[]), &Script::echo(), question("x")).await;
    assert_eq!(
        (run.status, run.reason.as_deref()),
        (RunStatus::Failed, Some("render_error"))
    );
}

const HOPS: &str = "
steps:
  - { id: one, kind: retrieve, query: '{{ question }}', k: 1 }
  - { id: two, kind: retrieve, queries: ['{{ steps.one.docs[0].title }} night', \"eggs\\n\\n mice \"], k: 2, include: [one] }
  - { id: out, kind: template, template: '{{ steps.two.docs | map(attribute=\"doc_id\") | join(\",\") }}' }
output: out
";

#[tokio::test]
async fn retrieval_joins_earlier_documents_fuses_queries_and_notes_what_came_after() {
    let mut spec = spec();
    spec.project.diagnosis.probe_depth = 1;
    let run = play(
        &spec,
        &tree(HOPS, &[]),
        &Script::echo(),
        question("lays eggs"),
    )
    .await;
    assert_eq!(run.status, RunStatus::Completed, "{run:#?}");
    let one = run.step("one").unwrap().output.as_ref().unwrap();
    assert_eq!(one.docs.as_ref().unwrap()[0].document.doc_id, "hen");
    assert_eq!(one.text, "[1] Hen\nA bird that lays eggs.");
    assert!(one.beyond.is_empty(), "only one document has these words");
    let two = run.step("two").unwrap();
    let queries = json!({ "queries": ["Hen night", "eggs", "mice"], "included": ["hen"] });
    assert_eq!(two.input, Some(queries));
    // the hen is there already; cat is first for mice, fox (with hens, by night) for the first query, owl second
    assert_eq!(run.output_text.as_deref(), Some("hen,cat,fox"));
    assert_eq!(
        two.output.as_ref().unwrap().beyond,
        [("owl".to_owned(), "Owl".to_owned())]
    );

    spec.project.limits.documents = Some(3);
    let run = play(&spec, &tree(HOPS, &[]), &Script::echo(), question("eggs")).await;
    assert_eq!(
        run.status,
        RunStatus::Completed,
        "one and two: three documents"
    );
    let none = play(&spec, &tree(HOPS, &[]), &Script::echo(), question("???")).await;
    assert_eq!(
        none.reason.as_deref(),
        Some("render_error"),
        "there is no first document"
    );
}

#[tokio::test]
async fn more_queries_than_allowed_fail_the_step_before_any_search() {
    let pipeline = "
steps:
  - { id: find, kind: retrieve, queries: ['eggs', '{{ question }}'], k: 1 }
  - { id: out, kind: template, template: '{{ steps.find.docs | length }}' }
output: out
";
    let with = async |lines: usize| {
        let text = question(&"hen\n".repeat(lines));
        play(&spec(), &tree(pipeline, &[]), &Script::echo(), text).await
    };
    let most = RetrieveStep::MAX_QUERIES;
    assert_eq!(with(most - 1).await.status, RunStatus::Completed);
    let run = with(most).await;
    assert_eq!(
        (run.status, run.reason.as_deref()),
        (RunStatus::Failed, Some("too_many_queries"))
    );
    let find = run.step("find").unwrap();
    assert!(
        find.error.as_deref().unwrap().contains("100 lines"),
        "{find:?}"
    );
}

#[tokio::test]
async fn the_seed_is_sent_only_where_it_is_set_and_moves_with_the_sample() {
    let pipeline = "
steps:
  - { id: left, kind: llm, prompt: prompts/left.md, seed: 7, temperature: 0.0, stop: [END], max_tokens: 5 }
  - { id: right, kind: llm, prompt: prompts/right.md, needs: [left] }
output: right
";
    let mut spec = spec();
    spec.project.models.get_mut("task").unwrap().temperature = Some(0.7);
    let script = Script::echo();
    play_at(&spec, &tree(pipeline, &SIDES), &script, question("q"), 2).await;
    let requests = script.requests();
    assert_eq!((requests[0].seed, requests[1].seed), (Some(9), None));
    assert_eq!(
        (requests[0].temperature, requests[1].temperature),
        (Some(0.0), Some(0.7))
    );
    assert_eq!((requests[0].max_tokens, requests[1].max_tokens), (5, 1024));
    assert_eq!(requests[0].stop, ["END"]);
    assert_eq!(&*requests[0].entry, "task");
}

#[tokio::test]
async fn a_variant_that_cannot_run_is_a_permanent_error_with_every_problem() {
    let broken = tree(
        "steps:\n  - { id: a, kind: llm, prompt: nowhere.md }\noutput: b\n",
        &[],
    );
    let error = crate::plan::Plan::compile(&broken, &spec()).unwrap_err();
    assert_eq!(
        (error.reason, error.retry),
        ("VARIANT_INVALID", fapo_domain::Retry::Never)
    );
    assert!(error.message.contains("nowhere.md"), "{error}");
    assert!(error.message.contains('b'), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_passes_through_unharmed(text in "\\PC{0,40}") {
        let pipeline = "
steps:
  - { id: a, kind: llm, prompt: prompts/a.md }
  - { id: out, kind: template, template: '<{{ steps.a.text }}>' }
output: out
";
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let said = text.clone();
        let script = Script::new(move |_| say(said.clone()));
        let run = runtime.block_on(play(
            &spec(),
            &tree(pipeline, &[("a", "say {{ question }}")]),
            &script,
            question(&text),
        ));
        prop_assert_eq!(run.output_text, Some(format!("<{text}>")));
        let asked = format!("say {text}");
        prop_assert_eq!(script.asked(), vec![asked.trim().to_owned()]);
    }
}
