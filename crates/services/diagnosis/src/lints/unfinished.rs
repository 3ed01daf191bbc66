//! Text that ends in the middle, or stands for text that was left out. Models that rewrite a file are cut off, or
//! shorten what they repeat; either would silently destroy a prompt.

use std::sync::LazyLock;

use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::model::variant::VariantTree;
use regex::Regex;

use super::added::{is_code, texts};
use super::finding;
use crate::text::quote;

/// Ways of writing "the rest is as it was", and notes to oneself.
static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)
        [\[(<] \s* (the\s+)? (rest|remainder|remaining|existing|previous|original) \b [^\])>\n]{0,80}
            \b (unchanged|same|here|omitted|as\s+(before|is|above)|prompt|text|file|instructions|content|code) \b
        | [\[(<] \s* (unchanged|omitted|snip|truncated|continued?|your\ [a-z]+\ here|insert\b[^\])>\n]{0,80}|placeholder[^\])>\n]{0,40}) \s* [\])>]
        | \.\.\. \s* (existing|rest|unchanged|same|remaining|remainder|previous)\b
        | \b (existing|remaining|previous) \s+ (prompt|text|instructions|content|code) \s* \.\.\.
        | (\#|//|<!--) \s* \.\.\.
        | \[ \s* (\.\.\.|…) \s* \]
        | ^ \s* (\.\.\.|…) \s* $
        | \b (rest|remainder) \s+ of \s+ (the\s+)? (prompt|file|text|instructions|pipeline|document) \s+ (is\s+|are\s+|remains?\s+|stays?\s+)? (unchanged|the\s+same|as\s+(before|is))
        | \( \s* same \s+ as \s+ (before|above|the\s+(parent|original)) \s* \)
        | \b (?-i:TODO|FIXME|TBD|XXX) \b
        | <insert
        | \betc\.? \s* \(
        ",
    )
    .expect("a fixed pattern")
});
/// `^` and `$` in the pattern above are asked line by line, so it is matched against single lines.
fn placeholder(line: &str) -> Option<&str> {
    PLACEHOLDER.find(line).map(|found| found.as_str())
}

/// Words after which no sentence ends.
const DANGLING: [&str; 30] = [
    "a", "an", "the", "and", "or", "but", "of", "to", "with", "for", "from", "by", "into", "that",
    "which", "because", "if", "when", "is", "are", "your", "their", "its", "must", "should",
    "using", "than", "as", "at", "be",
];

/// Files that the proposal added or changed and that are not finished.
pub fn unfinished(parent: &VariantTree, child: &VariantTree) -> Vec<LintFinding> {
    texts(child)
        .filter(|(path, _)| parent.get(path) != child.get(path))
        .filter_map(|(path, text)| {
            let reason = reason(path, parent.text(path), text)?;
            Some(finding(Lint::Unfinished, path, reason))
        })
        .collect()
}

fn reason(path: &str, before: Option<&str>, text: &str) -> Option<String> {
    let before = before.unwrap_or_default();
    if text.trim().is_empty() {
        return Some("the file is empty".to_owned());
    }
    for line in text.lines() {
        let line = if is_code(path) { remark(line) } else { line };
        if let Some(found) = placeholder(line)
            && !before.contains(found)
        {
            return Some(format!(
                "stands for text that was left out: {}",
                quote(found.trim())
            ));
        }
    }
    if !even(text, "```") && even(before, "```") {
        return Some("a code fence is open at the end".to_owned());
    }
    for (open, close) in [("{{", "}}"), ("{%", "%}"), ("{#", "#}")] {
        if !is_code(path)
            && text.matches(open).count() != text.matches(close).count()
            && before.matches(open).count() == before.matches(close).count()
        {
            return Some(format!("`{open}` and `{close}` do not pair"));
        }
    }
    let whole = text.trim_end();
    // a cut at the end of a line may be meant; what it loses is seen by the lint on variables
    if let Some(rest) = before.trim_end().strip_prefix(whole)
        && !rest.is_empty()
        && !rest.starts_with(['\n', '\r'])
    {
        return Some("ends where the parent's text goes on: cut off".to_owned());
    }
    if path.ends_with(".md") {
        return dangling(whole, before.trim_end());
    }
    None
}

/// What of a line of code can stand for what was left out: a remark, or an ellipsis alone.
fn remark(line: &str) -> &str {
    if matches!(line.trim(), "..." | "…") {
        return line;
    }
    line.find('#').map_or("", |at| &line[at..])
}

/// The last line ends in the middle of a sentence, and did not do so before.
fn dangling(text: &str, before: &str) -> Option<String> {
    let last = text.lines().last()?.trim();
    if before
        .lines()
        .last()
        .is_some_and(|line| line.trim() == last)
        || last.ends_with("}}")
        || last.ends_with("%}")
    {
        return None;
    }
    let word = last
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default()
        .to_lowercase();
    let several = last.split_whitespace().count() > 2;
    let open_bracket = last.matches('(').count() > last.matches(')').count();
    let open_quote = !even(last, "\"");
    let ends_open = last.ends_with([',', '(', '[', '{', '-', '–']) || open_bracket || open_quote;
    (several && (ends_open || DANGLING.contains(&word.as_str())))
        .then(|| format!("ends in the middle of a sentence: {}", quote(&tail(last))))
}

fn even(text: &str, mark: &str) -> bool {
    text.matches(mark).count().is_multiple_of(2)
}

fn tail(line: &str) -> String {
    let start = line.char_indices().rev().nth(50).map_or(0, |(at, _)| at);
    line[start..].to_owned()
}
