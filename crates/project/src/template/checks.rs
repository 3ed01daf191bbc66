//! What the engine would find out only while rendering, or not at all, and a person should hear at once.

use std::sync::LazyLock;

use minijinja::ErrorKind;
use regex::{Captures, Regex};

use super::engine::ENGINE;
use super::error::{TemplateError, TemplateErrorKind};

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a fixed pattern")
}

/// Checks a template that the engine has already read.
pub(super) fn check_template(
    name: &str,
    source: &str,
    line_offset: u64,
) -> Result<(), TemplateError> {
    static QUIET: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"(?s)\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}|\{#.*?#\}")
    });
    static FOREIGN: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^\{%[-+]?\s*(include|import|from|extends|block)\b"));
    // what is set hides what is given, and with it which steps are needed
    static HIDING: LazyLock<Regex> = LazyLock::new(|| {
        let given = r"(steps|input|case_id)\b";
        pattern(&format!(
            r"^\{{%[-+]?\s*(?:(?:set|for)\s+(?:\w+\s*,\s*)*{given}|with\s(?:.*,)?\s*{given}\s*=|macro\s+{given}|macro\s+\w+\s*\((?:.*,)?\s*{given})"
        ))
    });
    static TAG: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r#"(?s)\{[{%](?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^"'])*?[}%]\}"#)
    });
    if !source.contains("{{") && !source.contains("{%") {
        return Ok(());
    }
    let live = QUIET.replace_all(source, blank);
    for tag in TAG.find_iter(&live) {
        let line = || Some(1 + line_offset + live[..tag.start()].matches('\n').count() as u64);
        if let Some(foreign) = FOREIGN.captures(tag.as_str()) {
            return Err(TemplateError::new(
                TemplateErrorKind::NotAllowed,
                name,
                line(),
                format!(
                    "`{{% {} %}}` is not available: a template stands alone",
                    &foreign[1]
                ),
            ));
        }
        if let Some(hiding) = HIDING.captures(tag.as_str()) {
            return Err(TemplateError::new(
                TemplateErrorKind::NotAllowed,
                name,
                line(),
                format!(
                    "`{}` is given and cannot be set: choose another name",
                    hiding
                        .iter()
                        .skip(1)
                        .flatten()
                        .next()
                        .map_or("", |name| name.as_str())
                ),
            ));
        }
        if let Some(message) = unknown_operation(tag.as_str()) {
            return Err(TemplateError::new(
                TemplateErrorKind::Syntax,
                name,
                line(),
                message,
            ));
        }
    }
    Ok(())
}

/// Finds a filter or test that does not exist. Texts in quotes are passed over.
pub(super) fn unknown_operation(expression: &str) -> Option<String> {
    static TEXT: LazyLock<Regex> =
        LazyLock::new(|| pattern(r#"(?s)"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"#));
    static FILTER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\|\s*([A-Za-z_]\w*)"));
    static TEST: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bis\s+(?:not\s+)?([A-Za-z_]\w*)"));
    let bare = TEXT.replace_all(expression, blank);
    let unknown = |found: Captures<'_>, probe: &str, kind: ErrorKind| {
        let name = found.get(1)?.as_str();
        let error = ENGINE
            .compile_expression_owned(format!("1 {probe} {name}"))
            .and_then(|expression| expression.eval(()))
            .err()?;
        (error.kind() == kind).then(|| name.to_owned())
    };
    FILTER
        .captures_iter(&bare)
        .find_map(|found| unknown(found, "|", ErrorKind::UnknownFilter))
        .map(|name| format!("filter `{name}` does not exist"))
        .or_else(|| {
            TEST.captures_iter(&bare)
                .find_map(|found| unknown(found, "is", ErrorKind::UnknownTest))
                .map(|name| format!("test `{name}` does not exist"))
        })
}

/// The same length and lines, without the words.
fn blank(found: &Captures<'_>) -> String {
    found[0]
        .chars()
        .map(|c| if c == '\n' { '\n' } else { ' ' })
        .collect()
}
