//! The report: Markdown for reading in a terminal or a pull request, and one self-contained HTML page.
//!
//! [`data::ReportData`] is assembled from the ports; everything after that is a pure function of it, so a report can be made
//! again from a finished job and is the same, byte for byte. Case texts and model texts are untrusted: the HTML
//! template escapes every value, and only drawings (whose texts are escaped when they are drawn) are taken as they are.

pub mod assemble;
mod charts;
pub mod data;
mod history;
mod svg;
pub mod tree;
pub mod verdict;
mod view;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};

use self::data::ReportData;
use self::view::View;
pub use self::view::{bare_reason, sessions, status};

#[cfg(test)]
pub mod fixture;
#[cfg(test)]
mod tests;

/// Why a report could not be rendered: a fault of its template.
#[derive(Debug, thiserror::Error)]
#[error("the report's template {name} cannot be rendered")]
pub struct RenderError {
    name: &'static str,
    #[source]
    source: minijinja::Error,
}

/// The report as Markdown.
///
/// # Errors
/// A fault of the template.
pub fn markdown(data: &ReportData) -> Result<String, RenderError> {
    render("report.md", include_str!("templates/report.md"), data)
}

/// The report as one HTML page without any reference to the outside: no script, no font, no image.
///
/// # Errors
/// A fault of the template.
pub fn html(data: &ReportData) -> Result<String, RenderError> {
    render("report.html", include_str!("templates/report.html"), data)
}

fn render(name: &'static str, template: &str, data: &ReportData) -> Result<String, RenderError> {
    let mut environment = Environment::new();
    environment.set_syntax(block_syntax());
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.add_filter("md", markdown_text);
    environment.add_filter("fence", fence);
    // drawings escape their own texts
    let drawn = Value::from_safe_string;
    let context = context! {
        r => Value::from(Serde(View::new(data))),
        version => env!("CARGO_PKG_VERSION"),
        css => drawn(include_str!("templates/report.css").to_owned()),
        chart_scores => drawn(charts::scores(data)),
        chart_spending => drawn(charts::spending(data)),
        chart_intervals => drawn(charts::intervals(data)),
        chart_clusters => drawn(charts::clusters(data.before.as_ref(), data.after.as_ref())),
    };
    // auto-escaping is chosen by the name's ending: on for .html, off for .md
    environment
        .render_named_str(name, template, context)
        .map_err(|source| RenderError { name, source })
}

/// Jinja's usual delimiters; a block tag on a line of its own leaves no empty line behind.
fn block_syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the default delimiters are valid")
}

/// A text in the flow of a Markdown page: on one line, with what Markdown, tables and HTML would read as markup escaped.
fn markdown_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
    {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' | '`' | '*' | '[' | ']' | '\\' | '#' => {
                out.push('\\');
                out.push(character);
            }
            other => out.push(other),
        }
    }
    out
}

/// A block of code, fenced by more backticks than the text holds in a row.
fn fence(text: &str, language: Option<&str>) -> String {
    let mut longest = 0;
    let mut run = 0;
    for character in text.chars() {
        run = if character == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let ticks = "`".repeat(longest.max(2) + 1);
    format!(
        "{ticks}{}\n{}\n{ticks}",
        language.unwrap_or_default(),
        text.trim_end_matches('\n')
    )
}
