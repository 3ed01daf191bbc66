//! A project with code of its own, through the real binary: a step that brings answers into form, a scorer, and code that
//! misbehaves in every way, which costs its own case and nothing else.

use std::net::TcpListener;

use fapo_e2e::Project;
use serde_json::{Value, json};

const SPEC: &str = "\
name: own-code
models: { task: { provider: sim, model: sim, world: sim.json, temperature: 0.0 } }
data: { train: data/train.jsonl, val: data/val.jsonl }
scorer: { metric: python, file: scorers/own.py, also: [{ metric: exact_match, expected: answer }] }
scope: { allow: [prompt, parameter, structure], files: ['prompts/*.md', 'steps/*.py'] }
";

const PIPELINE: &str = "\
steps:
  - { id: answer, kind: llm, prompt: prompts/answer.md }
  - { id: form, kind: python, file: steps/form.py, needs: [answer], timeout_s: 2 }
output: form
";

/// Answers stand in a sentence; the step takes them out of it, unless the question asks for mischief.
const FORM: &str = r#"
from mischief import do

def run(inputs):
    print("not a reply: {}")
    question = inputs["input"]["question"]
    if question.startswith("mischief "):
        return do(question.split()[1:])
    text = inputs["steps"]["answer"]["text"]
    return {"text": text.removeprefix("I would say ").rstrip("."), "whole": text}
"#;

const MISCHIEF: &str = r#"
import os, socket, subprocess

def do(words):
    what, rest = words[0], words[1:]
    if what == "raise":
        raise KeyError("no such word")
    if what == "die":
        os._exit(3)
    if what == "loop":
        while True:
            pass
    if what == "number":
        return 7
    if what == "hoard":
        return str(len(bytearray(1 << 40)))
    if what == "call":
        try:
            socket.create_connection((rest[0], int(rest[1])), timeout=5).close()
            return "reached"
        except OSError:
            return "held"
    if what == "read":
        try:
            return open(rest[0]).read()
        except OSError:
            return "held"
    if what == "write":
        try:
            open(os.path.join(os.path.dirname(__file__), "left.py"), "w").write("x")
            return "wrote"
        except OSError:
            return "held"
    if what == "environment":
        return "leaked" if "OPENAI_API_KEY" in os.environ else "held"
    if what in ("scorer", "range"):
        return what
    if what == "processes":
        mine = [name for name in os.listdir("/proc") if name.isdigit()]
        return "held" if len(mine) < 10 else "seen"
"#;

const SCORER: &str = r#"
from words import same

def score(run):
    question = run["case"]["input"]["question"]
    if question == "mischief scorer":
        raise ValueError("this case has no score")
    if question == "mischief range":
        return 1.5
    right = same(run["output"], run["case"]["expected"]["answer"])
    return {"score": right, "feedback": "not the same", "breakdown": {"steps": 1 if "form" in run["steps"] else 0}}
"#;

fn project(questions: &[(&str, &str)]) -> Project {
    let project = Project::empty().unwrap();
    let facts: Vec<Value> = ["red", "blue", "green"]
        .iter()
        .map(|colour| json!({"question": format!("What is {colour}?"), "needs": [], "answer": colour}))
        .collect();
    let world = json!({"style": "I would say {answer}.", "facts": facts});
    let case = |id: usize, question: &str, answer: &str| {
        json!({"case_id": format!("c{id}"), "input": {"question": question}, "expected": {"answer": answer}})
            .to_string()
            + "\n"
    };
    let val: String = questions
        .iter()
        .enumerate()
        .map(|(id, (question, answer))| case(id, question, answer))
        .collect();
    for (file, text) in [
        ("fapo.yaml", SPEC),
        ("pipeline/pipeline.yaml", PIPELINE),
        ("pipeline/prompts/answer.md", "user:\n{{ question }}\n"),
        ("pipeline/steps/form.py", FORM),
        ("pipeline/steps/mischief.py", MISCHIEF),
        ("scorers/own.py", SCORER),
        (
            "scorers/words.py",
            "def same(a, b): return a.strip() == b\n",
        ),
        ("sim.json", &world.to_string()),
        ("data/train.jsonl", &case(1000, "What is red?", "red")),
        ("data/val.jsonl", &val),
    ] {
        project.write(file, text).unwrap();
    }
    project
}

fn eval(project: &Project) -> Value {
    let args = ["--split", "val", "--show-failures", "20", "--json"];
    let env = [("OPENAI_API_KEY", "sk-a-secret-of-the-service")];
    project
        .fapo_with_env("eval", &args, &env)
        .unwrap()
        .json()
        .unwrap()
}

const COLOURS: [(&str, &str); 3] = [
    ("What is red?", "red"),
    ("What is blue?", "blue"),
    ("What is green?", "green"),
];

#[test]
fn code_wins_the_points_and_code_counts_them() {
    let project = project(&COLOURS);
    let checked = project.fapo("check", &[]).unwrap();
    assert_eq!(checked.code(), 0, "{}", checked.stderr());
    assert!(
        checked.stdout().contains("form (python)"),
        "{}",
        checked.stdout()
    );
    let with = eval(&project);
    assert_eq!(with["mean"], 1.0, "{with:#}");
    project
        .edit("pipeline/pipeline.yaml", "output: form", "output: answer")
        .unwrap();
    assert_eq!(eval(&project)["mean"], 0.0);
    // another scorer is another version, and is asked anew
    project
        .edit("scorers/words.py", "a.strip() == b", "b in a")
        .unwrap();
    assert_eq!(eval(&project)["mean"], 1.0);
}

#[test]
fn code_that_misbehaves_costs_its_own_case_and_reaches_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a line of the host").unwrap();
    let held = [
        format!("mischief call 127.0.0.1 {port}"),
        format!("mischief read {}", secret.path().display()),
        "mischief read DATA".to_owned(),
        "mischief write".to_owned(),
        "mischief environment".to_owned(),
        "mischief processes".to_owned(),
    ];
    let failing = [
        ("mischief raise", "code_failed", "no such word"),
        ("mischief die", "code_died", "process died"),
        ("mischief loop", "code_timed_out", "within 2 s"),
        ("mischief number", "code_output", "a number"),
        ("mischief hoard", "code_", "emory"),
        ("mischief scorer", "", "this case has no score"),
        ("mischief range", "", "not between 0 and 1"),
    ];
    let mut cases: Vec<(&str, &str)> = COLOURS.to_vec();
    cases.extend(held.iter().map(|question| (question.as_str(), "held")));
    cases.extend(failing.iter().map(|(question, ..)| (*question, "x")));
    let project = project(&cases);
    // the folder's own path is known only now
    let data = project.path().join("data/val.jsonl");
    let own = data.to_str().unwrap().to_owned();
    project.edit("data/val.jsonl", "DATA", &own).unwrap();
    let result = eval(&project);
    let right = COLOURS.len() + held.len();
    assert_eq!(result["statuses"]["failed"], failing.len(), "{result:#}");
    assert_eq!(result["statuses"]["scored"], right, "{result:#}");
    let mean = result["mean"].as_f64().unwrap();
    let wanted = right as f64 / cases.len() as f64;
    assert!((mean - wanted).abs() < 1e-6, "{result:#}");
    let shown = result.to_string();
    for (question, kind, said) in failing {
        assert!(
            shown.contains(kind) && shown.contains(said),
            "{question}: {result:#}"
        );
    }
    assert!(
        listener.accept().is_err(),
        "nobody came in from the sandbox"
    );
    assert!(!project.path().join("pipeline/steps/left.py").exists());
}

#[test]
fn a_proposal_that_adds_code_is_looked_at_gated_and_exported() {
    let questions: Vec<(String, &str)> = COLOURS
        .iter()
        .flat_map(|(question, answer)| {
            (0..6).map(move |number| (format!("Note {number}. {question}"), *answer))
        })
        .collect();
    let questions: Vec<(&str, &str)> = questions
        .iter()
        .map(|(question, answer)| (question.as_str(), *answer))
        .collect();
    let project = project(&questions);
    let train = project
        .read("data/val.jsonl")
        .unwrap()
        .replace(":\"c", ":\"t");
    project.write("data/train.jsonl", train).unwrap();
    let bare = PIPELINE.lines().take(2).collect::<Vec<_>>().join("\n") + "\noutput: answer\n";
    project.write("pipeline/pipeline.yaml", bare).unwrap();
    for file in ["form.py", "mischief.py"] {
        std::fs::remove_file(project.path().join("pipeline/steps").join(file)).unwrap();
    }
    let proposal = |iteration: u32, import: &str| {
        let code = format!(
            "import {import}\n\ndef run(inputs):\n    return re.sub('^I would say |[.]$', '', inputs['steps']['answer']['text'])\n"
        );
        json!({
            "iteration": iteration, "slot": 0, "technique": "post_processor", "idea": format!("form/{iteration}"),
            "hypothesis": "answers stand in a sentence", "edits": [
                {"path": "pipeline.yaml", "content": PIPELINE},
                {"path": "steps/form.py", "content": code},
            ]
        })
        .to_string()
            + "\n"
    };
    let recording = proposal(1, "re, os") + &proposal(2, "re");
    project.write("recorded.jsonl", recording).unwrap();
    let proposer = "allow: [structure], files: ['steps/*.py'] }\nproposer: { backend: replay, recording: recorded.jsonl }";
    project
        .edit(
            "fapo.yaml",
            "allow: [prompt, parameter, structure], files: ['prompts/*.md', 'steps/*.py'] }",
            proposer,
        )
        .unwrap();
    let summary = project
        .fapo("optimize", &["--json"])
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(summary["improved"], true, "{summary:#}");
    let lineage = project
        .fapo("lineage", &["--json"])
        .unwrap()
        .json()
        .unwrap();
    let told = lineage.to_string();
    assert!(told.contains("imports `os`"), "{lineage:#}");
    let out = project.path().join("out");
    let to = ["--to", out.to_str().unwrap()];
    assert_eq!(project.fapo("export", &to).unwrap().code(), 0);
    let exported = project.read("out/steps/form.py").unwrap();
    assert!(exported.starts_with("import re\n"), "{exported}");
}

#[test]
fn documents_go_through_code_to_prompts_and_to_retrieval_metrics() {
    let project = project(&[("What is red?", "red")]);
    let page = |id: &str, text: &str| {
        json!({"doc_id": id, "title": id.to_uppercase(), "text": text}).to_string() + "\n"
    };
    let corpus = page("a", "red is red") + &page("b", "red as wine") + &page("c", "no colour");
    project.write("data/corpus.jsonl", corpus).unwrap();
    project
        .write(
            "pipeline/pipeline.yaml",
            "\
steps:
  - { id: find, kind: retrieve, query: '{{ question }}', k: 3 }
  - { id: more, kind: retrieve, query: 'wine', k: 1 }
  - { id: pick, kind: python, file: steps/pick.py, needs: [find, more] }
  - { id: answer, kind: llm, prompt: prompts/answer.md }
output: answer
",
        )
        .unwrap();
    project
        .write(
            "pipeline/steps/pick.py",
            "import fapo\n\ndef run(inputs):\n    return {'docs': [one for one in fapo.documents() if 'wine' in one['text']]}\n",
        )
        .unwrap();
    project
        .write(
            "pipeline/prompts/answer.md",
            "user:\n{{ steps.pick.docs | passages }}\n{{ question }}\n",
        )
        .unwrap();
    project
        .edit(
            "fapo.yaml",
            "metric: python, file: scorers/own.py, also: [{ metric: exact_match, expected: answer }]",
            "metric: set_precision, from: pick.docs.title, expected: title",
        )
        .unwrap();
    project
        .edit(
            "fapo.yaml",
            "val: data/val.jsonl",
            "val: data/val.jsonl, corpora: { pages: data/corpus.jsonl }",
        )
        .unwrap();
    for file in ["data/train.jsonl", "data/val.jsonl"] {
        project
            .edit(file, "{\"answer\":\"red\"}", "{\"title\":[\"B\"]}")
            .unwrap();
    }
    let result = eval(&project);
    assert_eq!(result["mean"], 1.0, "{result:#}");
    let ran = project.fapo("run", &["--case", "c0", "--json"]).unwrap();
    let ran = ran.json().unwrap();
    let steps = ran["run"]["steps"].as_array();
    let step = |id: &str| {
        steps
            .and_then(|steps| steps.iter().find(|step| step["step"] == id))
            .unwrap_or(&Value::Null)
    };
    let picked = step("pick")["output"]["docs"].as_array().map(Vec::len);
    assert_eq!(picked, Some(1), "found twice, given once: {ran:#}");
    assert!(step("answer")["input"].to_string().contains("red as wine"));
}

#[test]
fn code_without_python_is_named_before_anything_is_paid() {
    let project = project(&COLOURS);
    let env = [("FAPO_PYTHON", "/nowhere/python3")];
    let checked = project.fapo_with_env("check", &[], &env).unwrap();
    assert_eq!(checked.code(), 3, "{}", checked.stderr());
    assert!(
        checked.stderr().contains("/nowhere/python3"),
        "{}",
        checked.stderr()
    );
    let ran = project
        .fapo_with_env("eval", &["--split", "val"], &env)
        .unwrap();
    assert_ne!(ran.code(), 0);
    let said = ran.stderr();
    assert!(
        said.contains("/nowhere/python3") && said.contains("CODE_UNAVAILABLE"),
        "{said}"
    );
    // what was missing is there again: the same command goes on
    assert_eq!(eval(&project)["mean"], 1.0);
}

#[test]
fn what_is_wrong_with_code_is_said_with_its_line() {
    let project = project(&COLOURS);
    project
        .write(
            "pipeline/steps/mischief.py",
            "def do(words):\n    return (1\n",
        )
        .unwrap();
    project
        .write("scorers/own.py", "def mark(run): return 1\n")
        .unwrap();
    let checked = project.fapo("check", &[]).unwrap();
    assert_eq!(checked.code(), 3);
    for said in [
        "pipeline/steps/mischief.py:2",
        "scorers/own.py",
        "no function `score`",
    ] {
        assert!(
            checked.stderr().contains(said),
            "{said}: {}",
            checked.stderr()
        );
    }
}
