//! `sample` steps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fapo_domain::model::trace::{FinishReason, RunStatus, StepStatus};

use super::script::{MemoryCache, Script, last, say};
use super::stage::{play, question, spec, text, tree};

const PROMPTS: [(&str, &str); 3] = [
    ("draft", "draft {{ question }}"),
    ("judge", "judge {{ candidate }}"),
    ("merge", "merge {{ samples | join(',') }}"),
];

fn pipeline(n: u32, combine: &str) -> String {
    format!(
        "
steps:
  - id: pick
    kind: sample
    n: {n}
    steps:
      - {{ id: draft, kind: llm, prompt: prompts/draft.md, temperature: 1.0 }}
      - {{ id: clean, kind: template, template: '{{{{ steps.draft.text }}}}', extract: 'is (.*)' }}
    combine: {combine}
output: pick
"
    )
}

/// Gives each draft its own text, in order of the calls.
fn drafts(texts: &'static [&'static str]) -> Script {
    let next = AtomicUsize::new(0);
    Script::new(move |request| {
        let message = last(request);
        if message.starts_with("draft") {
            let text = texts[next.fetch_add(1, Ordering::SeqCst) % texts.len()];
            return match text {
                "refuse" => Ok((String::new(), FinishReason::Refusal)),
                text => say(text),
            };
        }
        match message.strip_prefix("judge ") {
            Some(candidate) => say(format!("{} points", candidate.len())),
            None => say(message.to_uppercase()),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn samples_from_the_cache_count_side_by_side_and_what_combines_them_after() {
    for (combine, full) in [
        ("{ method: vote }", 10),
        (
            "{ method: best_by, check: { id: judge, kind: llm, prompt: prompts/judge.md } }",
            20,
        ),
        (
            "{ method: merge, step: { id: merge, kind: llm, prompt: prompts/merge.md } }",
            20,
        ),
    ] {
        let script = drafts(&["it is a", "it is B", "it is b"])
            .slow(Duration::from_millis(10))
            .with_cache(std::sync::Arc::new(MemoryCache::default()));
        for elapsed in [full, 0] {
            let tree = tree(&pipeline(3, combine), &PROMPTS);
            let run = play(&spec(), &tree, &script, question("q")).await;
            assert_eq!(
                (run.duration_ms, run.full_duration_ms),
                (elapsed, full),
                "{combine}"
            );
            assert_eq!(run.step("pick").unwrap().full_duration_ms, full);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn samples_run_at_once_and_the_majority_wins() {
    let script = drafts(&["it is a", "it is B", "it is b"]).slow(Duration::from_millis(10));
    let run = play(
        &spec(),
        &tree(&pipeline(3, "{ method: vote }"), &PROMPTS),
        &script,
        question("q"),
    )
    .await;
    assert_eq!(run.output_text.as_deref(), Some("B"));
    assert_eq!((script.peak(), run.duration_ms), (3, 10));
    let names: Vec<_> = run.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(
        names,
        [
            "pick",
            "pick[0].draft",
            "pick[1].draft",
            "pick[2].draft",
            "pick[0].clean",
            "pick[1].clean",
            "pick[2].clean"
        ]
    );
    let keys: std::collections::BTreeSet<_> =
        run.steps.iter().filter_map(|step| step.key).collect();
    assert_eq!(keys.len(), 3, "each sample has its own key");
    assert_eq!(run.spend.model_calls, 3);
}

#[tokio::test]
async fn the_sample_with_the_highest_mark_wins() {
    let combine = "{ method: best_by, check: { id: judge, kind: llm, prompt: prompts/judge.md } }";
    let script = drafts(&["it is ok", "it is longer", "it is", "it is larger"]);
    let run = play(
        &spec(),
        &tree(&pipeline(4, combine), &PROMPTS),
        &script,
        question("q"),
    )
    .await;
    // `longer` and `larger` get the same mark
    assert_eq!(run.output_text.as_deref(), Some("longer"));
    assert_eq!(text(&run, "pick[3].judge"), "6 points");
}

#[tokio::test]
async fn a_merging_step_sees_all_samples() {
    let combine = "{ method: merge, step: { id: last, kind: llm, prompt: prompts/merge.md } }";
    let script = drafts(&["it is x", "it is y"]);
    let run = play(
        &spec(),
        &tree(&pipeline(2, combine), &PROMPTS),
        &script,
        question("q"),
    )
    .await;
    assert_eq!(run.output_text.as_deref(), Some("MERGE X,Y"));
    assert_eq!(run.steps.last().unwrap().step.as_str(), "pick.last");
}

#[tokio::test]
async fn samples_that_fail_are_left_out_until_none_is_left() {
    let json = pipeline(3, "{ method: vote }")
        .replace("temperature: 1.0", "output: json")
        .replace(", extract: 'is (.*)'", "");
    let script = drafts(&["not json", "{\"a\": 1}", "[2]"]);
    let run = play(&spec(), &tree(&json, &PROMPTS), &script, question("q")).await;
    assert_eq!(run.status, RunStatus::Completed, "{run:#?}");
    assert_eq!(run.output_text.as_deref(), Some("{\"a\": 1}"));
    assert_eq!(
        run.step("pick[0].draft").unwrap().status,
        StepStatus::Failed
    );
    let script = drafts(&["no", "nor this"]);
    let run = play(&spec(), &tree(&json, &PROMPTS), &script, question("q")).await;
    assert_eq!(
        (run.status, run.reason.as_deref()),
        (RunStatus::Failed, Some("invalid_json"))
    );
    assert_eq!(
        run.step("pick").unwrap().error_kind.as_deref(),
        Some("invalid_json")
    );
}

#[tokio::test]
async fn one_refusing_sample_makes_the_run_refused() {
    let script = drafts(&["it is a", "refuse", "it is a"]);
    let run = play(
        &spec(),
        &tree(&pipeline(3, "{ method: vote }"), &PROMPTS),
        &script,
        question("q"),
    )
    .await;
    assert_eq!(run.status, RunStatus::Refused);
}

#[tokio::test]
async fn samples_nest_and_see_what_is_around_them() {
    let pipeline = "
steps:
  - { id: topic, kind: template, template: 'on {{ question }}' }
  - id: outer
    kind: sample
    n: 2
    steps:
      - id: inner
        kind: sample
        n: 2
        steps:
          - { id: leaf, kind: llm, prompt: prompts/leaf.md, seed: 100 }
        combine: { method: merge, step: { id: both, kind: template, template: '({{ samples | join(\"/\") }})' } }
    combine: { method: merge, step: { id: all, kind: template, template: '{{ samples | join(\";\") }} {{ steps.topic.text }}' } }
output: outer
";
    let script = Script::new(|request| say(request.seed.unwrap().to_string()));
    let tree = tree(pipeline, &[("leaf", "leaf {{ steps.topic.text }}")]);
    let run = play(&spec(), &tree, &script, question("owls")).await;
    assert_eq!(
        run.output_text.as_deref(),
        Some("(100/4196);(164/4260) on owls"),
        "{run:#?}"
    );
    assert_eq!(text(&run, "outer[1].inner[0].leaf"), "164");
    assert_eq!(script.asked()[0], "leaf on owls");
}
