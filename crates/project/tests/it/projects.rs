//! Projects that are right, in all the shapes that people write.

use fapo_domain::model::project::{AlsoMetric, Metric, ProjectSpec};
use fapo_project::{read_project, schema};

use crate::support::PROJECT;

fn good(text: &str) -> ProjectSpec {
    let (project, problems) = read_project("fapo.yaml", text);
    assert_eq!(problems.to_string(), "");
    project.unwrap()
}

const HEAD: &str =
    "name: a\nmodels: {task: {provider: sim, model: m, world: w.yaml}}\ndata: {train: t.csv}\n";

#[test]
fn the_smallest_project_is_read() {
    let project = good(&format!("{HEAD}scorer: {{metric: f1, expected: answer}}"));
    assert_eq!(project.maximized(), "f1");
    assert_eq!(project.scope.allow.len(), 1);
}

#[test]
fn every_part_can_be_written() {
    let project = good(
        "name: multihop-qa
description: two hops
models:
  task: {provider: openai, base_url: \"${OPENAI_BASE_URL}\", model: gpt, temperature: 0.0, top_p: 1, max_tokens: 200, price: {input: 0.4, output: 1.6}, concurrency: 4, timeout_s: 30, attempts: 2, api_key_env: MY_KEY}
  judge: {provider: anthropic, model: sonnet}
data: {train: data/train.jsonl, val: data/val.jsonl, test: data/test.jsonl, max_cases: 10, corpora: {wiki: data/corpus.jsonl}}
scorer:
  weighted:
    - {metric: exact_match, weight: 2, ignore_case: true}
    - {metric: set_recall, weight: 1, name: titles, expected: supporting_titles, from: \"*.docs.title\"}
  also: [f1, {metric: regex, pattern: '^\\w+$'}, {metric: json_schema, schema: {type: object}, from: answer.json}]
  expected: answer
objective: {maximize: weighted, subject_to: {cost_ratio: 3.0, latency_p95_s: 20}, protect: [cases/must-pass.txt]}
scope: {allow: [prompt, structure], files: ['prompts/**'], steps: ['*'], ranges: {\"retrieve.*.k\": [1, 50], \"llm.answer.temperature\": [0, 1]}, models: [judge], max_file_bytes: 1000, max_tree_bytes: 2000}
limits: {model_calls: 10, tokens: 20000, usd: 0.1, seconds: 60, documents: 20}
budget: {usd: 20, proposals: 50, model_calls: 20000, hours: 6}
proposer: {backend: reflect, model: judge, parallel: 2, evidence_tokens: 5000}
acceptance: {rule: mean, alpha: 0.05, min_gain: 0.01, coverage: 0.9, screen: 0.9, test_repeats: 2}
escalation: {plateau: 2, techniques: 2, min_recoverable: 0.03}
diagnosis: {failure_below: 0.5, gold_documents: gold, overlap: 0.1, buried_ratio: 2, probe_depth: 20}
execution: {concurrency: 8, block_size: 16, missing_rounds: 1}
target: {weighted: 0.75, titles: 0.9}
seed: 7
",
    );
    assert_eq!(
        project.scorer.weighted[1]
            .metric
            .options
            .expected
            .as_deref(),
        Some("supporting_titles")
    );
    assert!(project.scorer.weighted[0].metric.options.ignore_case);
    assert!(matches!(
        &project.scorer.also[0],
        AlsoMetric::Name(Metric::F1)
    ));
    assert!(
        matches!(&project.scorer.also[1], AlsoMetric::Full(named) if named.options.pattern.is_some())
    );
    // what was read can be written and read again: JSON is YAML
    let again = good(&serde_json::to_string_pretty(&project).unwrap());
    assert_eq!(again, project);
}

#[test]
fn empty_optional_parts_are_as_good_as_none() {
    let project = good(&format!("{PROJECT}description:\nbudget: {{usd: ~}}\n"));
    assert_eq!(project.budget.usd, None);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_do_not_matter() {
    good(&format!("\u{feff}{}", PROJECT.replace('\n', "\r\n")));
}

#[test]
fn the_committed_schemas_are_up_to_date() {
    for (file, schema) in [
        (schema::PROJECT_FILE, schema::project_schema()),
        (schema::PIPELINE_FILE, schema::pipeline_schema()),
    ] {
        let path = format!("{}/../../docs/schema/{file}", env!("CARGO_MANIFEST_DIR"));
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(committed, schema::text(&schema), "run `make schema`");
    }
}

#[test]
fn the_schemas_are_schemas_and_accept_what_is_right() {
    let yaml = good(PROJECT);
    let schema = schema::project_schema();
    assert!(jsonschema::meta::is_valid(&schema));
    assert!(jsonschema::meta::is_valid(&schema::pipeline_schema()));
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&serde_json::to_value(&yaml).unwrap()));
    let mut wrong = serde_json::to_value(&yaml).unwrap();
    wrong["scorer"]["nope"] = serde_json::json!(1);
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn an_agents_entry_of_another_provider_is_a_problem_however_it_is_found() {
    let text = PROJECT.replacen(
        "models:",
        "reviewer: {backend: claude-code}\nmodels:\n  reviewer: {provider: openai, model: other}",
        1,
    );
    let (_, problems) = read_project("fapo.yaml", &text);
    let said = problems.to_string();
    assert!(
        said.contains("wrong-provider") && said.contains("`reviewer`"),
        "{said}"
    );
}
