//! What can be wrong with a template, at compile time and at render time.

use minijinja::ErrorKind;

use crate::problems::lower_first;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TemplateErrorKind {
    /// It is not a template: it cannot be read.
    Syntax,
    /// It uses something that templates here may not use, such as `include`.
    NotAllowed,
    /// A name or attribute that has no value.
    Undefined,
    /// It takes too long, or makes too much text.
    OutOfFuel,
    /// Anything else that goes wrong while rendering.
    Render,
}

/// A template that cannot be compiled or rendered. Deterministic: the same template and context fail alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", self.prefix())]
pub struct TemplateError {
    /// The kind.
    pub kind: TemplateErrorKind,
    /// The template's name: a file, or a key path.
    pub template: String,
    /// The line in it, from 1, where it is known.
    pub line: Option<u64>,
    /// The name that is missing, for [`TemplateErrorKind::Undefined`], where it is known.
    pub variable: Option<String>,
    /// What is wrong: lower-case start, no trailing dot.
    pub message: String,
}

impl TemplateError {
    fn prefix(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}: ", self.template),
            None => format!("{}: ", self.template),
        }
    }

    pub(super) fn new(
        kind: TemplateErrorKind,
        template: &str,
        line: Option<u64>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            template: template.to_owned(),
            line,
            variable: None,
            message: message.into(),
        }
    }

    /// Translates the engine's error. `line_offset` is the number of lines before the template in its file.
    pub(super) fn from_engine(error: &minijinja::Error, template: &str, line_offset: u64) -> Self {
        let line = error.line().map(|line| line as u64 + line_offset);
        let detail = error.detail().unwrap_or_default();
        let (kind, variable, message) = match error.kind() {
            ErrorKind::SyntaxError | ErrorKind::BadEscape => {
                (TemplateErrorKind::Syntax, None, lower_first(detail))
            }
            ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => {
                (TemplateErrorKind::Syntax, None, lower_first(detail))
            }
            _ if undefined_name(detail).is_some() => {
                let name = undefined_name(detail).unwrap_or_default();
                (
                    TemplateErrorKind::Undefined,
                    Some(name.to_owned()),
                    format!("`{name}` has no value here"),
                )
            }
            ErrorKind::UndefinedError => (
                TemplateErrorKind::Undefined,
                None,
                "a name has no value here".to_owned(),
            ),
            ErrorKind::OutOfFuel => (
                TemplateErrorKind::OutOfFuel,
                None,
                "takes too long or makes too much text".to_owned(),
            ),
            kind => (
                TemplateErrorKind::Render,
                None,
                if detail.is_empty() {
                    kind.to_string()
                } else {
                    lower_first(detail)
                },
            ),
        };
        Self {
            kind,
            template: template.to_owned(),
            line,
            variable,
            message,
        }
    }
}

/// The name in the engine's "`a.b` is undefined".
fn undefined_name(detail: &str) -> Option<&str> {
    let before = &detail[..detail.find("` is undefined")?];
    Some(&before[before.rfind('`')? + 1..])
}
