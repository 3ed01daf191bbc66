//! The parser's errors in a person's words.

use fapo_domain::problem::Problem;
use saphyr_parser::ScanError;

use crate::problems::{ProblemExt, error};

/// What went wrong, and what to do, by what the parser says and what stands in the line.
pub(super) fn explain(file: &str, text: &str, scan: &ScanError) -> Problem {
    let marker = scan.marker();
    let (mut number, mut column) = (marker.line().max(1), marker.col() as u64 + 1);
    let mut line = text.lines().nth(number - 1).unwrap_or_default();
    // a text that goes on in the next line meets its tab there
    let next = text.lines().nth(number).unwrap_or_default();
    if scan.info().contains("tab")
        && !line.contains('\t')
        && next.trim_start_matches(' ').starts_with('\t')
    {
        (number, column, line) = (number + 1, 1, next);
    }
    let before = number
        .checked_sub(2)
        .and_then(|index| text.lines().nth(index))
        .unwrap_or_default();
    let info = scan.info();
    let (rule, message, help): (&'static str, String, Option<&str>) = if info.contains("tab")
        || line.trim_start_matches(' ').starts_with('\t')
    {
        (
            "yaml-tab",
            "a tab is used for indentation".to_owned(),
            Some("indent with spaces"),
        )
    } else if braces(line) || braces(before) {
        (
            "yaml-braces",
            "a value that starts with `{{` is read as YAML's own braces".to_owned(),
            Some("put the whole value in quotes: \"{{ ... }}\""),
        )
    } else if open_bracket(before) || open_bracket(line) {
        (
            "yaml-syntax",
            "a `[` or `{` that is not closed, or a comma that is missing".to_owned(),
            None,
        )
    } else if info.contains("unknown anchor") {
        (
            "yaml-anchor",
            "an alias (`*name`) without its anchor (`&name`)".to_owned(),
            Some("a text that starts with `*` needs quotes"),
        )
    } else if info.contains("mapping values are not allowed")
        || info.contains("illegal placement of ':'")
    {
        (
            "yaml-syntax",
            "a second `: ` in this line, or wrong indentation".to_owned(),
            Some("put a text that holds `: ` in quotes, and align the keys"),
        )
    } else if open_quote(line) || (info.contains("quoted scalar") && info.contains("end of stream"))
    {
        (
            "yaml-syntax",
            "a quote that is never closed".to_owned(),
            Some("close it, or remove it"),
        )
    } else if info.contains("unknown escape") {
        (
            "yaml-syntax",
            "a backslash in double quotes that means nothing".to_owned(),
            Some("use single quotes, in which a backslash is itself"),
        )
    } else if info.contains("flow") || info.contains("bracket") {
        (
            "yaml-syntax",
            "a `[` or `{` that is not closed, or a comma that is missing".to_owned(),
            None,
        )
    } else if info.contains("ndentation")
        || info.contains("indented")
        || info.contains("did not find expected key")
        || info.contains("did not find expected '-'")
        || info.contains("simple key")
    {
        (
            "yaml-syntax",
            "this line does not fit the ones above".to_owned(),
            Some("check its indentation, and that the line is `key: value` or starts with `- `"),
        )
    } else if info.contains("reserved") || line.trim_start().starts_with(['@', '`', '%']) {
        (
            "yaml-syntax",
            "a text may not start with this character".to_owned(),
            Some("put it in quotes"),
        )
    } else {
        ("yaml-syntax", format!("not readable as YAML: {info}"), None)
    };
    let problem = error(rule, file, message).at(Some(number as u64), Some(column));
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// Whether a value of this line starts with a quote that the line does not close.
fn open_quote(line: &str) -> bool {
    let value = value_of(line);
    value
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '\''))
        .is_some_and(|quote| value.matches(quote).count() % 2 == 1)
}

/// Whether a value of this line opens more brackets than it closes.
fn open_bracket(line: &str) -> bool {
    let value = value_of(line);
    let count = |bracket: char| value.matches(bracket).count();
    value.starts_with(['[', '{']) && (count('[') > count(']') || count('{') > count('}'))
}

/// What comes after the key, or after the dash.
fn value_of(line: &str) -> &str {
    let trimmed = line.trim_start();
    trimmed
        .strip_prefix("- ")
        .map(str::trim_start)
        .or_else(|| {
            trimmed
                .split_once(": ")
                .map(|(_, value)| value.trim_start())
        })
        .unwrap_or_default()
}

/// Whether a value of this line starts with `{{` outside quotes.
fn braces(line: &str) -> bool {
    let value = value_of(line);
    value.starts_with("{{")
        || value
            .split_once(": ")
            .is_some_and(|(_, value)| value.trim_start().starts_with("{{"))
}
