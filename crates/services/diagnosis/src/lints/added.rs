//! The text that a proposal adds: lines of its files that stand nowhere in the parent.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use fapo_domain::model::variant::VariantTree;
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

/// The words of a text, cut into runs at template tags.
pub fn prose(text: &str) -> Vec<Vec<String>> {
    TAG.split(text)
        .map(words)
        .filter(|run| !run.is_empty())
        .collect()
}

impl Added {
    /// What `child` adds to `parent`. Files that are no text are passed over (another lint refuses them).
    pub fn between(parent: &VariantTree, child: &VariantTree) -> Self {
        let old: BTreeSet<&str> = texts(parent)
            .flat_map(|(_, text)| text.lines())
            .map(str::trim)
            .collect();
        let mut known = HashSet::new();
        for (_, text) in texts(parent) {
            for run in prose(text).iter().chain([&words(text)]) {
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
    }
}
