//! Broken `fapo.yaml`.

use std::fmt::Write;

use fapo_project::read_project;

use super::replaced;
use crate::support::PROJECT;

#[test]
fn broken_projects() {
    let cases: &[(&str, &str, &str)] = &[
        ("unknown key", "name: demo", "name: demo\nmodel: x"),
        ("misspelt key", "objective:", "objectives:"),
        (
            "unknown nested key",
            "also: [f1]",
            "also: [f1]\n  tolerence: 0.1",
        ),
        ("missing key", "name: demo\n", ""),
        ("wrong type", "expected: answer", "expected: 3"),
        ("list expected", "also: [f1]", "also: f1"),
        ("empty value", "name: demo", "name:"),
        ("bad name", "name: demo", "name: my demo"),
        (
            "unknown metric",
            "metric: exact_match",
            "metric: exactmatch",
        ),
        ("unknown further metric", "also: [f1]", "also: [f1, bleu]"),
        (
            "unknown key of a further metric",
            "also: [f1]",
            "also: [{metric: f1, weigth: 2}]",
        ),
        (
            "unknown key of a weighted metric",
            "metric: exact_match\n",
            "weighted: [{metric: exact_match, weight: 1, tolerance: 0, ignorecase: true}]\n",
        ),
        ("no model for the steps", "task:", "taks:"),
        (
            "unknown provider",
            "provider: anthropic",
            "provider: antropic",
        ),
        (
            "temperature too large",
            "model: small",
            "model: small, temperature: 3",
        ),
        (
            "secret in the file",
            "model: large",
            "model: large, api_key_env: sk-abcdefghijklmnopqrstuvwxyz0123456789abcdef",
        ),
        ("bad address", "${OPENAI_BASE_URL}", "localhost:8000"),
        (
            "open variable",
            "${OPENAI_BASE_URL}",
            "${OPENAI_BASE_URL/v1",
        ),
        (
            "simulated model without world",
            "provider: anthropic",
            "provider: sim",
        ),
        (
            "two splits in one file",
            "data/val.jsonl",
            "./data/../data/train.jsonl",
        ),
        ("corpus is a split", "data/corpus.jsonl", "data/train.jsonl"),
        ("unknown data format", "data/train.jsonl", "data/train.xlsx"),
        ("plain json", "data/train.jsonl", "data/train.json"),
        (
            "val_fraction out of range",
            "val: data/val.jsonl",
            "val_fraction: 1.5",
        ),
        (
            "val_fraction not used",
            "val: data/val.jsonl",
            "val: data/val.jsonl\n  val_fraction: 0.3",
        ),
        ("no metric", "metric: exact_match\n", "\n"),
        (
            "metric and weighted",
            "also: [f1]",
            "weighted: [{metric: f1, weight: 1}]",
        ),
        (
            "no weight",
            "metric: exact_match\n",
            "weighted: [{metric: exact_match, weight: 0}]\n",
        ),
        ("missing expected", "expected: answer\n", "\n"),
        ("regex without pattern", "also: [f1]", "also: [regex]"),
        (
            "bad pattern",
            "also: [f1]",
            "also: [{metric: regex, pattern: '(a'}]",
        ),
        (
            "regex with another metric's pattern",
            "expected: answer\n  also: [f1]",
            "expected: answer\n  pattern: '(.*)'\n  also: [regex]",
        ),
        ("choice without choices", "also: [f1]", "also: [choice]"),
        (
            "choices that differ in case",
            "also: [f1]",
            "also: [{metric: choice, choices: ['Yes', 'no', ' yes']}]",
        ),
        (
            "the composite's name",
            "also: [f1]",
            "also: [{metric: f1, name: weighted}]",
        ),
        ("missing train", "  train: data/train.jsonl\n", ""),
        ("missing models", "models:", "modles:"),
        (
            "json_field without field",
            "also: [f1]",
            "also: [json_field]",
        ),
        (
            "json_schema without schema",
            "also: [f1]",
            "also: [json_schema]",
        ),
        (
            "bad schema",
            "also: [f1]",
            "also: [{metric: json_schema, schema: {type: objekt}}]",
        ),
        (
            "bad from",
            "also: [f1]",
            "also: [{metric: set_f1, from: find.docs.name}]",
        ),
        (
            "two metrics of one name",
            "also: [f1]",
            "also: [f1, exact_match]",
        ),
        (
            "unknown maximized metric",
            "maximize: exact_match",
            "maximize: accuracy",
        ),
        (
            "unknown target",
            "target: {exact_match: 0.9}",
            "target: {f2: 0.9}",
        ),
        (
            "target out of range",
            "target: {exact_match: 0.9}",
            "target: {exact_match: 90}",
        ),
        (
            "nothing allowed",
            "allow: [prompt, parameter, structure]",
            "allow: []",
        ),
        (
            "unknown level",
            "allow: [prompt, parameter, structure]",
            "allow: [prompts]",
        ),
        (
            "level twice",
            "allow: [prompt, parameter, structure]",
            "allow: [prompt, prompt]",
        ),
        (
            "range for no parameter",
            "\"retrieve.*.k\"",
            "\"retrieve.*.depth\"",
        ),
        ("range for no kind", "\"retrieve.*.k\"", "\"retriever.*.k\""),
        ("range key too short", "\"retrieve.*.k\"", "\"k\""),
        ("range upside down", "[1, 50]", "[50, 1]"),
        ("range of one number", "[1, 50]", "[1]"),
        (
            "glob with pipeline/",
            "models: [big]",
            "files: [pipeline/prompts/*]",
        ),
        (
            "unknown model in scope",
            "models: [big]",
            "models: [bigger]",
        ),
        (
            "a reviewer that nobody asks",
            "target:",
            "proposer: {backend: catalogue}\nreviewer: {model: small, turns: 3, minutes: 0}\ntarget:",
        ),
        (
            "a reviewer of another model",
            "target:",
            "reviewer: {backend: model, model: smal}\ntarget:",
        ),
        (
            "a reader that nobody asks",
            "target:",
            "diagnosis: {reader: {model: nobody}}\ntarget:",
        ),
        (
            "a reader that is an agent of another provider",
            "target:",
            "diagnosis: {reader: {backend: codex, model: big}}\ntarget:",
        ),
        (
            "more failures than a session holds",
            "target:",
            "diagnosis: {reader: {backend: claude-code, model: opus, cases: 41}}\ntarget:",
        ),
        (
            "a reader of no kind",
            "target:",
            "diagnosis: {reader: {backend: agent}}\ntarget:",
        ),
        (
            "replay without recording",
            "target:",
            "proposer: {backend: replay}\ntarget:",
        ),
        (
            "reflect with unknown model",
            "target:",
            "proposer: {backend: reflect, model: claude}\ntarget:",
        ),
        (
            "model that is not used",
            "target:",
            "proposer: {backend: catalogue, model: big}\ntarget:",
        ),
        (
            "budget of nothing",
            "target:",
            "budget: {usd: 0, hours: -1}\ntarget:",
        ),
        ("yes for true", "also: [f1]", "ignore_case: yes"),
        (
            "number in quotes",
            "target: {exact_match: 0.9}",
            "target: {exact_match: \"0.9\"}",
        ),
        ("tab", "  expected: answer", "\texpected: answer"),
        (
            "duplicate key",
            "  expected: answer",
            "  expected: answer\n  expected: label",
        ),
        ("second document", "target:", "---\ntarget:"),
        (
            "alias without anchor",
            "expected: answer",
            "expected: *answer",
        ),
        (
            "several at once",
            "name: demo\nmodels:",
            "nam: demo\nseed: -1\nmodels:\n  judge: {provider: openai}",
        ),
    ];
    let mut out = String::new();
    for (title, from, to) in cases {
        let (project, problems) = read_project("fapo.yaml", &replaced(PROJECT, from, to));
        assert!(!problems.is_empty(), "{title}: no problem");
        assert!(project.is_some() || problems.has_errors(), "{title}");
        writeln!(out, "## {title}\n{problems}\n").unwrap();
    }
    let (_, problems) = read_project("fapo.yaml", "");
    writeln!(out, "## empty file\n{problems}\n").unwrap();
    let (_, problems) = read_project("fapo.yaml", "[1, 2]");
    writeln!(out, "## a list\n{problems}").unwrap();
    insta::assert_snapshot!(out);
}
