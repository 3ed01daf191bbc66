//! The text that a proposal adds: lines of its files that stand nowhere in the parent.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use fapo_domain::model::variant::VariantTree;
use fapo_project::python::Source;
use regex::Regex;

use crate::text::words;

/// A run of added lines of one file, without a line of the parent between them.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The file.
    pub path: String,
    /// The lines as they are.
    pub lines: Vec<String>,
}

/// What a proposal adds to its parent.
#[derive(Debug, Clone, Default)]
pub struct Added {
    /// Runs of added lines, by file and place.
    pub segments: Vec<Segment>,
    /// Hashes of the parent's word sequences of 1 to [`MAX_GRAM`] words: what was there before is not added.
    known: HashSet<u64>,
}

/// The longest word sequence that is looked up.
pub const MAX_GRAM: usize = 8;

/// The hash of a word sequence; the same in every process.
pub fn gram<S: AsRef<str>>(words: &[S]) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.len().hash(&mut hasher);
    for word in words {
        word.as_ref().hash(&mut hasher);
    }
    hasher.finish()
}

/// A template tag or expression.
static TAG: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}").expect("a fixed pattern"));

/// A text in quotation marks inside a tag. An edit may begin or end inside one, so it need not be closed.
static LITERAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?s)"((?:[^"\\]|\\.)*)(?:"|\\?$)|'((?:[^'\\]|\\.)*)(?:'|\\?$)"#)
        .expect("a fixed pattern")
});

/// The runs of words that a text can show: cut at template tags, but with the literals inside them, in place and, as a
/// template can put them together in other ways, all in a row.
pub fn prose(text: &str) -> Vec<Vec<String>> {
    let mut runs: Vec<Vec<String>> = TAG.split(text).map(words).collect();
    let (mut in_place, mut in_a_row) = (String::new(), String::new());
    let mut end = 0;
    for tag in TAG.find_iter(text) {
        in_place.push_str(&text[end..tag.start()]);
        end = tag.end();
        let inside = literals(tag.as_str());
        if inside.trim().is_empty() {
            runs.push(words(&std::mem::take(&mut in_place)));
        }
        in_place.push_str(&inside);
        in_a_row.push_str(&inside);
    }
    in_place.push_str(&text[end..]);
    runs.extend([words(&in_place), words(&in_a_row)]);
    let mut seen = HashSet::new();
    runs.retain(|run| !run.is_empty() && seen.insert(run.clone()));
    runs
}

/// The runs of words that a file's text can show. Of code: as it stands, and what is in its texts, in a row.
pub fn prose_of(path: &str, text: &str) -> Vec<Vec<String>> {
    if !is_code(path) {
        return prose(text);
    }
    let source = Source::read(text);
    let mut in_a_row: Vec<&str> = source.texts().collect();
    let own;
    if source.fault.is_some() {
        // a part of a file may begin or end inside a text
        own = text.replace(['"', '\''], " ");
        in_a_row.push(&own);
    }
    let mut runs = vec![words(text), words(&in_a_row.join(" "))];
    // a text may be cut inside a word
    runs.push(words(&in_a_row.concat()));
    let mut seen = HashSet::new();
    runs.retain(|run| !run.is_empty() && seen.insert(run.clone()));
    runs
}

/// Whether a file is code, where braces are no template tags.
pub fn is_code(path: &str) -> bool {
    path.ends_with(".py")
}

/// The literals of a tag, each with a space around it; a comment shows none.
fn literals(tag: &str) -> String {
    let Some(inner) = tag.get(2..tag.len() - 2).filter(|_| !tag.starts_with("{#")) else {
        return String::new();
    };
    LITERAL
        .captures_iter(inner)
        .filter_map(|found| found.get(1).or_else(|| found.get(2)))
        .map(|found| format!(" {} ", unescaped(found.as_str())))
        .collect()
}

/// A literal's text with its escapes read as JSON's, which are the template language's; where that fails, as it stands.
fn unescaped(literal: &str) -> String {
    let quoted = literal.replace(char::is_control, " ").replace("\\'", "'");
    serde_json::from_str(&format!("\"{quoted}\"")).unwrap_or(quoted)
}

impl Added {
    /// What `child` adds to `parent`. Files that are no text are passed over (another lint refuses them).
    pub fn between(parent: &VariantTree, child: &VariantTree) -> Self {
        let old: BTreeSet<&str> = texts(parent)
            .flat_map(|(_, text)| text.lines())
            .map(str::trim)
            .collect();
        let mut known = HashSet::new();
        for (path, text) in texts(parent) {
            for run in prose_of(path, text).iter().chain([&words(text)]) {
                for length in 1..=MAX_GRAM {
                    known.extend(run.windows(length).map(gram));
                }
            }
        }
        let mut segments = Vec::new();
        for (path, text) in texts(child) {
            let mut lines: Vec<String> = Vec::new();
            for line in text.lines().chain([""]) {
                let is_new = !line.trim().is_empty() && !old.contains(line.trim());
                if is_new {
                    lines.push(line.to_owned());
                } else if !line.trim().is_empty() && !lines.is_empty() {
                    segments.push(Segment {
                        path: path.to_owned(),
                        lines: std::mem::take(&mut lines),
                    });
                }
            }
            if !lines.is_empty() {
                segments.push(Segment {
                    path: path.to_owned(),
                    lines,
                });
            }
        }
        Self { segments, known }
    }

    /// Whether the parent has this word sequence (at most [`MAX_GRAM`] words).
    pub fn is_known(&self, gram: u64) -> bool {
        self.known.contains(&gram)
    }

    /// How many words the added lines have.
    pub fn words(&self) -> usize {
        self.segments
            .iter()
            .flat_map(|segment| &segment.lines)
            .map(|line| words(line).len())
            .sum()
    }
}

/// The tree's text files.
pub fn texts(tree: &VariantTree) -> impl Iterator<Item = (&str, &str)> {
    tree.iter()
        .filter_map(|(path, content)| Some((path, std::str::from_utf8(content).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tree;

    #[test]
    fn only_lines_the_parent_has_nowhere_are_added() {
        let parent = tree(&[("a.md", "one\ntwo\nthree\n"), ("b.md", "four\n")]);
        let child = tree(&[("a.md", "one\nnew x\n\nnew y\n  four\nnew z\n")]);
        let added = Added::between(&parent, &child);
        let lines: Vec<&[String]> = added.segments.iter().map(|s| s.lines.as_slice()).collect();
        assert_eq!(lines, [["new x", "new y"].as_slice(), ["new z"].as_slice()]);
        assert!(added.is_known(gram(&["four"])));
        assert!(!added.is_known(gram(&["new"])));
    }

    #[test]
    fn template_tags_cut_runs_of_words() {
        assert_eq!(
            prose("Look at {{ question }} now {% if x %}Yes{% endif %}"),
            [vec!["look", "at"], vec!["now"], vec!["yes"]]
        );
        let parts = |text: &str| {
            let mut runs = prose(text);
            runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
            runs.swap_remove(0).join(" ")
        };
        assert_eq!(parts(r#"a {{ "b\nc" ~ 'd\'e' }} f"#), "a b c d e f");
        assert_eq!(
            parts(r#"{% set x = "a b" %}-{{ question }}-{% set y = "c d" %}"#),
            "a b c d"
        );
        assert_eq!(parts(r#"{{ "a \u0062 c }}"#), "a b c");
        assert_eq!(parts(r#"a {# "b c" #}"#), "a");
    }
}
