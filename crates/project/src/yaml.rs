//! YAML with positions: a JSON value, and the line and column of every key and value in it.
//!
//! A document that cannot be read gives one problem; a document that can be read but holds something that JSON cannot say
//! (a repeated key, a key that is not a text, an infinite number) gives all of them and the rest of the value.

mod build;
mod explain;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use fapo_domain::problem::{Problem, Problems};
use serde_json::Value;

/// Line and column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub line: u64,
    pub column: u64,
}

/// Where a thing stands: its key (if it has one) and its value.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Option<Place>,
    value: Place,
}

/// A read document. Key paths look like `steps[2].prompt`.
#[derive(Debug)]
pub(crate) struct Document {
    /// The file's name, for problems.
    pub file: String,
    /// The content.
    pub value: Value,
    places: BTreeMap<String, Entry>,
}

impl Document {
    /// Reads one document. The document is `None` where it cannot be read at all.
    pub fn read(file: &str, text: &str, problems: &mut Problems) -> Option<Self> {
        build::read(file, text, problems)
    }

    /// Where the key of `path` stands, or else its value, or else the nearest thing around it.
    pub fn place(&self, path: &str) -> Option<Place> {
        self.find(path, |entry| entry.key.unwrap_or(entry.value))
    }

    /// Where the value of `path` stands, or else the nearest thing around it.
    pub fn value_place(&self, path: &str) -> Option<Place> {
        self.find(path, |entry| entry.value)
    }

    fn find(&self, path: &str, choose: impl Fn(&Entry) -> Place) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(entry) = self.places.get(path) {
                return Some(choose(entry));
            }
            if path.is_empty() {
                return None;
            }
            path = parent(path);
        }
    }

    /// Puts a problem at the key of `path`.
    pub fn at_key(&self, mut problem: Problem, path: &str) -> Problem {
        let place = self.place(path);
        problem.line = place.map(|place| place.line);
        problem.column = place.map(|place| place.column);
        problem.path = (!path.is_empty()).then(|| path.to_owned());
        problem
    }

    /// Puts a problem at the value of `path`.
    pub fn at_value(&self, problem: Problem, path: &str) -> Problem {
        let place = self.value_place(path);
        Problem {
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            ..self.at_key(problem, path)
        }
    }
}

/// The path of `key` in the object at `path`.
pub(crate) fn join(path: &str, key: &str) -> String {
    let plain = key
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        && !key.is_empty();
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

/// The path of an item of the list at `path`.
pub(crate) fn item(path: &str, position: usize) -> String {
    format!("{path}[{position}]")
}

/// The path of whatever holds `path`.
fn parent(path: &str) -> &str {
    if let Some(inner) = path.strip_suffix(']') {
        let start = if inner.ends_with('"') {
            inner.rfind("[\"")
        } else {
            inner.rfind('[')
        };
        return &path[..start.unwrap_or(0)];
    }
    &path[..path.rfind('.').unwrap_or(0)]
}
