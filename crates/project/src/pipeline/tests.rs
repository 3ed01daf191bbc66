use std::collections::BTreeSet;

use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::variant::VariantTree;

use super::*;

pub(super) fn project() -> ProjectSpec {
    let (project, problems) = crate::read_project(
        "fapo.yaml",
        "name: p\nmodels:\n  task: {provider: openai, model: m}\ndata: {train: t.jsonl, corpora: {wiki: w.jsonl}}\nscorer: {metric: f1, expected: answer}\n",
    );
    project.unwrap_or_else(|| panic!("{problems}"))
}

pub(super) fn tree(files: &[(&str, &str)]) -> VariantTree {
    files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().into()))
        .collect()
}

#[test]
fn a_two_hop_pipeline_is_laid_out() {
    let tree = tree(&[
        (
            "pipeline.yaml",
            r#"
output: answer.json.label
steps:
  - id: answer
    kind: llm
    prompt: prompts/answer.md
    output: json
  - {id: find, kind: retrieve, query: "{{ question }}", k: 3}
  - id: hop
    kind: retrieve
    queries: ["{{ steps.ask.text }}"]
    include: [find]
    k: 4
  - {id: ask, kind: llm, prompt: prompts/ask.md, when: steps.find.docs}
  - id: many
    kind: sample
    n: 3
    steps:
      - {id: draft, kind: llm, prompt: prompts/ask.md}
      - {id: short, kind: template, template: "{{ steps.draft.text | trim }} {{ steps.hop.docs[0].title }}"}
    combine: {method: best_by, check: {id: judge, kind: llm, prompt: prompts/judge.md}}
"#,
        ),
        (
            "prompts/answer.md",
            "system: x\nuser: {{ steps.hop.docs | passages }} {{ steps.many.text }}",
        ),
        ("prompts/ask.md", "{{ question }} {{ steps.find.docs }}"),
        ("prompts/judge.md", "{{ candidate }} {{ case_id }}"),
    ]);
    let keys = BTreeSet::from(["question".to_owned()]);
    let project = project();
    let ctx = PipelineContext {
        project: &project,
        input_keys: Some(&keys),
    };
    let (pipeline, problems) = read_pipeline(&tree, &ctx);
    assert_eq!(problems.to_string(), "");
    let pipeline = pipeline.unwrap();
    let ids: Vec<&str> = pipeline
        .steps()
        .iter()
        .map(|step| step.id().as_str())
        .collect();
    assert_eq!(ids, ["find", "ask", "hop", "many", "answer"]);
    let needs: Vec<_> = pipeline
        .steps()
        .iter()
        .map(|step| step.needs.clone())
        .collect();
    assert_eq!(needs, [vec![], vec![0], vec![0, 1], vec![0, 2], vec![2, 3]]);
    assert_eq!(pipeline.calls_per_case(), 1 + 3 * 2 + 1);
    assert_eq!(pipeline.documents_per_case(), 7);
    assert_eq!(pipeline.output().step, 4);
    assert_eq!(
        pipeline.output().part,
        OutputPart::Json(vec!["label".to_owned()])
    );
    assert_eq!(
        pipeline.step("hop").unwrap().corpus.as_deref(),
        Some("wiki")
    );
    let sample = pipeline.step("many").unwrap().sample.as_ref().unwrap();
    assert_eq!(sample.steps[1].needs, [0]);
    assert_eq!(sample.output, 1);
}
