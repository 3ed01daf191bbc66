mod prompts;

use std::sync::Arc;

use fapo_domain::ids::StepId;
use fapo_domain::model::case::Document;
use fapo_domain::model::trace::{RetrievedDocument, StepOutput};
use serde_json::{Map, Value, json};

use super::*;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => unreachable!("{other}"),
    }
}

fn steps() -> Vec<(StepId, Option<Arc<StepOutput>>)> {
    let doc = |id: &str, title: &str, text: &str| RetrievedDocument {
        document: Document {
            doc_id: id.into(),
            title: title.into(),
            text: text.into(),
        },
        score: 1.5,
    };
    vec![
        (
            StepId::from("find"),
            Some(Arc::new(StepOutput {
                text: "found".into(),
                docs: Some(vec![
                    doc("d1", "Ants", "They walk."),
                    doc("d2", "", "No title."),
                ]),
                ..StepOutput::default()
            })),
        ),
        (
            StepId::from("label"),
            Some(Arc::new(StepOutput {
                text: "{\"a\":{\"b\":[1,2]}}".into(),
                json: Some(json!({"a": {"b": [1, 2], "c": null}})),
                ..StepOutput::default()
            })),
        ),
        (StepId::from("skipped"), None),
    ]
}

fn render(source: &str) -> Result<String, TemplateError> {
    let input =
        object(json!({"question": "why?", "n": 3, "none": null, "list": ["x", "y"], "<": "&"}));
    let ctx = render_context("case-7", &input, &steps(), &[("candidate", json!("C"))]);
    TextTemplate::compile("t.md", source)?.render(&ctx)
}

fn rendered(source: &str) -> String {
    render(source).unwrap_or_else(|error| format!("ERROR {error}"))
}

#[test]
fn names_mean_what_the_table_says() {
    for (source, expected) in [
        ("{{ question }} {{ input.question }}", "why? why?"),
        ("{{ case_id }}/{{ candidate }}", "case-7/C"),
        ("{{ n + 1 }}", "4"),
        ("{{ steps.find.text }}|{{ steps.find }}", "found|found"),
        ("{{ steps.label.json.a.b[1] }}", "2"),
        ("{{ steps.label.json.a.c }}.", "."),
        ("{{ none }}|{{ none | default('-') }}", "|-"),
        (
            "{% for d in steps.find.docs %}{{ loop.index }}{{ d.title }};{% endfor %}",
            "1Ants;2;",
        ),
        ("{{ steps.find.docs | length }}", "2"),
        ("{{ steps.find.docs[0].doc_id }}", "d1"),
        (
            "{{ steps.find.docs | passages }}",
            "[1] Ants\nThey walk.\n\n[2]\nNo title.",
        ),
        (
            "{{ steps.find.docs }}",
            "[1] Ants\nThey walk.\n\n[2]\nNo title.",
        ),
        (
            "{{ steps.find.docs | passages(limit=1, max_chars=4) }}",
            "[1] Ants\nThey…",
        ),
        (
            "{{ steps.find.docs | map(attribute='title') | join(',') }}",
            "Ants,",
        ),
        ("{{ list | join('-') }}", "x-y"),
        ("{{ input['<'] }}", "&"),
        (
            "{{ input | tojson }}",
            r#"{"<":"&","list":["x","y"],"n":3,"none":null,"question":"why?"}"#,
        ),
        (
            "{{ steps.label.json | tojson }}",
            r#"{"a":{"b":[1,2],"c":null}}"#,
        ),
        (
            "{{ list }}{{ n > 1 }}{{ steps.label.json.a }}",
            r#"["x","y"]true{"b":[1,2],"c":null}"#,
        ),
        ("<b>{{ '<i>' }}", "<b><i>"),
        ("{% if true %}\nyes\n{% endif %}\nend", "yes\nend"),
    ] {
        assert_eq!(rendered(source), expected, "{source}");
    }
}

#[test]
fn a_skipped_step_is_there_but_empty() {
    for (source, expected) in [
        ("[{{ steps.skipped }}]", "[]"),
        ("[{{ steps.skipped.text }}]", "[]"),
        ("[{{ steps.skipped.json.a.b }}]", "[]"),
        ("[{{ steps.skipped.docs | passages }}]", "[]"),
        ("{% for d in steps.skipped.docs %}x{% endfor %}", ""),
        ("{% if steps.skipped %}a{% else %}b{% endif %}", "b"),
        ("{% if steps.find %}a{% else %}b{% endif %}", "a"),
        ("{{ steps.skipped.text | default('n/a') }}", "n/a"),
        ("{{ steps.skipped.json.a | default('n/a') }}", "n/a"),
        ("{{ steps.skipped | default('n/a') }}", "n/a"),
        ("{{ steps.skipped.text is none }}", "true"),
    ] {
        assert_eq!(rendered(source), expected, "{source}");
    }
}

#[test]
fn a_missing_name_is_an_error_that_names_it() {
    for (source, variable) in [
        ("a\nb {{ qestion }}", "qestion"),
        ("{{ input.qestion }}", "input.qestion"),
        ("{{ steps.nope.text }}", "steps.nope"),
        ("{{ steps.label.json.x }}", "steps.label.json.x"),
        ("{% if qestion %}{% endif %}", "qestion"),
        ("{% for x in nope %}{% endfor %}", "nope"),
        ("{{ nope | upper }}", "nope"),
        ("{{ 'a' ~ nope }}", "nope"),
        ("{{ nope + 1 }}", "nope"),
    ] {
        let error = render(source).unwrap_err();
        assert_eq!(
            error.kind,
            TemplateErrorKind::Undefined,
            "{source}: {error}"
        );
        assert_eq!(
            error.variable.as_deref(),
            Some(variable),
            "{source}: {error}"
        );
    }
    assert_eq!(
        render("a\nb {{ qestion }}").unwrap_err().to_string(),
        "t.md:2: `qestion` has no value here"
    );
}

#[test]
fn a_hostile_template_ends() {
    for source in [
        "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}x{% endfor %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='0123456789') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 999999999 }}",
        "{% set ns = namespace(x=['y']) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=['y']) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{{ range(100000) | join(range(100000) | join('x')) }}",
    ] {
        let error = render(source).unwrap_err();
        assert!(
            matches!(
                error.kind,
                TemplateErrorKind::OutOfFuel | TemplateErrorKind::Render
            ),
            "{error}"
        );
    }
}

#[test]
fn templates_stand_alone() {
    for tag in [
        "include 'a'",
        "import 'a' as b",
        "extends 'a'",
        "block x",
        "- include 'a' ",
    ] {
        let error = TextTemplate::compile("t.md", &format!("x\n{{%{tag}%}}")).unwrap_err();
        assert_eq!(error.kind, TemplateErrorKind::NotAllowed);
        assert_eq!(error.line, Some(2));
    }
    assert_eq!(
        rendered("{% raw %}{% include 'a' %}{% endraw %}{# {% import 'a' %} #}"),
        "{% include 'a' %}"
    );
}

#[test]
fn given_names_cannot_be_hidden() {
    for source in [
        "{% set steps = steps.a %}",
        "{%- set input = 1 %}",
        "{% with case_id = 1 %}{% endwith %}",
        "{% for steps in question %}{% endfor %}",
        "{% for a, steps in question %}{% endfor %}",
        "{% set steps %}x{% endset %}",
        "{% with a = 1, input = 2 %}{% endwith %}",
        "{% macro steps(a) %}{% endmacro %}",
        "{% macro f(a, input) %}{% endmacro %}",
    ] {
        let error = TextTemplate::compile("t", source).unwrap_err();
        assert_eq!(
            error.kind,
            TemplateErrorKind::NotAllowed,
            "{source}: {error}"
        );
    }
    for source in [
        "{% set mine = steps.a.text %}{{ mine }}",
        "{% for d in steps.a.docs %}{{ d.title }}{% endfor %}",
        "{% for k in input %}{{ k }}{% endfor %}",
        "{% set n = input.n %}{% if steps.a == input.n %}{% endif %}",
        "{% with x = steps.a, y = input %}{% endwith %}",
    ] {
        assert_eq!(
            TextTemplate::compile("t", source).map(|_| ()),
            Ok(()),
            "{source}"
        );
    }
}

#[test]
fn unknown_filters_and_tests_are_found_when_it_is_compiled() {
    for (source, line, message) in [
        ("a\n{{ x | uper }}", 2, "filter `uper` does not exist"),
        (
            "{% if x is odder %}{% endif %}",
            1,
            "test `odder` does not exist",
        ),
        (
            "{% if x is not odder %}{% endif %}",
            1,
            "test `odder` does not exist",
        ),
        (
            "{{ 'a | b' | nope('}}') }}",
            1,
            "filter `nope` does not exist",
        ),
    ] {
        let error = TextTemplate::compile("t", source).unwrap_err();
        assert_eq!(
            (error.line, error.message.as_str()),
            (Some(line), message),
            "{source}"
        );
    }
    for good in [
        "{{ 'x | nope is nada' }} a | b {# x | nope #} {% raw %}{{ x | nope }}{% endraw %}",
        "{{ x | upper | default('a | b') }}{% if x is odd or x is not defined %}{% endif %}",
        "{% filter upper %}a{% endfilter %}{{ \"it's | fine\" }}",
    ] {
        assert_eq!(
            TextTemplate::compile("t", good).map(|_| ()),
            Ok(()),
            "{good}"
        );
    }
    let error = Condition::compile("x | nope").unwrap_err();
    assert_eq!(error.message, "filter `nope` does not exist");
}

#[test]
fn variables_are_found_and_local_names_are_not() {
    let template = TextTemplate::compile(
        "t",
        "{{ question }} {{ steps.a.json.x.y }} {% for d in steps.b.docs %}{{ d.title }}{{ loop.index }}{% endfor %}\
         {% set z = input.q %}{{ z }} {{ range(3) }} {{ steps['c'].text }}",
    )
    .unwrap();
    let found: Vec<String> = template
        .variables()
        .iter()
        .map(|path| path.join("."))
        .collect();
    assert_eq!(
        found,
        [
            "input.q",
            "question",
            "steps",
            "steps.a.json.x.y",
            "steps.b.docs"
        ]
    );
}

#[test]
fn conditions_are_expressions() {
    let input = object(json!({"n": 3}));
    let ctx = render_context("c", &input, &steps(), &[]);
    for (source, expected) in [
        ("n > 2", true),
        ("steps.find.text == 'found'", true),
        ("steps.skipped", false),
        ("not steps.skipped.json.ok", true),
        ("steps.find.docs", true),
        ("steps.skipped.docs", false),
        ("steps.find.docs | length > 2", false),
    ] {
        let condition = Condition::compile(source).unwrap();
        assert_eq!(condition.eval(&ctx), Ok(expected), "{source}");
    }
    let error = Condition::compile("steps.nope.text == 'a'")
        .unwrap()
        .eval(&ctx)
        .unwrap_err();
    assert_eq!(error.variable.as_deref(), Some("steps.nope"));
    let error = Condition::compile("nope").unwrap().eval(&ctx).unwrap_err();
    assert_eq!(error.variable.as_deref(), Some("nope"));
    for bad in ["", "{{ n }}", "n >", "n ~~ 2", "n | nosuchfilter"] {
        assert!(Condition::compile(bad).is_err(), "{bad}");
    }
    let names: Vec<_> = Condition::compile("steps.a.text and n")
        .unwrap()
        .variables()
        .into_iter()
        .collect();
    assert_eq!(
        names,
        [
            vec!["n".to_owned()],
            vec!["steps".into(), "a".into(), "text".into()]
        ]
    );
}
