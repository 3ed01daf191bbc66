use proptest::prelude::*;

use super::*;

fn fault(text: &str) -> Option<(u64, String)> {
    let fault = Source::read(text).fault?;
    Some((fault.line, fault.message))
}

#[test]
fn what_cannot_be_python_is_named_with_its_line() {
    let table = [
        ("def run(x):\n    return 'a\n", 2, "a text is not closed"),
        ("x = '''a\n\nb''\n", 1, "a text is not closed"),
        ("f(1,\n  [2, 3)\n", 2, "`)` closes nothing"),
        ("a = {\n  'b': 1\n", 1, "a bracket is not closed"),
        ("a = 1\n}\n", 2, "`}` closes nothing"),
        ("cost = $5\n", 1, "`$` is not Python"),
        ("a = f'{b'\n", 1, "a text is not closed"),
    ];
    for (text, line, message) in table {
        assert_eq!(fault(text), Some((line, message.to_owned())), "{text}");
    }
}

#[test]
fn what_is_python_has_no_fault() {
    let table = [
        "",
        "x = 'it\\'s' + \"a 'b'\" + r'\\d' + b'\\x00' # it's a ) comment\n",
        "'''doc \"\" ' '''\ndef f(a, *, b: dict[str, int] | None = None) -> str: return a @ b\n",
        "s = f'{x!r:>{width}} {{ }} {d[\"a\"]:,.2f} {y=}'\n",
        "s = f\"{d[\"nested\"]}\" f'{x:$>10}' rf'\\{x}'\n",
        "x = (\n  1,\n  # )\n  2)\nif a \\\n   and b: pass\n",
        "x = lambda a: a[1:2, ...] if a else {1: 2}\r\ny: int = 0x_ff + 1.5e-3j\n",
        "match x:\n\tcase {'a': [1, *_]}:\n\t\tpass",
        "\u{feff}é = ''\n",
    ];
    for text in table {
        assert_eq!(fault(text), None, "{text}");
    }
}

#[test]
fn imports_are_found_wherever_they_stand() {
    let source = Source::read(
        "import re, os.path as p\nfrom json import (\n  loads as l,\n  dumps,\n)\ndef f():\n    if x: import sys; from . import helper\n    from .words import LIST\nyield_ = 'import socket'\nx = y.import_\n# import shutil\ns = f'{__import__(\"a\")}'\nraise X from e; import math",
    );
    let found: Vec<(String, bool, Vec<String>)> = source
        .imports()
        .into_iter()
        .map(|import| (import.module, import.relative, import.names))
        .collect();
    let row = |module: &str, relative: bool, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        (module.to_owned(), relative, names)
    };
    assert_eq!(
        found,
        [
            row("", true, &["helper"]),
            row("json", false, &["loads", "dumps"]),
            row("math", false, &[]),
            row("os.path", false, &[]),
            row("re", false, &[]),
            row("sys", false, &[]),
            row("words", true, &["LIST"]),
        ]
    );
    assert!(source.words().contains("__import__"));
}

#[test]
fn imports_of_any_text_hold_no_more_than_the_text() {
    let repeated = |text: &str| text.repeat(32 * 1024 / text.len());
    for text in [
        repeated("import "),
        format!("from x {}", repeated("import ")),
        repeated("from a import "),
        repeated("import a, "),
        format!("import {}", repeated("a.")),
        format!("import {}", "a".repeat(32 * 1024)),
    ] {
        let imports = Source::read(&text).imports();
        let held: usize = imports
            .iter()
            .map(|import| import.module.len() + import.names.iter().map(String::len).sum::<usize>())
            .sum();
        assert!(held <= text.len() + 3, "{held} bytes of {}...", &text[..20]);
        for import in imports {
            assert!(import.module.len() <= 260, "{}", import.module.len());
        }
    }
    let long = Source::read(&format!("import {}", "a".repeat(300)));
    assert!(long.imports().iter().all(|one| one.module == "…"));
}

#[test]
fn a_name_is_defined_at_the_top_or_not_at_all() {
    let source = Source::read(
        "import a.b as run1\nfrom x import run2\ndef run3(i): pass\nasync def run4(i): pass\nrun5 = run3\nclass C:\n    def run6(self): pass\nif 1:\n    run7 = 2\n",
    );
    for (name, there) in [
        ("run1", true),
        ("run2", true),
        ("run3", true),
        ("run4", true),
        ("run5", true),
        ("run6", false),
        ("run7", false),
        ("run", false),
    ] {
        assert_eq!(source.defines(name), there, "{name}");
    }
    assert!(source.is_async("run4") && !source.is_async("run3"));
}

#[test]
fn texts_come_with_their_escapes_read() {
    let source = Source::read(
        "a = 'x\\n\\x41\\u00e9\\101\\d' r'\\n' b'z'\ns = f'p{q(\"inner\")}r'\n'''t\nu'''\n",
    );
    let texts: Vec<&str> = source.texts().collect();
    assert_eq!(texts, ["x\nAéA\\d", "\\n", "z", "p", "inner", "r", "t\nu"]);
}

proptest! {
    #[test]
    fn reading_ends_with_every_text(text in "[ a-z0-9'\"\\\\{}()\\[\\]:#;\n\tfrb$]{0,200}") {
        let source = Source::read(&text);
        source.imports();
        if let Some(fault) = source.fault {
            prop_assert!(fault.line >= 1 && fault.line <= 1 + text.matches('\n').count() as u64);
        }
    }
}
