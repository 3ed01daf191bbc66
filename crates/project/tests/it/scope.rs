//! What a proposal may change.

use fapo_domain::model::level::Level;
use fapo_domain::model::project::{ProjectSpec, ScopeSpec};
use fapo_domain::model::variant::VariantTree;
use fapo_project::{allowed_range, check_scope, semantic_diff};

use crate::support::{PIPELINE, PROMPT, good, project, with_pipeline};

fn all() -> ScopeSpec {
    ScopeSpec {
        allow: Level::ALL.to_vec(),
        ..ScopeSpec::default()
    }
}

/// Lints by name and place.
fn lints(scope: &ScopeSpec, open: Level, child: &VariantTree) -> Vec<String> {
    lints_from(&good(), scope, open, child)
}

fn lints_from(
    parent: &VariantTree,
    scope: &ScopeSpec,
    open: Level,
    child: &VariantTree,
) -> Vec<String> {
    let project = ProjectSpec {
        scope: scope.clone(),
        ..project()
    };
    let diff = semantic_diff(parent, child).unwrap();
    let mut found: Vec<String> = check_scope(&project, open, parent, child, &diff)
        .iter()
        .map(|finding| format!("{} {}", finding.lint.name(), finding.place))
        .collect();
    found.sort();
    found
}

fn edited(from: &str, to: &str) -> VariantTree {
    assert!(PIPELINE.contains(from), "{from}");
    with_pipeline(&PIPELINE.replacen(from, to, 1))
}

fn with_prompt(text: &str) -> VariantTree {
    let mut tree = good();
    tree.insert("prompts/answer.md", text.as_bytes());
    tree
}

const NONE: [&str; 0] = [];

#[test]
fn what_is_allowed_passes() {
    for child in [
        with_prompt("user: {{ question }}"),
        edited("k: 3", "k: 4"),
        edited(
            "output: answer",
            "  - {id: t, kind: template, template: '{{ steps.answer }}'}\noutput: t",
        ),
    ] {
        assert_eq!(lints(&all(), Level::Structure, &child), NONE);
    }
}

#[test]
fn nothing_changed_is_told() {
    assert_eq!(
        lints(&all(), Level::Structure, &good()),
        ["no_change pipeline/"]
    );
    let layout = edited("    k: 3\n", "    k:   3 # three\n");
    assert_eq!(
        lints(&all(), Level::Structure, &layout),
        ["no_change pipeline/"]
    );
    let space = with_prompt(&format!("{PROMPT}\n\n"));
    assert_eq!(
        lints(&all(), Level::Structure, &space),
        ["no_change pipeline/"]
    );
}

#[test]
fn levels_must_be_allowed_and_open() {
    let scope = ScopeSpec {
        allow: vec![Level::Prompt, Level::Parameter],
        ..ScopeSpec::default()
    };
    let k = edited("k: 3", "k: 4");
    assert_eq!(lints(&scope, Level::Parameter, &k), NONE);
    assert_eq!(
        lints(&scope, Level::Prompt, &k),
        ["scope_level steps.find.k"]
    );
    let structure = edited("{{ question }}", "{{ question }}?");
    assert_eq!(
        lints(&scope, Level::Structure, &structure),
        ["scope_level steps.find.queries"]
    );
    // every change that is too deep is told, and only those
    let mut both = edited("k: 3", "k: 4\n    when: question");
    both.insert("prompts/answer.md", *b"user: {{ question }}");
    assert_eq!(
        lints(&scope, Level::Structure, &both),
        ["scope_level steps.find.when"]
    );
}

#[test]
fn files_outside_the_globs_are_refused() {
    let scope = ScopeSpec {
        files: vec!["prompts/*.md".to_owned()],
        ..all()
    };
    assert_eq!(
        lints(&scope, Level::Structure, &with_prompt("{{ question }}")),
        NONE
    );
    assert_eq!(
        lints(&scope, Level::Structure, &edited("k: 3", "k: 4")),
        NONE
    );
    let mut child = with_prompt("{{ question }}");
    child.insert("prompts/deep/x.md", *b"x");
    child.insert("steps/run.py", *b"x");
    assert_eq!(
        lints(&scope, Level::Structure, &child),
        ["scope_file prompts/deep/x.md", "scope_file steps/run.py"]
    );
}

#[test]
fn steps_outside_the_globs_are_refused_and_new_ones_are_free() {
    let scope = ScopeSpec {
        steps: vec!["ans*".to_owned()],
        ..all()
    };
    assert_eq!(
        lints(
            &scope,
            Level::Structure,
            &edited("temperature: 0", "temperature: 1")
        ),
        NONE
    );
    assert_eq!(
        lints(&scope, Level::Structure, &edited("k: 3", "k: 4")),
        ["scope_step steps.find.k"]
    );
    assert_eq!(
        lints(&scope, Level::Structure, &edited("id: find", "id: seek")),
        ["scope_step steps.find"]
    );
    let added = edited(
        "output: answer",
        "  - {id: new, kind: template, template: x}\noutput: answer",
    );
    assert_eq!(lints(&scope, Level::Structure, &added), NONE);
    // a prompt belongs to the steps that use it
    let other = ScopeSpec {
        steps: vec!["find".to_owned()],
        ..all()
    };
    assert_eq!(
        lints(&other, Level::Structure, &with_prompt("{{ question }}")),
        ["scope_step prompts/answer.md"]
    );
}

#[test]
fn values_must_stay_in_their_ranges() {
    let scope = ScopeSpec {
        ranges: [
            ("retrieve.*.k".to_owned(), (1.0, 10.0)),
            ("*.*.temperature".to_owned(), (0.0, 1.0)),
            ("sample.*.n".to_owned(), (1.0, 3.0)),
        ]
        .into(),
        ..all()
    };
    assert_eq!(
        lints(&scope, Level::Structure, &edited("k: 3", "k: 10")),
        NONE
    );
    assert_eq!(
        lints(&scope, Level::Structure, &edited("k: 3", "k: 11")),
        ["scope_range steps.find.k"]
    );
    assert_eq!(
        lints(
            &scope,
            Level::Structure,
            &edited("temperature: 0", "temperature: 1.5")
        ),
        ["scope_range steps.answer.temperature"]
    );
    // new steps too, also inside a new sample
    let sample = edited(
        "output: answer",
        "  - id: many\n    kind: sample\n    n: 5\n    steps: [{id: more, kind: retrieve, query: x, k: 20}]\n    combine: {method: vote}\noutput: many",
    );
    assert_eq!(
        lints(&scope, Level::Structure, &sample),
        ["scope_range steps.many.n", "scope_range steps.more.k"]
    );
    // what was out of range before and stays as it is is not the proposal's doing
    let wide = edited("k: 3", "k: 40");
    let mut child = wide.clone();
    child.insert("prompts/answer.md", *b"user: {{ question }}");
    assert_eq!(lints_from(&wide, &scope, Level::Structure, &child), NONE);
}

#[test]
fn a_parameter_left_out_counts_with_the_value_that_it_then_has() {
    let ranged = |parameter: &str, least: f64, most: f64| ScopeSpec {
        ranges: [(format!("*.*.{parameter}"), (least, most))].into(),
        models: vec!["big".to_owned()],
        ..all()
    };
    // the entry's `max_tokens` is 1024
    let short = edited("temperature: 0", "max_tokens: 200");
    let without = edited("    temperature: 0\n", "");
    let check =
        |scope: &ScopeSpec, child: &VariantTree| lints_from(&short, scope, Level::Structure, child);
    assert_eq!(
        check(&ranged("max_tokens", 1.0, 256.0), &without),
        ["scope_range steps.answer.max_tokens"]
    );
    assert_eq!(check(&ranged("max_tokens", 1.0, 1024.0), &without), NONE);
    // a new step, and one that moves to another model, get what that model's entry says
    let new =
        |line: &str| {
            with_pipeline(&PIPELINE.replace("temperature: 0", "max_tokens: 200").replace(
            "output: answer",
            &format!("  - {{id: new, kind: llm, prompt: prompts/answer.md{line}}}\noutput: new"),
        ))
        };
    assert_eq!(
        check(&ranged("max_tokens", 1.0, 256.0), &new("")),
        ["scope_range steps.new.max_tokens"]
    );
    assert_eq!(
        check(
            &ranged("max_tokens", 1.0, 256.0),
            &new(", max_tokens: 256, model: big")
        ),
        NONE
    );
    let deep = edited("k: 3", "k: 9");
    assert_eq!(
        lints_from(
            &deep,
            &ranged("k", 6.0, 9.0),
            Level::Structure,
            &edited("    k: 3\n", "")
        ),
        ["scope_range steps.find.k"],
        "the format's own default is 5"
    );
    // what no file says is the provider's: nobody knows whether that is in the range
    let cold = ranged("temperature", 0.0, 1.0);
    assert_eq!(
        lints(&cold, Level::Structure, &without),
        ["scope_range steps.answer.temperature"]
    );
    // a step that was there before, or that does as the others of its model do, may leave it so
    assert_eq!(check(&cold, &new("")), NONE);
    assert_eq!(
        check(&cold, &new(", model: big")),
        ["scope_range steps.new.temperature"]
    );
    let mut child = short.clone();
    child.insert("prompts/answer.md", *b"user: {{ question }}");
    assert_eq!(check(&cold, &child), NONE);
}

#[test]
fn an_allowed_range_is_what_all_matching_entries_allow() {
    let ranges = [
        ("retrieve.*.k".to_owned(), (1.0, 20.0)),
        ("*.hop{1,2}.k".to_owned(), (3.0, 50.0)),
    ]
    .into();
    let range = |kind: &str, step: &str| allowed_range(&ranges, kind, step, "k");
    assert_eq!(range("retrieve", "find"), Some((1.0, 20.0)));
    assert_eq!(range("retrieve", "hop1"), Some((3.0, 20.0)));
    assert_eq!(range("llm", "find"), None);
}

#[test]
fn models_must_be_on_the_list() {
    let big = edited("temperature: 0", "temperature: 0\n    model: big");
    assert_eq!(
        lints(&all(), Level::Structure, &big),
        ["scope_range steps.answer.model"]
    );
    let scope = ScopeSpec {
        models: vec!["big".to_owned()],
        ..all()
    };
    assert_eq!(lints(&scope, Level::Structure, &big), NONE);
    assert_eq!(
        lints_from(&big, &scope, Level::Structure, &good()),
        ["scope_range steps.answer.model"],
        "`task` is not on the list either"
    );
    let new = |model: &str| {
        edited(
            "output: answer",
            &format!("  - {{id: new, kind: llm, prompt: prompts/answer.md{model}}}\noutput: new"),
        )
    };
    assert_eq!(lints(&all(), Level::Structure, &new("")), NONE);
    assert_eq!(
        lints(&all(), Level::Structure, &new(", model: big")),
        ["scope_range steps.new.model"]
    );
}

#[test]
fn an_unreadable_child_has_no_difference_but_problems() {
    let problems = semantic_diff(&good(), &with_pipeline("steps: [")).unwrap_err();
    assert!(problems.has_errors());
    let problems =
        semantic_diff(&good(), &with_pipeline("steps: []\noutput: x\nkey: 1")).unwrap_err();
    assert!(
        problems.to_string().contains("unknown key `key`"),
        "{problems}"
    );
}
