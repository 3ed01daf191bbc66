//! Making problems: the same fields in the same way everywhere.

use std::borrow::Cow;

use fapo_domain::problem::{Problem, Severity};

/// Starts a problem that stops the project from being used.
pub(crate) fn error(rule: &'static str, file: &str, message: impl Into<String>) -> Problem {
    Problem {
        severity: Severity::Error,
        rule: Cow::Borrowed(rule),
        file: file.to_owned(),
        line: None,
        column: None,
        path: None,
        message: message.into(),
        help: None,
    }
}

/// Starts a problem that does not.
pub(crate) fn warning(rule: &'static str, file: &str, message: impl Into<String>) -> Problem {
    Problem {
        severity: Severity::Warning,
        ..error(rule, file, message)
    }
}

/// Fluent additions to a problem.
pub(crate) trait ProblemExt: Sized {
    /// Says what to do.
    fn help(self, help: impl Into<String>) -> Self;
    /// Says where, where that is known.
    fn at(self, line: Option<u64>, column: Option<u64>) -> Self;
}

impl ProblemExt for Problem {
    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn at(mut self, line: Option<u64>, column: Option<u64>) -> Self {
        self.line = line;
        self.column = column;
        self
    }
}

/// Another library's message as part of ours: lower-case start, no trailing dot.
pub(crate) fn lower_first(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        // not an abbreviation
        (Some(first), Some(second)) if !second.is_uppercase() => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

/// The candidate nearest to `word`, if it is near enough to be what was meant: at most a third of the letters differ, or
/// one is the beginning of the other.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let distance = distance(&lower, &other);
            let longest = lower.chars().count().max(other.chars().count());
            let prefix = lower.len() >= 3
                && other.len() >= 3
                && (other.starts_with(&lower) || lower.starts_with(&other));
            (distance * 3 <= longest || prefix).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters to add, drop, change or swap with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 {
                j
            } else if j == 0 {
                i
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[i - 1][j] + 1)
                    .min(rows[i][j - 1] + 1)
                    .min(rows[i - 1][j - 1] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

/// "did you mean `x`?", or the names there are, or nothing.
pub(crate) fn suggestion<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    noun: &str,
) -> Option<String> {
    if let Some(near) = nearest(word, candidates.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let names: Vec<String> = candidates
        .into_iter()
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len() {
        0 => None,
        1..=24 => Some(format!("{noun}: {}", names.join(", "))),
        more => Some(format!(
            "{noun}: {}, and {} more",
            names[..12].join(", "),
            more - 12
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let names = ["temperature", "top_p", "max_tokens", "prompt", "k"];
        for (word, expected) in [
            ("temprature", Some("temperature")),
            ("temp", Some("temperature")),
            ("maxtokens", Some("max_tokens")),
            ("Prompt", Some("prompt")),
            ("promtp", Some("prompt")),
            ("banana", None),
            ("q", None),
        ] {
            assert_eq!(nearest(word, names), expected, "{word}");
        }
    }
}
