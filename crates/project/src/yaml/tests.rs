use fapo_domain::problem::Problems;
use serde_json::json;

use super::*;

fn read(text: &str) -> (Option<Document>, Vec<String>) {
    let mut problems = Problems::new();
    let document = Document::read("f.yaml", text, &mut problems);
    (document, problems.iter().map(ToString::to_string).collect())
}

#[test]
fn values_and_their_places_are_read() {
    let (document, problems) = read(
        "a: 1\nb:\n  - x: 'é'\n    y: 1.5\n  - ~\n\"c.d\": {e: [true, no, 0x10, 18446744073709551615]}\nm: |\n  one\n  two\n",
    );
    assert_eq!(problems, Vec::<String>::new());
    let document = document.unwrap();
    assert_eq!(
        document.value,
        json!({"a": 1, "b": [{"x": "é", "y": 1.5}, null], "c.d": {"e": [true, "no", 16, u64::MAX]}, "m": "one\ntwo\n"})
    );
    let at = |path| document.place(path).map(|place| (place.line, place.column));
    assert_eq!(at("b[0].y"), Some((4, 5)));
    assert_eq!(
        document.value_place("b[0].y").map(|p| (p.line, p.column)),
        Some((4, 8))
    );
    assert_eq!(at("b[1]"), Some((5, 5)));
    assert_eq!(at("[\"c.d\"].e[1]"), Some((6, 19)));
    assert_eq!(at("[\"c.d\"].nope.deeper[3]"), Some((6, 1)));
    assert_eq!(at("nope"), Some((1, 1)));
}

#[test]
fn anchors_are_followed_within_bounds() {
    let (document, problems) = read("a: &x {b: 1}\nc: *x\n");
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(
        document.unwrap().value,
        json!({"a": {"b": 1}, "c": {"b": 1}})
    );
    let mut bomb = "a0: &a0 [1,2,3,4,5,6,7,8,9,10]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![alias; 10].join(",")
        ));
    }
    let (document, problems) = read(&bomb);
    assert!(document.is_none());
    assert!(problems[0].contains("yaml-anchor"), "{problems:?}");
}

#[test]
fn repeated_keys_are_all_told_and_the_first_counts() {
    let (document, problems) = read("a: 1\nb: {c: 1, c: 2}\na: 3\n");
    assert_eq!(document.unwrap().value, json!({"a": 1, "b": {"c": 1}}));
    assert_eq!(
        problems,
        [
            "f.yaml:2:11: error[duplicate-key]: `b.c`: `c` is already given in line 2\n    help: keep one of them",
            "f.yaml:3:1: error[duplicate-key]: `a`: `a` is already given in line 1\n    help: keep one of them",
        ]
    );
}

#[test]
fn what_cannot_be_read_is_explained() {
    for (text, expected) in [
        ("a:\n\tb: 1\n", "yaml-tab"),
        ("query: {{ question }}\n", "yaml-braces"),
        ("query: {{ question }} more\n", "yaml-braces"),
        ("steps:\n  - {{ a }} b\n", "yaml-braces"),
        ("a: *nope\n", "yaml-anchor"),
        ("a: b: c\n", "yaml-syntax"),
        ("a: 'x\nb: 1\n", "never closed"),
        ("a: \"\\d\"\n", "backslash"),
        ("a: [1, 2\nb: 3\n", "`[` or `{`"),
        ("a: 1\n  b: 2\n", "yaml-syntax"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("<<: {a: 1}\n", "yaml-merge"),
        ("a: .inf\n", "yaml-number"),
        ("[1]: 2\n", "yaml-key"),
        ("a: !mine 3\n", "yaml-tag"),
    ] {
        let (_, problems) = read(text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].contains(expected), "{text}: {problems:?}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    let (document, problems) = read(&format!("a: {}{}", "[".repeat(60), "]".repeat(60)));
    assert!(document.is_none());
    assert!(problems[0].contains("nested"), "{problems:?}");
    let (document, problems) = read(&"[".repeat(100_000));
    assert!(document.is_none());
    assert_eq!(problems.len(), 1);
}

#[test]
fn an_empty_document_is_null() {
    for text in ["", "# nothing\n", "\u{feff}", "---\n"] {
        let (document, problems) = read(text);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(document.unwrap().value, Value::Null);
    }
}
