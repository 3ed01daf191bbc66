//! Code that a proposal adds or changes: only Python in `steps/`, only modules that compute, no way out of the language.
//!
//! This is the fence and not the wall. It turns away what an honest proposer should not write, at no cost and with a
//! reason; whoever wants to deceive it can (by an attribute of a module that holds another, by text put together at run
//! time). What code can do at all is bounded by the sandbox that it runs in: no network, no files, no secrets.

use std::collections::BTreeSet;

use fapo_domain::model::pipeline::PythonStep;
use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::model::variant::VariantTree;
use fapo_project::python::{Import, Source, Token};

use super::added::texts;
use super::{MESSAGE_CHARS, finding};
use crate::text::one_line;

/// Faults of a file that are named.
const FAULTS_NAMED: usize = 20;
/// Characters of one of them.
const FAULT_CHARS: usize = 100;
/// Characters of all that are named, so that how many more there are can still be said.
const LIST_CHARS: usize = MESSAGE_CHARS - 40;

/// Modules that compute and do nothing else, with all below them. Those whose answers differ from call to call (`random`,
/// `time`, `uuid`, `secrets`) are not among them: a variant is compared on its answers. `fapo` is the helper that comes
/// with the workers.
const MODULES: [&str; 46] = [
    "__future__",
    "abc",
    "array",
    "ast",
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "colorsys",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "fapo",
    "fnmatch",
    "fractions",
    "functools",
    "graphlib",
    "hashlib",
    "heapq",
    "html",
    "ipaddress",
    "itertools",
    "json",
    "keyword",
    "math",
    "numbers",
    "operator",
    "pprint",
    "re",
    "reprlib",
    "shlex",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "typing",
    "unicodedata",
    "urllib.parse",
    "zlib",
];

/// Modules that are in every worker already, so that a file of the variant with their name would not be what is imported.
const TAKEN: [&str; 14] = [
    "builtins",
    "ctypes",
    "gc",
    "importlib",
    "inspect",
    "io",
    "os",
    "pathlib",
    "posix",
    "signal",
    "socket",
    "subprocess",
    "sys",
    "threading",
];

/// Names that code may not even mention.
const NAMES: [&str; 12] = [
    "__import__",
    "breakpoint",
    "delattr",
    "eval",
    "exec",
    "exit",
    "getattr",
    "globals",
    "locals",
    "quit",
    "setattr",
    "vars",
];

/// Names that code may use for its own things, and not call.
const CALLS: [&str; 4] = ["compile", "dir", "input", "open"];

/// Attributes that lead out of the language.
const ATTRIBUTES: [&str; 9] = [
    "cr_frame",
    "f_back",
    "f_builtins",
    "f_globals",
    "gi_frame",
    "modules",
    "popen",
    "system",
    "tb_frame",
];

/// Special names that ordinary code has.
const SPECIAL: [&str; 34] = [
    "__abs__",
    "__add__",
    "__all__",
    "__and__",
    "__bool__",
    "__call__",
    "__contains__",
    "__doc__",
    "__enter__",
    "__eq__",
    "__exit__",
    "__float__",
    "__future__",
    "__ge__",
    "__getitem__",
    "__gt__",
    "__hash__",
    "__init__",
    "__int__",
    "__iter__",
    "__le__",
    "__len__",
    "__lt__",
    "__main__",
    "__missing__",
    "__mul__",
    "__name__",
    "__ne__",
    "__next__",
    "__or__",
    "__post_init__",
    "__repr__",
    "__str__",
    "__sub__",
];

/// Code files that the proposal added or changed, and that hold what they must not. What the parent's file holds already
/// is not held against a change of the rest.
pub fn forbidden_code(parent: &VariantTree, child: &VariantTree) -> Vec<LintFinding> {
    let local = modules_of(child);
    let mut found = Vec::new();
    for (path, text) in texts(child) {
        if !is_code(path) || parent.get(path) == child.get(path) {
            continue;
        }
        if !(path.starts_with(PythonStep::FOLDER) && path.ends_with(".py")) {
            found.push(finding(
                Lint::ForbiddenCode,
                path,
                "only Python files in `steps/` are run: other code has no place here",
            ));
            continue;
        }
        let before = parent
            .text(path)
            .map(Source::read)
            .map_or_else(BTreeSet::new, |source| faults(&source, &local));
        let source = Source::read(text);
        let broken = source
            .fault
            .as_ref()
            .map(|fault| format!("line {}: {}", fault.line, fault.message));
        let named: Vec<String> = broken
            .into_iter()
            .chain(faults(&source, &local))
            .filter(|fault| !before.contains(fault))
            .collect();
        if !named.is_empty() {
            found.push(finding(Lint::ForbiddenCode, path, listed(&named)));
        }
    }
    found
}

/// The first faults in words, and how many more there are.
fn listed(faults: &[String]) -> String {
    let mut list = String::new();
    let mut left = faults.len();
    for fault in faults.iter().take(FAULTS_NAMED) {
        let fault = one_line(fault, FAULT_CHARS);
        if list.chars().count() + fault.chars().count() > LIST_CHARS {
            break;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(&fault);
        left -= 1;
    }
    if left > 0 {
        list.push_str(&format!(", and {left} more"));
    }
    list
}

fn is_code(path: &str) -> bool {
    path.starts_with(PythonStep::FOLDER)
        || [".py", ".pyc", ".pyi", ".pth", ".sh", ".js", ".so", ".rb"]
            .iter()
            .any(|end| path.ends_with(end))
}

/// The modules and packages that the variant's own code makes, by any part of their names.
fn modules_of(tree: &VariantTree) -> BTreeSet<&str> {
    tree.iter()
        .filter_map(|(path, _)| path.strip_suffix(".py"))
        .filter(|path| path.starts_with(PythonStep::FOLDER))
        .flat_map(|path| path.split('/'))
        .filter(|name| !TAKEN.contains(name))
        .collect()
}

/// Everything in a file that must not be there, in words.
fn faults(source: &Source, local: &BTreeSet<&str>) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = source
        .imports()
        .iter()
        .filter(|import| !may_import(import, local))
        .map(|import| format!("imports `{}`", import.module))
        .collect();
    for statement in &source.statements {
        let tokens = &statement.tokens;
        for (at, token) in tokens.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|at| tokens.get(at));
            match token {
                Token::Name(name) => {
                    let attribute = before.is_some_and(|token| token.is('.'));
                    let defined = before.is_some_and(|token| token.name() == Some("def"));
                    let called = tokens.get(at + 1).is_some_and(|token| token.is('('));
                    let name = name.as_str();
                    let plain = !attribute && !defined;
                    if (plain && NAMES.contains(&name))
                        || (plain && called && CALLS.contains(&name))
                        || (attribute && ATTRIBUTES.contains(&name))
                        || is_trick(name)
                    {
                        found.insert(format!("uses `{name}`"));
                    }
                }
                Token::Text(text) => {
                    found.extend(
                        text.split(|c: char| !c.is_alphanumeric() && c != '_')
                            .filter(|word| is_trick(word))
                            .map(|word| format!("uses `{word}`")),
                    );
                }
                Token::Number | Token::Mark(_) => {}
            }
        }
    }
    found
}

/// Whether a special name is none that ordinary code has.
fn is_trick(name: &str) -> bool {
    name.len() > 4 && name.starts_with("__") && name.ends_with("__") && !SPECIAL.contains(&name)
}

fn may_import(import: &Import, local: &BTreeSet<&str>) -> bool {
    if import.relative {
        return true;
    }
    let module = import.module.as_str();
    let root = module.split('.').next().unwrap_or_default();
    let whole = |name: &str| MODULES.contains(&name);
    whole(root)
        || whole(module)
        || local.contains(root)
        || (!import.names.is_empty()
            && import
                .names
                .iter()
                .all(|name| whole(&format!("{module}.{name}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tree;

    /// What is said of a file's code, beside a module `words` of the same variant.
    fn said(code: &str) -> Vec<String> {
        let parent = tree(&[("pipeline.yaml", ""), ("steps/words.py", "")]);
        let mut child = parent.clone();
        child.insert("steps/form.py", code.as_bytes().to_vec());
        forbidden_code(&parent, &child)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn lists_are_sorted_so_that_nothing_stands_in_them_twice() {
        for list in [&MODULES[..], &TAKEN, &NAMES, &CALLS, &ATTRIBUTES, &SPECIAL] {
            assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
        }
    }

    #[test]
    fn code_that_computes_passes() {
        for code in [
            "import re, json\nfrom collections import Counter\nfrom urllib.parse import unquote\nfrom urllib import parse\n",
            "import words\nfrom words import LIST\nfrom . import words\nfrom .words import LIST\nimport steps.words\n",
            "PATTERN = re.compile(r'\\d+')\n# eval(x) and import os\nx = 'please open(the) door, import os'\n",
            "class A:\n    def __init__(self): self.open = 1\n    def open(self): return self.open\n",
            "import fapo\ndef run(inputs):\n    return {'text': inputs['steps']['a']['text'].strip()}\n",
            "compile = 1\ndir, input = 2, compile\n",
        ] {
            assert_eq!(said(code), [""; 0], "{code}");
        }
    }

    #[test]
    fn ways_out_are_named() {
        for (code, word) in [
            ("import os", "imports `os`"),
            ("import re, sys as s", "imports `sys`"),
            ("if 1: import socket", "imports `socket`"),
            ("x = 1; from subprocess import run", "imports `subprocess`"),
            (
                "from urllib.request import urlopen",
                "imports `urllib.request`",
            ),
            ("from urllib import parse, request", "imports `urllib`"),
            ("import importlib", "imports `importlib`"),
            ("import random", "imports `random`"),
            ("x = eval('1')", "uses `eval`"),
            ("f = exec", "uses `exec`"),
            ("x = open('/etc/passwd').read()", "uses `open`"),
            ("x = f'{open(\"a\").read()}'", "uses `open`"),
            ("compile('1', '', 'eval')", "uses `compile`"),
            ("__import__('os')", "uses `__import__`"),
            (
                "().__class__.__base__.__subclasses__()",
                "uses `__subclasses__`",
            ),
            ("x = '{0.__globals__}'.format(f)", "uses `__globals__`"),
            ("__builtins__['open']", "uses `__builtins__`"),
            ("getattr(x, 'a' + 'b')", "uses `getattr`"),
            (
                "import re\nre.enum.sys.modules['os'].system('id')",
                "uses `system`",
            ),
            ("def f():\n    'x", "line 2"),
        ] {
            let found = said(code).join(" ");
            assert!(found.contains(word), "{code}: {found}");
        }
    }

    #[test]
    fn a_file_full_of_faults_gets_one_short_message() {
        let many: String = (0..2000).map(|n| format!("import b{n}\n")).collect();
        let short: String = ('a'..='z').map(|c| format!("import {c}\n")).collect();
        for (code, more) in [
            ("import ".repeat(32 * 1024 / 7), ""),
            (format!("x = __{}__", "a".repeat(32 * 1024)), "…"),
            (many, ", and 1980 more"),
            (short, ", and 6 more"),
        ] {
            let found = said(&code);
            assert_eq!(found.len(), 1);
            assert!(found[0].chars().count() <= 400, "{}", found[0].len());
            assert!(found[0].ends_with(more), "{}", found[0]);
        }
    }

    #[test]
    fn a_module_of_the_variant_does_not_hide_one_of_pythons_own() {
        let parent = tree(&[("pipeline.yaml", "")]);
        let mut child = parent.clone();
        child.insert("steps/os.py", b"x = 1\n".as_slice());
        child.insert("steps/form.py", b"import os\n".as_slice());
        let found = forbidden_code(&parent, &child);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn what_stood_in_the_file_before_is_not_held_against_a_change() {
        let parent = tree(&[("steps/form.py", "import os\nx = 1\n")]);
        let child = tree(&[("steps/form.py", "import os\nx = 2\n")]);
        assert_eq!(forbidden_code(&parent, &child), []);
        let child = tree(&[("steps/form.py", "import os, sys\nx = 2\n")]);
        assert_eq!(forbidden_code(&parent, &child)[0].message, "imports `sys`");
    }

    #[test]
    fn only_python_in_its_folder_is_code_that_runs() {
        let parent = tree(&[("pipeline.yaml", "")]);
        for path in [
            "steps/run.sh",
            "form.py",
            "prompts/form.py",
            "steps/data.txt",
            "a.so",
        ] {
            let mut child = parent.clone();
            child.insert(path, b"x = 1\n".as_slice());
            let found = forbidden_code(&parent, &child);
            assert!(found[0].message.contains("only Python files"), "{path}");
        }
    }
}
