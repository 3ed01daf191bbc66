//! Shared fixtures: one good project, and trees from texts.

use std::collections::BTreeSet;

use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::variant::VariantTree;
use fapo_project::{Pipeline, PipelineContext, read_pipeline, read_project};

/// A project without problems.
pub const PROJECT: &str = "\
name: demo
models:
  task: {provider: openai, model: small, base_url: \"${OPENAI_BASE_URL}\"}
  big: {provider: anthropic, model: large}
data:
  train: data/train.jsonl
  val: data/val.jsonl
  corpora: {wiki: data/corpus.jsonl}
scorer:
  metric: exact_match
  expected: answer
  also: [f1]
objective:
  maximize: exact_match
scope:
  allow: [prompt, parameter, structure]
  ranges: {\"retrieve.*.k\": [1, 50]}
  models: [big]
target: {exact_match: 0.9}
";

/// A pipeline without problems.
pub const PIPELINE: &str = "\
steps:
  - id: find
    kind: retrieve
    query: \"{{ question }}\"
    k: 3
  - id: answer
    kind: llm
    prompt: prompts/answer.md
    temperature: 0
output: answer
";

/// Its prompt.
pub const PROMPT: &str = "\
system: Answer with one word.
user:
{{ steps.find.docs | passages }}

Question: {{ question }}
";

pub fn project() -> ProjectSpec {
    let (project, problems) = read_project("fapo.yaml", PROJECT);
    project.unwrap_or_else(|| panic!("{problems}"))
}

pub fn tree(files: &[(&str, &str)]) -> VariantTree {
    files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().into()))
        .collect()
}

/// The good tree.
pub fn good() -> VariantTree {
    tree(&[("pipeline.yaml", PIPELINE), ("prompts/answer.md", PROMPT)])
}

/// The good tree with another pipeline.
pub fn with_pipeline(pipeline: &str) -> VariantTree {
    tree(&[("pipeline.yaml", pipeline), ("prompts/answer.md", PROMPT)])
}

pub fn keys() -> BTreeSet<String> {
    BTreeSet::from(["question".to_owned(), "hint".to_owned()])
}

/// Reads a tree against the good project; problems as one text.
pub fn read(tree: &VariantTree) -> (Option<Pipeline>, String) {
    let (project, keys) = (project(), keys());
    let ctx = PipelineContext {
        project: &project,
        input_keys: Some(&keys),
    };
    let (pipeline, problems) = read_pipeline(tree, &ctx);
    (pipeline, problems.to_string())
}
