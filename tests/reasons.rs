//! Every reason that a person can meet has a page in `docs/errors`, and every page a reason in the code. Reasons are found
//! in the sources themselves: an upper-case text in code that is no test is a reason, unless a table here says what else
//! it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Upper-case texts that name something else.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("ANTHROPIC_API_KEY", "an environment variable"),
    ("ANTHROPIC_BASE_URL", "an environment variable of a session"),
    ("CARGO_PKG_VERSION", "the version, at compile time"),
    (
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        "an environment variable of a session",
    ),
    (
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
        "an environment variable of a session",
    ),
    (
        "CLAUDE_CODE_MAX_RETRIES",
        "an environment variable of a session",
    ),
    ("CLAUDE_CODE_TMPDIR", "an environment variable of a session"),
    ("CLICOLOR_FORCE", "an environment variable"),
    ("CODEX_HOME", "an environment variable of a session"),
    ("CODEX_OSS_BASE_URL", "an environment variable of a session"),
    (
        "DISABLE_AUTOUPDATER",
        "an environment variable of a session",
    ),
    (
        "DISABLE_ERROR_REPORTING",
        "an environment variable of a session",
    ),
    ("DISABLE_TELEMETRY", "an environment variable of a session"),
    ("FAPO__", "what variables of a configuration begin with"),
    ("FAPO_CLAUDE", "an environment variable"),
    ("FAPO_CODEX", "an environment variable"),
    ("FAPO_LOG", "an environment variable"),
    ("FAPO_PYTHON", "an environment variable"),
    ("FAPO_SANDBOX", "an environment variable"),
    ("FAPO_SERVER", "an environment variable"),
    ("FAPO_SESSION_TOKEN", "an environment variable of a session"),
    ("FAPO_TOKEN", "an environment variable"),
    ("HTTPS_PROXY", "an environment variable"),
    ("MALLOC_ARENA_MAX", "an environment variable of Python"),
    ("MCP_TOOL_TIMEOUT", "an environment variable of a session"),
    ("MKL_NUM_THREADS", "an environment variable of Python"),
    ("NO_COLOR", "an environment variable"),
    ("OMP_NUM_THREADS", "an environment variable of Python"),
    ("OPENAI_API_KEY", "an environment variable"),
    ("OPENBLAS_NUM_THREADS", "an environment variable of Python"),
    (
        "OUT_DIR",
        "where generated code and descriptors are, at compile time",
    ),
];

/// Reasons that end inside, with what becomes of them. One that a command could show does not belong here.
const NOBODY_MEETS: &[(&str, &str)] = &[
    (
        "DELIVERY_LOST",
        "who loses a message logs it and goes on: the row's lease is what counts",
    ),
    (
        "INTERRUPTED",
        "a task that was told to stop goes back to the queue as it was, and never dies of it",
    ),
    (
        "LEASE_STALE",
        "a worker that meets it drops its work: somebody else has the task by now",
    ),
    (
        "VERSION_CONFLICT",
        "a tick begins again with what it reads then, and gives up as JOB_CONTENDED",
    ),
];

/// A piece of Rust source. Comments, white space, characters and lifetimes are none.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

impl Token {
    fn is(&self, wanted: &str) -> bool {
        match self {
            Self::Word(word) => word == wanted,
            Self::Mark(mark) => wanted.chars().eq([*mark]),
            Self::Text(_) => false,
        }
    }
}

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            rest = after_comment(rest);
        } else if first == '"' {
            let (text, after) = quoted(&rest[1..]);
            tokens.push(Token::Text(text.to_owned()));
            rest = after;
        } else if first == '\'' {
            rest = after_tick(&rest[1..]);
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let hashes = after.len() - after.trim_start_matches('#').len();
            rest = after;
            if matches!(word, "r" | "br" | "cr") && after[hashes..].starts_with('"') {
                let closing = format!("\"{}", "#".repeat(hashes));
                let inner = &after[hashes + 1..];
                let end = inner.find(&closing).unwrap_or(inner.len());
                tokens.push(Token::Text(inner[..end].to_owned()));
                rest = inner.get(end + closing.len()..).unwrap_or_default();
            } else {
                tokens.push(Token::Word(word.to_owned()));
            }
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Mark(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

/// What follows a block comment, which may hold others.
fn after_comment(source: &str) -> &str {
    let (mut depth, mut at) = (0usize, 0);
    while at < source.len() {
        if source[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if source[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return &source[at..];
            }
        } else {
            at += source[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    ""
}

/// A text up to its closing quote, as it is written, and what follows.
fn quoted(source: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, character) in source.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return (&source[..at], &source[at + 1..]),
            _ => {}
        }
    }
    (source, "")
}

/// What follows the tick of a character, with the character, or that of a lifetime.
fn after_tick(source: &str) -> &str {
    let mut characters = source.char_indices();
    let escaped = characters.next().is_some_and(|(_, first)| first == '\\');
    let closing = if escaped {
        // the character after the backslash may be a tick itself
        characters.nth(1);
        source[2..].find('\'').map(|at| at + 2)
    } else {
        characters
            .next()
            .filter(|(_, second)| *second == '\'')
            .map(|(at, _)| at)
    };
    closing.map_or(source, |at| &source[at + 1..])
}

/// Takes away what only tests have, and names the modules among it that are files of their own.
fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    const ONLY_TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut files) = (Vec::new(), Vec::new());
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        kept.push(token);
        let Some(start) = kept.len().checked_sub(ONLY_TESTS.len()) else {
            continue;
        };
        let tail = kept[start..].iter();
        if !tail.zip(ONLY_TESTS).all(|(token, wanted)| token.is(wanted)) {
            continue;
        }
        kept.truncate(start);
        let mut item = Vec::new();
        let mut depth = 0usize;
        for token in rest.by_ref() {
            let opens = ["(", "[", "{"].iter().any(|mark| token.is(mark));
            let closes = [")", "]", "}"].iter().any(|mark| token.is(mark));
            depth = depth + usize::from(opens) - usize::from(closes);
            let ends = depth == 0 && (token.is(";") || token.is("}"));
            item.push(token);
            if ends {
                break;
            }
        }
        if let [.., word, Token::Word(name), end] = &item[..]
            && word.is("mod")
            && end.is(";")
        {
            files.push(name.clone());
        }
    }
    (kept, files)
}

/// The reasons among the tokens: all texts that look like `TWO_WORDS`; single words where a reason is made; and names
/// that a message begins with, as in `PANIC: what it said`.
fn reasons(tokens: &[Token]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // how deep in braces the body of a `fn reason` is, where this is one
    let (mut depth, mut inside) = (0usize, None);
    for (at, token) in tokens.iter().enumerate() {
        let before = |wanted: [&str; 2]| {
            at >= 2 && tokens[at - 2].is(wanted[0]) && tokens[at - 1].is(wanted[1])
        };
        if before(["fn", "reason"]) {
            inside = Some(depth);
        }
        depth = depth + usize::from(token.is("{")) - usize::from(token.is("}"));
        if token.is("}") && inside == Some(depth) {
            inside = None;
        }
        let Token::Text(text) = token else { continue };
        let made = inside.is_some() || before(["reason", ":"]) || before(["permanent", "("]);
        let head = text.split_once(": ").map(|(head, _)| head);
        let name = head.unwrap_or(text);
        if is_name(name) && (made || head.is_some() || name.contains('_')) {
            found.insert(name.to_owned());
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.len() > 1 && text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(upper)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path())
}

/// What is built into the program: the `src` folders of all crates but the test kit.
fn sources(folder: &Path, inside: bool, found: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        if path.is_dir() {
            let outside = ["tests", "testkit", "examples", "target"];
            if inside || !outside.iter().any(|name| path.ends_with(name)) {
                sources(&path, inside || path.ends_with("src"), found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All upper-case names in code that is no test, with the files that have them.
fn names_in_code() -> BTreeMap<String, BTreeSet<PathBuf>> {
    let mut files = Vec::new();
    sources(&root().join("crates"), false, &mut files);
    let (mut read, mut only_tests) = (Vec::new(), Vec::new());
    for path in files {
        let (kept, modules) = without_tests(tokens(&std::fs::read_to_string(&path).unwrap()));
        let beside = ["lib.rs", "main.rs", "mod.rs"].iter();
        let folder = if beside.clone().any(|name| path.ends_with(name)) {
            path.parent().unwrap().to_owned()
        } else {
            path.with_extension("")
        };
        only_tests.extend(modules.iter().map(|module| folder.join(module)));
        read.push((path, kept));
    }
    let mut found: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for (path, kept) in read {
        let module = path.with_extension("");
        if !only_tests.iter().any(|test| module.starts_with(test)) {
            for name in reasons(&kept) {
                let place = path.strip_prefix(root()).unwrap().to_owned();
                found.entry(name).or_default().insert(place);
            }
        }
    }
    found
}

fn pages() -> BTreeMap<String, String> {
    entries(&root().join("docs/errors"))
        .filter(|path| !path.ends_with("README.md"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn every_reason_that_a_person_can_meet_has_a_page_and_every_page_a_reason() {
    let (names, pages) = (names_in_code(), pages());
    let tables = [OTHER_NAMES, NOBODY_MEETS].concat();
    let listed: BTreeMap<&str, &str> = tables.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, files) in &names {
        if !pages.contains_key(name) && !listed.contains_key(name.as_str()) {
            wrong.push(format!(
                "{name} has no page in docs/errors; it is in {files:?}"
            ));
        }
    }
    for name in pages.keys() {
        if let Some(why) = listed.get(name.as_str()) {
            wrong.push(format!("{name} has a page, and a table here says: {why}"));
        } else if !names.contains_key(name) {
            wrong.push(format!(
                "docs/errors/{name}.md is about no reason in the code"
            ));
        }
    }
    for (name, why) in tables {
        if !names.contains_key(name) {
            wrong.push(format!(
                "{name} ({why}) is in a table here, and not in the code"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_page_says_what_happened_and_what_to_do() {
    for (name, page) in pages() {
        let parts: Vec<&str> = page.trim_end().split("\n\n").collect();
        let [title, happened, mend] = parts[..] else {
            panic!("{name} has {} parts instead of three", parts.len());
        };
        assert_eq!(title, format!("# {name}"));
        assert!(happened.starts_with("**What happened.** "), "{name}");
        assert!(mend.starts_with("**What to do.** "), "{name}");
    }
}

#[test]
fn reasons_are_found_where_code_has_them_and_nowhere_else() {
    const SOURCE: &str = r##"
        //! "IN_A_COMMENT" /* "IN_A_COMMENT" */
        const NAMED: &str = "BY_A_CONSTANT"; /* /* */ "IN_A_COMMENT" */
        fn reason<'a>(&'a self) -> &'static str {
            match self { Self::A { .. } => "ALONE", Self::B('"', '\'', '\\') => { r#"RAW_TEXT"# } }
        }
        fn other() { ("SELECT", "\"QUOTED_TEXT\"", "Mixed_CASE", 'x', b'"', "{}: IN_A_MESSAGE") }
        #[cfg(test)]
        #[expect(dead_code, reason = "why")]
        mod tests { fn inner() { reason("IN_A_TEST"); { "IN_A_TEST" } } }
        fn work() -> WorkError { WorkError::permanent( // why
            "PERMANENT", "message"); WorkError { reason: "FIELD", message: format!("HEAD: {}", 1) } }
        #[cfg(test)]
        use a::{b, c};
        #[cfg(test)]
        pub(crate) mod support;
        fn last() { "AT_THE_END" }
    "##;
    let (kept, files) = without_tests(tokens(SOURCE));
    let found: Vec<String> = reasons(&kept).into_iter().collect();
    assert_eq!(
        found,
        [
            "ALONE",
            "AT_THE_END",
            "BY_A_CONSTANT",
            "FIELD",
            "HEAD",
            "PERMANENT",
            "RAW_TEXT"
        ]
    );
    assert_eq!(files, ["support"]);
}
