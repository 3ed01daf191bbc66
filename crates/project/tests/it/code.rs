//! Code in a project: what changing it means, and who may.

use fapo_domain::model::level::Level;
use fapo_domain::model::project::{ProjectSpec, ScopeSpec};
use fapo_domain::model::variant::VariantTree;
use fapo_project::{check_scope, read_project, semantic_diff};

use crate::support::project;

const STEPS: &str = "
output: form
steps:
  - {id: answer, kind: llm, prompt: prompts/answer.md}
  - {id: form, kind: python, file: steps/form.py, needs: [answer]}
  - {id: other, kind: python, file: steps/other.py, needs: [answer]}
";

fn parent() -> VariantTree {
    let mut tree = VariantTree::new();
    for (path, text) in [
        ("pipeline.yaml", STEPS),
        ("prompts/answer.md", "{{ question }}\n"),
        (
            "steps/form.py",
            "import words\ndef run(inputs): return 'x'\n",
        ),
        ("steps/other.py", "def run(inputs): return 'x'\n"),
        ("steps/words.py", "LIST = []\n"),
    ] {
        tree.insert(path, text.as_bytes());
    }
    tree
}

fn with(path: &str, text: &str) -> VariantTree {
    let mut tree = parent();
    tree.insert(path, text.as_bytes());
    tree
}

fn steps(from: &str, to: &str) -> VariantTree {
    assert!(STEPS.contains(from), "{from}");
    with("pipeline.yaml", &STEPS.replacen(from, to, 1))
}

#[test]
fn code_is_structure_and_its_limits_are_parameters() {
    let table = [
        (
            with("steps/words.py", "LIST = [1]\n"),
            Level::Structure,
            "steps/words.py",
        ),
        (with("steps/new.py", "\n"), Level::Structure, "steps/new.py"),
        (
            steps("steps/form.py", "steps/other.py"),
            Level::Structure,
            "steps.form.file",
        ),
        (
            steps("steps/form.py,", "steps/form.py, function: words,"),
            Level::Structure,
            "steps.form.function",
        ),
        (
            steps("steps/form.py,", "steps/form.py, timeout_s: 20,"),
            Level::Parameter,
            "steps.form.timeout_s",
        ),
        (
            steps("steps/form.py,", "steps/form.py, memory_mb: 256,"),
            Level::Parameter,
            "steps.form.memory_mb",
        ),
    ];
    for (child, level, path) in table {
        let diff = semantic_diff(&parent(), &child).unwrap();
        let paths: Vec<&str> = diff.changes.iter().map(|change| &*change.path).collect();
        assert_eq!((diff.level, paths), (Some(level), vec![path]));
    }
    let same = steps(
        "steps/form.py,",
        "steps/form.py, function: run, timeout_s: 10,",
    );
    assert_eq!(semantic_diff(&parent(), &same).unwrap().level, None);
}

#[test]
fn code_does_not_become_a_text_by_being_named_as_a_prompt() {
    let mut old = steps("prompts/answer.md", "steps/form.py");
    let mut new = old.clone();
    new.insert("steps/form.py", b"def run(inputs): return 'y'\n".as_slice());
    assert_eq!(
        semantic_diff(&old, &new).unwrap().level,
        Some(Level::Structure)
    );
    // of a prompt the white space around is nothing; of code it may be everything
    old.insert("prompts/form.py", b"def run(): pass".as_slice());
    new = old.clone();
    new.insert("prompts/form.py", b"  def run(): pass".as_slice());
    assert_eq!(
        semantic_diff(&old, &new).unwrap().level,
        Some(Level::Structure)
    );
}

#[test]
fn code_belongs_to_the_steps_that_run_or_import_it() {
    let project = ProjectSpec {
        scope: ScopeSpec {
            allow: Level::ALL.to_vec(),
            steps: vec!["form".to_owned()],
            ..ScopeSpec::default()
        },
        ..project()
    };
    let refused = |child: &VariantTree| {
        let diff = semantic_diff(&parent(), child).unwrap();
        let found = check_scope(&project, Level::Structure, &parent(), child, &diff);
        found
            .iter()
            .map(|finding| format!("{} {}", finding.lint.name(), finding.place))
            .collect::<Vec<_>>()
    };
    let nothing: [&str; 0] = [];
    for path in ["steps/form.py", "steps/words.py", "steps/new.py"] {
        assert_eq!(refused(&with(path, "x = 1\n")), nothing, "{path}");
    }
    assert_eq!(
        refused(&with("steps/other.py", "def run(inputs): return 'y'\n")),
        ["scope_step steps/other.py"]
    );
    // a new module that another step's code would take for one of Python's own
    let mut shadowed = parent();
    shadowed.insert(
        "steps/other.py",
        b"import json\ndef run(inputs): return 'x'\n".as_slice(),
    );
    let mut child = shadowed.clone();
    child.insert("steps/json.py", b"dumps = str\n".as_slice());
    let diff = semantic_diff(&shadowed, &child).unwrap();
    let found = check_scope(&project, Level::Structure, &shadowed, &child, &diff);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].place, "steps/json.py");
}

#[test]
fn limits_of_code_keep_to_their_ranges_and_files_to_their_globs() {
    let mut project = project();
    project.scope = ScopeSpec {
        allow: Level::ALL.to_vec(),
        files: vec!["prompts/*.md".to_owned()],
        ..ScopeSpec::default()
    };
    let ranges = &mut project.scope.ranges;
    ranges.insert("python.*.timeout_s".to_owned(), (1.0, 15.0));
    let refused = |project: &ProjectSpec, child: &VariantTree| {
        let diff = semantic_diff(&parent(), child).unwrap();
        let found = check_scope(project, Level::Structure, &parent(), child, &diff);
        found.iter().map(|one| one.lint.name()).collect::<Vec<_>>()
    };
    let slow = steps("steps/form.py,", "steps/form.py, timeout_s: 20,");
    assert_eq!(refused(&project, &slow), ["scope_range"]);
    let code = with("steps/form.py", "def run(inputs): return 'y'\n");
    assert_eq!(refused(&project, &code), ["scope_file"]);
    project.scope.files.push("steps/*.py".to_owned());
    assert_eq!(refused(&project, &code), [""; 0]);
}

#[test]
fn a_scorers_code_lies_where_no_proposal_reaches_it() {
    let of = |scorer: &str| {
        let text = format!(
            "name: p\nmodels:\n  task: {{provider: openai, model: m}}\ndata: {{train: t.jsonl}}\nscorer: {scorer}\n"
        );
        read_project("fapo.yaml", &text).1.to_string()
    };
    for right in [
        "{metric: python, file: scorers/own.py}",
        "{metric: python, file: scorers/a/own.py, function: mark, timeout_s: 3, memory_mb: 100}",
        "{metric: f1, expected: answer, also: [{metric: python, file: scorers/own.py}]}",
        "{weighted: [{weight: 1, metric: python, file: scorers/own.py, name: own}]}",
    ] {
        assert_eq!(of(right), "", "{right}");
    }
    for (wrong, said) in [
        ("{metric: python}", "`python` needs `file`"),
        (
            "{metric: python, file: pipeline/steps/own.py}",
            "is not a scorer's code",
        ),
        (
            "{metric: python, file: scorers/../own.py}",
            "is not a scorer's code",
        ),
        (
            "{metric: python, file: /scorers/own.py}",
            "is not a scorer's code",
        ),
        (
            "{metric: python, file: scorers/own.txt}",
            "is not a scorer's code",
        ),
        (
            "{metric: python, file: scorers/own.py, function: a-b}",
            "cannot be a function's name",
        ),
        (
            "{metric: python, file: scorers/own.py, timeout_s: 0}",
            "timeout_s",
        ),
    ] {
        assert!(of(wrong).contains(said), "{wrong}: {}", of(wrong));
    }
}
