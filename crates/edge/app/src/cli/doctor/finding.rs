//! What was found, and how it is told.

use serde::Serialize;

use crate::output::style::{Style, printable};

/// Something that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it stands.
    pub level: Level,
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub detail: String,
    /// What mends it: a command, where there is one.
    pub mend: Option<String>,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Without it something will fail.
    Missing,
}

impl Finding {
    /// As it should be.
    pub fn fine(what: impl Into<String>, detail: String) -> Self {
        Self {
            level: Level::Ok,
            what: what.into(),
            detail,
            mend: None,
        }
    }

    /// Worth knowing.
    pub fn note(what: impl Into<String>, detail: String, mend: impl Into<String>) -> Self {
        Self {
            level: Level::Note,
            what: what.into(),
            detail,
            mend: Some(mend.into()),
        }
    }

    /// The same, but without failing for it.
    pub fn at_most_a_note(self) -> Self {
        Self {
            level: match self.level {
                Level::Missing => Level::Note,
                level => level,
            },
            ..self
        }
    }

    /// Missing, with what mends it.
    pub fn missing(what: impl Into<String>, detail: String, mend: impl Into<String>) -> Self {
        Self {
            level: Level::Missing,
            ..Self::note(what, detail, mend)
        }
    }
}

/// For people.
pub fn text(findings: &[Finding], style: Style) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let mark = match finding.level {
            Level::Ok => style.good("ok     "),
            Level::Note => style.warn("note   "),
            Level::Missing => style.bad("missing"),
        };
        lines.push(format!(
            "{mark}  {}: {}",
            style.bold(&printable(&finding.what)),
            printable(&finding.detail)
        ));
        if let Some(mend) = &finding.mend {
            lines.push(format!("         {}", style.accent(&printable(mend))));
        }
    }
    lines.join("\n")
}
