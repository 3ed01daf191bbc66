//! Every way of being wrong, with what a person reads. The snapshots are the review: a message must say what is wrong,
//! where, and what to do.

use std::fmt::Write;
use std::io::Cursor;

use fapo_domain::model::case::Split;
use fapo_project::data::{CaseReader, DataFormat, DocumentReader};
use fapo_project::read_project;

use crate::support::{PIPELINE, PROJECT, PROMPT, good, read, tree};

fn replaced(base: &str, from: &str, to: &str) -> String {
    assert!(base.contains(from), "nothing to replace: {from}");
    base.replacen(from, to, 1)
}

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
        ("parquet", "data/train.jsonl", "data/train.parquet"),
        ("plain json", "data/train.jsonl", "data/train.json"),
        (
            "val_fraction out of range",
            "val: data/val.jsonl",
            "val_fraction: 1.5",
        ),
        (
            "val_fraction not used",
            "val: data/val.jsonl",
            "val: data/val.jsonl\n  val_fraction: 0.5",
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
        ("choice without choices", "also: [f1]", "also: [choice]"),
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
            "proposer: {model: big}\ntarget:",
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
        assert_eq!(project.is_none(), problems.has_errors(), "{title}");
        writeln!(out, "## {title}\n{problems}\n").unwrap();
    }
    let (_, problems) = read_project("fapo.yaml", "");
    writeln!(out, "## empty file\n{problems}\n").unwrap();
    let (_, problems) = read_project("fapo.yaml", "[1, 2]");
    writeln!(out, "## a list\n{problems}").unwrap();
    insta::assert_snapshot!(out);
}

#[test]
fn broken_pipelines() {
    let sample = "  - id: many
    kind: sample
    n: 3
    steps:
      - {id: draft, kind: llm, prompt: prompts/answer.md}
    combine: {method: vote}
output: many
";
    let cases: &[(&str, &str, &str)] = &[
        ("kind missing", "    kind: llm\n", ""),
        ("unknown kind", "kind: llm", "kind: lm"),
        ("planned kind", "kind: llm", "kind: agent"),
        ("misspelt key of a step", "prompt:", "promt:"),
        ("key of another kind", "temperature: 0", "k: 4"),
        ("bad id", "id: find", "id: Find-It"),
        ("duplicate id", "id: find", "id: answer"),
        ("k too small", "k: 3", "k: 0"),
        ("k as text", "k: 3", "k: three"),
        ("unknown output", "output: answer", "output: anwser"),
        (
            "output without json",
            "output: answer",
            "output: answer.json.label",
        ),
        ("documents as output", "output: answer", "output: find.docs"),
        ("missing output", "output: answer\n", ""),
        ("no steps", "steps:", "output: x\nsteps: []\nold:"),
        (
            "unknown step in needs",
            "    temperature: 0",
            "    needs: [fnd]",
        ),
        ("cycle", "{{ question }}", "{{ steps.answer.text }}"),
        (
            "cycle of one",
            "    temperature: 0",
            "    when: steps.answer.text",
        ),
        (
            "missing prompt file",
            "prompts/answer.md",
            "prompts/anwser.md",
        ),
        (
            "prompt path from the project folder",
            "prompts/answer.md",
            "pipeline/prompts/answer.md",
        ),
        ("unquoted template", "\"{{ question }}\"", "{{ question }}"),
        ("bad template", "{{ question }}", "{{ question }"),
        ("unknown variable", "{{ question }}", "{{ qestion }}"),
        ("unknown input key", "{{ question }}", "{{ input.query }}"),
        (
            "step without prefix",
            "    temperature: 0",
            "    when: find",
        ),
        (
            "unknown part of a step",
            "    temperature: 0",
            "    when: steps.find.output",
        ),
        (
            "json of a step without",
            "    temperature: 0",
            "    when: steps.find.json.x",
        ),
        ("unknown filter", "{{ question }}", "{{ question | uper }}"),
        ("include tag", "{{ question }}", "{% include 'x' %}"),
        (
            "braces in a condition",
            "    temperature: 0",
            "    when: \"{{ hint }}\"",
        ),
        (
            "bad condition",
            "    temperature: 0",
            "    when: \"hint ==\"",
        ),
        ("all steps at once", "{{ question }}", "{{ steps }}"),
        ("no query", "    query: \"{{ question }}\"\n", ""),
        ("two kinds of query", "    k: 3", "    queries: [a]"),
        ("unknown corpus", "    k: 3", "    corpus: wikipedia"),
        (
            "include of an llm step",
            "    k: 3",
            "    include: [answer]",
        ),
        ("unknown model", "temperature: 0", "model: huge"),
        (
            "schema without json",
            "temperature: 0",
            "schema: {type: object}",
        ),
        (
            "bad schema",
            "temperature: 0",
            "output: json\n    schema: {type: objekt}",
        ),
        ("too many documents", "k: 3", "k: 5000"),
        (
            "unused step",
            "output: answer",
            "  - {id: extra, kind: template, template: x}\noutput: answer",
        ),
        (
            "bad regex",
            "output: answer",
            "  - {id: t, kind: template, template: '{{ steps.answer }}', extract: '(', pointer: a.b}\noutput: t",
        ),
        (
            "json by chance",
            "output: answer",
            "  - {id: t, kind: template, template: '{{ steps.answer }}'}\n  - {id: u, kind: template, template: '{{ steps.t.json.a }}'}\noutput: u",
        ),
        (
            "sample without method",
            "output: answer\n",
            &replaced(sample, "method: vote", ""),
        ),
        (
            "unknown method",
            "output: answer\n",
            &replaced(sample, "method: vote", "method: majority"),
        ),
        (
            "sample seen from outside",
            "output: answer\n",
            &replaced(
                sample,
                "output: many",
                "  - {id: t, kind: template, template: '{{ steps.draft.text }}'}\noutput: t",
            ),
        ),
        (
            "duplicate id inside a sample",
            "output: answer\n",
            &replaced(sample, "id: draft", "id: find"),
        ),
        (
            "too many calls",
            "output: answer\n",
            &replaced(sample, "n: 3", "n: 64"),
        ),
        (
            "unknown output of a sample",
            "output: answer\n",
            &replaced(sample, "n: 3", "n: 3\n    output: drafts"),
        ),
        (
            "check of a wrong kind",
            "output: answer\n",
            &replaced(
                sample,
                "{method: vote}",
                "{method: best_by, check: {id: c, kind: retrieve, query: '{{ candidate }}'}}",
            ),
        ),
        (
            "check that does not look",
            "output: answer\n",
            &replaced(
                sample,
                "{method: vote}",
                "{method: best_by, check: {id: c, kind: template, template: '{{ samples }}'}}",
            ),
        ),
        (
            "wrong type deep inside",
            "output: answer\n",
            &replaced(
                sample,
                "prompt: prompts/answer.md}",
                "prompt: [a], max_tokens: 0}",
            ),
        ),
        (
            "several at once",
            "kind: retrieve",
            "kind: retrieve\n    kk: 3\n    needs: [nope]\n    corpus: none",
        ),
    ];
    let mut out = String::new();
    for (title, from, to) in cases {
        let text = replaced(PIPELINE, from, to);
        let tree = tree(&[("pipeline.yaml", &text), ("prompts/answer.md", PROMPT)]);
        let (pipeline, problems) = read(&tree);
        assert!(!problems.is_empty(), "{title}: no problem");
        assert_eq!(pipeline.is_none(), problems.contains(": error["), "{title}");
        writeln!(out, "## {title}\n{problems}\n").unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn broken_prompts() {
    let cases: &[(&str, &[u8])] = &[
        ("syntax error", b"system: a\nuser:\n\n{% if question %}x\n"),
        (
            "unknown variables, each in its line",
            b"a\n{{ qustion }}\n{% for d in steps.fnd.docs %}{{ d.title }}{% endfor %}\n",
        ),
        (
            "text before the first role",
            b"Hello\nuser: {{ question }}\n",
        ),
        ("empty", b"\n\n"),
        ("not text", b"ok\n\xff\xfe\n"),
        (
            "old placeholders",
            b"${question} and {question}: {{ question }}\n",
        ),
        ("documents of a step without", b"{{ steps.answer.docs }}\n"),
    ];
    let mut out = String::new();
    for (title, prompt) in cases {
        let mut tree = good();
        tree.insert("prompts/answer.md", *prompt);
        let (_, problems) = read(&tree);
        assert!(!problems.is_empty(), "{title}");
        writeln!(out, "## {title}\n{problems}\n").unwrap();
    }
    let mut tree = good();
    tree.insert("prompts/old.md", *b"x");
    writeln!(out, "## unused prompt\n{}\n", read(&tree).1).unwrap();
    tree.remove("pipeline.yaml");
    writeln!(out, "## no pipeline.yaml\n{}\n", read(&tree).1).unwrap();
    tree.insert("pipeline.yaml", *b"\xff");
    writeln!(out, "## pipeline.yaml is not text\n{}", read(&tree).1).unwrap();
    insta::assert_snapshot!(out);
}

#[test]
fn broken_data() {
    let long = format!("{{\"case_id\": \"{}\"}}\n", "x".repeat(10_000_000));
    let open_quote = format!("case_id,q\na,\"{}", "x,y\n".repeat(3_000_000));
    let cases: &[(&str, DataFormat, &[u8])] = &[
        (
            "not JSON",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": {}}\n\n{\"case_id\": }\n",
        ),
        (
            "cut off",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": {",
        ),
        (
            "number as id",
            DataFormat::Jsonl,
            b"{\"case_id\": 7, \"input\": {}}\n",
        ),
        (
            "empty id",
            DataFormat::Jsonl,
            b"{\"case_id\": \" \", \"input\": {}}\n",
        ),
        (
            "id with a line break",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\\nb\", \"input\": {}}\n",
        ),
        (
            "no id",
            DataFormat::Jsonl,
            b"{\"id\": \"a\", \"input\": {}}\n",
        ),
        (
            "no input",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"inputs\": {}}\n",
        ),
        (
            "input and context",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": {}, \"context\": {}}\n",
        ),
        (
            "input is a text",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": \"why?\"}\n",
        ),
        (
            "expected is a text",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": {}, \"expected\": \"x\"}\n",
        ),
        ("a list", DataFormat::Jsonl, b"[\n{\"case_id\": \"a\"}\n]\n"),
        ("a number a line", DataFormat::Jsonl, b"1\n"),
        (
            "invalid UTF-8",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": {\"q\": \"\xe9t\xe9\"}}\n",
        ),
        ("UTF-16", DataFormat::Jsonl, b"\xff\xfe{\0\n"),
        (
            "ten megabytes in a line",
            DataFormat::Jsonl,
            long.as_bytes(),
        ),
        ("no id column", DataFormat::Csv, b"id,question\na,b\n"),
        ("column twice", DataFormat::Csv, b"case_id,q,q\na,b,c\n"),
        (
            "column without a name",
            DataFormat::Csv,
            b"case_id,,q\na,b,c\n",
        ),
        (
            "too many values",
            DataFormat::Csv,
            b"case_id,q\na,b,c\nd,e\n",
        ),
        (
            "one key from two columns",
            DataFormat::Csv,
            b"case_id,q,input.q\na,b,c\n",
        ),
        (
            "invalid UTF-8 in a row",
            DataFormat::Csv,
            b"case_id,q\na,\xff\n",
        ),
        (
            "a quote that is never closed",
            DataFormat::Csv,
            open_quote.as_bytes(),
        ),
        ("parquet", DataFormat::Parquet, b"PAR1"),
    ];
    let mut out = String::new();
    for (title, format, bytes) in cases {
        let reader = CaseReader::new(Cursor::new(bytes), *format, Split::Train, "data/train");
        let problems: Vec<String> = reader
            .filter_map(Result::err)
            .map(|p| p.to_string())
            .collect();
        assert!(!problems.is_empty(), "{title}");
        writeln!(out, "## {title}\n{}\n", problems.join("\n")).unwrap();
    }
    let documents = b"{\"doc_id\": 3, \"text\": \"a\"}\n{\"doc_id\": \"b\", \"content\": \"a\"}\n{\"doc_id\": \"c\", \"text\": null}\n";
    let reader = DocumentReader::new(
        Cursor::new(documents),
        DataFormat::Jsonl,
        "data/corpus.jsonl",
    );
    for problem in reader.filter_map(Result::err) {
        writeln!(out, "{problem}").unwrap();
    }
    insta::assert_snapshot!(out);
}
