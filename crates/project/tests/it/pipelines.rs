//! Pipelines that are right, and how they are laid out.

use fapo_domain::model::level::Level;
use fapo_domain::model::trace::StepOutput;
use fapo_project::{PipelineContext, read_pipeline, semantic_diff};
use serde_json::json;

use crate::support::{PIPELINE, good, project, read, with_pipeline};

#[test]
fn the_good_pipeline_has_no_problems() {
    let (pipeline, problems) = read(&good());
    assert_eq!(problems, "");
    let pipeline = pipeline.unwrap();
    assert_eq!(
        (pipeline.calls_per_case(), pipeline.documents_per_case()),
        (1, 3)
    );
    assert_eq!(pipeline.output().id.as_str(), "answer");
}

#[test]
fn without_input_keys_names_are_not_checked_but_steps_are() {
    let project = project();
    let ctx = PipelineContext {
        project: &project,
        input_keys: None,
    };
    let tree = with_pipeline(&PIPELINE.replace("{{ question }}", "{{ anything }}"));
    assert_eq!(read_pipeline(&tree, &ctx).1.to_string(), "");
    let tree =
        with_pipeline(&PIPELINE.replace("{{ question }}", "{{ steps.nope.text }} {{ answer }}"));
    let problems = read_pipeline(&tree, &ctx).1.to_string();
    assert!(problems.contains("no step `nope`"), "{problems}");
    assert!(
        problems.contains("`answer` is a step, not an input"),
        "{problems}"
    );
}

/// What is told of the good pipeline after these changes: the rules, in order.
fn rules(changes: &[(&str, &str)]) -> Vec<String> {
    let text = changes
        .iter()
        .fold(PIPELINE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
    let (project, keys) = (project(), crate::support::keys());
    let ctx = PipelineContext {
        project: &project,
        input_keys: Some(&keys),
    };
    let (pipeline, problems) = read_pipeline(&with_pipeline(&text), &ctx);
    assert!(pipeline.is_none());
    assert!(semantic_diff(&good(), &with_pipeline(&text)).is_err());
    problems
        .iter()
        .map(|problem| problem.rule.to_string())
        .collect()
}

#[test]
fn a_step_that_cannot_be_read_hides_no_other_problem_and_is_still_there() {
    let output = ("output: answer", "output: answr");
    let prompt = ("prompts/answer.md", "prompts/none.md");
    // its documents are asked for, and nobody knows that it has none
    assert_eq!(
        rules(&[("kind: retrieve", "kind: retreive")]),
        ["unknown-kind"]
    );
    assert_eq!(
        rules(&[("kind: retrieve", "kind: retreive"), output, prompt]),
        ["unknown-kind", "missing-file", "unknown-step"]
    );
    assert_eq!(
        rules(&[
            ("kind: llm", "kind: lllm"),
            ("{{ question }}", "{{ qestion }}"),
            output
        ]),
        ["unknown-variable", "unknown-kind", "unknown-step"]
    );
    assert_eq!(
        rules(&[
            ("kind: llm", "kind: lllm"),
            ("output: answer", "output: answer.json.x")
        ]),
        ["unknown-kind"]
    );
    // a key that a step must have
    assert_eq!(
        rules(&[
            ("    query: \"{{ question }}\"\n", ""),
            ("    prompt: prompts/answer.md\n", "")
        ]),
        ["query", "missing-key"]
    );
    assert_eq!(
        rules(&[("output: answer\n", ""), prompt]),
        ["missing-key", "missing-file"]
    );
    // a step whose name cannot be read may be any that is named
    assert_eq!(
        rules(&[("id: find", "id: Find-It"), prompt, output]),
        ["bad-name", "missing-file"]
    );
    assert_eq!(
        rules(&[("id: find\n    kind: retrieve", "kind: retreive"), prompt]),
        ["unknown-kind", "missing-file"]
    );
}

#[test]
fn a_sample_is_looked_into_whatever_is_wrong_with_the_rest_of_it() {
    let sample = "  - id: many
    kind: sample
    n: 3
    steps:
      - {id: draft, kind: llm, prompt: prompts/none.md}
      - {id: other, kind: lm, prompt: prompts/none.md}
    combine: {method: best, check: 1}
output: many.json.x
";
    assert_eq!(
        rules(&[("output: answer\n", sample)]),
        ["missing-file", "unknown-kind", "unknown-value"]
    );
}

#[test]
fn limits_that_cannot_be_kept_are_errors() {
    let mut project = project();
    project.limits.documents = Some(2);
    project.limits.model_calls = 0;
    let ctx = PipelineContext {
        project: &project,
        input_keys: None,
    };
    let (pipeline, problems) = read_pipeline(&good(), &ctx);
    assert!(pipeline.is_none());
    let problems = problems.to_string();
    assert!(
        problems.contains("1 model calls") && problems.contains("3 documents"),
        "{problems}"
    );
}

#[test]
fn the_scorer_must_find_its_step() {
    let mut project = project();
    project.scorer.options.from = Some("findd.docs.title".to_owned());
    let ctx = PipelineContext {
        project: &project,
        input_keys: None,
    };
    let problems = read_pipeline(&good(), &ctx).1.to_string();
    assert!(problems.contains("did you mean `find`?"), "{problems}");
    project.scorer.options.from = Some("*.docs.title".to_owned());
    let ctx = PipelineContext {
        project: &project,
        input_keys: None,
    };
    assert_eq!(read_pipeline(&good(), &ctx).1.to_string(), "");
}

#[test]
fn nested_samples_multiply() {
    let (pipeline, problems) = read(&with_pipeline(
        "steps:
  - id: outer
    kind: sample
    n: 2
    steps:
      - id: inner
        kind: sample
        n: 3
        steps: [{id: draft, kind: llm, prompt: prompts/answer.md}, {id: find, kind: retrieve, query: '{{ question }}', k: 2}]
        output: draft
        combine: {method: merge, step: {id: join, kind: llm, prompt: prompts/join.md}}
    combine: {method: best_by, check: {id: check, kind: template, template: '{{ candidate | length }}'}}
output: outer
",
    ));
    assert!(
        problems.contains("no file `pipeline/prompts/join.md`"),
        "{problems}"
    );
    assert!(pipeline.is_none());
    let mut tree = with_pipeline(
        "steps:
  - id: outer
    kind: sample
    n: 2
    steps:
      - id: inner
        kind: sample
        n: 3
        steps: [{id: draft, kind: llm, prompt: prompts/answer.md}, {id: find, kind: retrieve, query: '{{ question }}', k: 2}]
        output: draft
        combine: {method: merge, step: {id: join, kind: llm, prompt: prompts/join.md}}
    combine: {method: best_by, check: {id: check, kind: template, template: '{{ candidate | length }}'}}
output: outer
",
    );
    tree.insert(
        "prompts/join.md",
        *b"{% for s in samples %}{{ s }}{% endfor %}",
    );
    let (pipeline, problems) = read(&tree);
    assert_eq!(problems, "");
    let pipeline = pipeline.unwrap();
    assert_eq!(pipeline.calls_per_case(), 2 * (3 + 1));
    assert_eq!(pipeline.documents_per_case(), 2 * 3 * 2);
    let inner = pipeline.steps()[0].sample.as_ref().unwrap();
    let inner = inner.steps[0].sample.as_ref().unwrap();
    let ids: Vec<&str> = inner.steps.iter().map(|step| step.id().as_str()).collect();
    assert_eq!(
        ids,
        ["find", "draft"],
        "the draft's prompt needs what was found"
    );
    assert_eq!(inner.output, 1);
}

#[test]
fn the_output_path_reads_text_or_json() {
    let pipeline = PIPELINE
        .replace("temperature: 0", "output: json")
        .replace("output: answer", "output: answer.json.labels.0");
    let (pipeline, problems) = read(&with_pipeline(&pipeline));
    assert_eq!(problems, "");
    let path = pipeline.unwrap().output().clone();
    let value = |json| StepOutput {
        text: "t".to_owned(),
        json,
        ..StepOutput::default()
    };
    let found = path.read(&value(Some(json!({"labels": ["a", 2]}))));
    assert_eq!(found, Some(("a".to_owned(), Some(json!("a")))));
    assert_eq!(path.read(&value(Some(json!({"labels": []})))), None);
    assert_eq!(path.read(&value(None)), None);
}

#[test]
fn changes_are_named_by_path_and_level() {
    let change = |from: &str, to: &str| {
        assert!(PIPELINE.contains(from), "{from}");
        let child = with_pipeline(&PIPELINE.replacen(from, to, 1));
        let diff = semantic_diff(&good(), &child).unwrap();
        let shown: Vec<String> = diff
            .changes
            .iter()
            .map(|change| format!("{} {}: {}", change.level, change.path, change.what))
            .collect();
        (diff.level, shown.join("; "))
    };
    let cases = [
        (
            "k: 3",
            "k: 5",
            Some(Level::Parameter),
            "parameter steps.find.k: 3 → 5",
        ),
        (
            "    k: 3\n",
            "",
            Some(Level::Parameter),
            "parameter steps.find.k: 3 → 5",
        ),
        ("k: 3", "k: 3\n    fields: [text, title]", None, ""),
        (
            "k: 3",
            "k: 3\n    fields: [text]",
            Some(Level::Parameter),
            "parameter steps.find.fields: [\"text\",\"title\"] → [\"text\"]",
        ),
        (
            "temperature: 0",
            "temperature: 0.7",
            Some(Level::Parameter),
            "parameter steps.answer.temperature: 0.0 → 0.7",
        ),
        (
            "temperature: 0",
            "temperature: 0\n    model: task",
            None,
            "",
        ),
        ("temperature: 0", "temperature: 0\n    needs: []", None, ""),
        (
            "temperature: 0",
            "temperature: 0\n    needs: [find]",
            Some(Level::Structure),
            "structure steps.answer.needs: [] → [\"find\"]",
        ),
        (
            "query: \"{{ question }}\"",
            "queries: [\"{{ question }}\"]",
            None,
            "",
        ),
        ("output: answer", "output: answer.text", None, ""),
        (
            "output: answer",
            "output: find",
            Some(Level::Structure),
            "structure output: `answer` → `find`",
        ),
        (
            "temperature: 0",
            "temperature: 0\n    output: json",
            Some(Level::Structure),
            "structure steps.answer.output: text → json",
        ),
        (
            "prompts/answer.md",
            "prompts/b.md",
            Some(Level::Prompt),
            "prompt steps.answer.prompt: prompts/answer.md → prompts/b.md",
        ),
    ];
    for (from, to, level, shown) in cases {
        assert_eq!(change(from, to), (level, shown.to_owned()), "{from} → {to}");
    }
    let mut child = good();
    child.insert("skills/search.md", *b"look twice\n");
    let diff = semantic_diff(&good(), &child).unwrap();
    assert_eq!(diff.level, Some(Level::Prompt));
    assert_eq!(
        (diff.stats.files, diff.stats.added, diff.stats.removed),
        (1, 1, 0)
    );
    child.insert("steps/x.py", *b"def run(inputs): ...\n");
    assert_eq!(
        semantic_diff(&good(), &child).unwrap().level,
        Some(Level::Structure)
    );
}
