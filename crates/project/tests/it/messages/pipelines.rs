//! Broken `pipeline.yaml` and prompts.

use std::fmt::Write;

use super::replaced;
use crate::support::{PIPELINE, PROMPT, good, read, tree};

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
