//! Prompt files: markdown with role lines, each section a template.

use std::collections::BTreeSet;
use std::sync::Arc;

use fapo_domain::ports::models::{ChatRole, Message};
use serde::Serialize;

use super::engine::to_value;
use super::error::{TemplateError, TemplateErrorKind};
use super::text::TextTemplate;

/// A compiled prompt: sections by role, in order. Cloning shares the templates.
///
/// A line that starts with `system:`, `user:` or `assistant:` (any case, from the first column) opens a section; text
/// after the colon belongs to it. Without such a line everything is one `user` section. To write such a line *in* a
/// prompt, put a space before it. Each section is a template of its own: a block that is opened in one must be closed in
/// it, and a `set` of one section is not seen by another.
#[derive(Debug, Clone)]
pub struct PromptTemplate {
    source: Arc<str>,
    sections: Vec<(ChatRole, TextTemplate)>,
}

impl PromptTemplate {
    /// Compiles the text of a prompt file; `name` is the file, for errors.
    ///
    /// # Errors
    /// The first thing that is wrong; [`Self::compile_all`] gives them all.
    pub fn compile(name: &str, source: &str) -> Result<Self, TemplateError> {
        Self::compile_all(name, source).map_err(|mut errors| errors.swap_remove(0))
    }

    /// As [`Self::compile`], with every section's error. The list of errors is never empty.
    pub fn compile_all(name: &str, source: &str) -> Result<Self, Vec<TemplateError>> {
        let mut errors = Vec::new();
        let mut sections = Vec::new();
        for part in split(source) {
            let (role, text) = match part.role {
                Some(role) => (role, part.text),
                None if part.alone => (ChatRole::User, part.text),
                None if part.text.trim().is_empty() => continue,
                None => {
                    let line = 1 + leading_lines(&part.text);
                    errors.push(TemplateError::new(
                        TemplateErrorKind::NotAllowed,
                        name,
                        Some(line),
                        "text before the first role line: it would be sent to nobody",
                    ));
                    continue;
                }
            };
            // white space around a section is not part of it; the lines cut off in front still count
            let offset = part.first_line + leading_lines(&text);
            match TextTemplate::compile_at(name, text.trim(), offset) {
                Ok(template) => sections.push((role, template)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() && sections.iter().all(|(_, text)| text.source().is_empty()) {
            errors.push(TemplateError::new(
                TemplateErrorKind::NotAllowed,
                name,
                None,
                "the prompt is empty",
            ));
        }
        if errors.is_empty() {
            Ok(Self {
                source: Arc::from(source),
                sections,
            })
        } else {
            Err(errors)
        }
    }

    /// The names its sections read, as [`TextTemplate::variables`] gives them.
    pub fn variables(&self) -> BTreeSet<Vec<String>> {
        self.sections
            .iter()
            .flat_map(|(_, template)| template.variables())
            .collect()
    }

    /// The sections: who speaks, and the template of what is said.
    pub fn sections(&self) -> &[(ChatRole, TextTemplate)] {
        &self.sections
    }

    /// The file's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders every section. White space around each message is removed; a section that renders to nothing gives no
    /// message.
    ///
    /// # Errors
    /// As [`TextTemplate::render`], and [`TemplateErrorKind::Render`] where no section says anything.
    pub fn render<S: Serialize>(&self, ctx: &S) -> Result<Vec<Message>, TemplateError> {
        let ctx = to_value(ctx);
        let mut messages = Vec::with_capacity(self.sections.len());
        for (role, template) in &self.sections {
            let text = template.render_value(ctx.clone())?;
            let trimmed = text.trim();
            if trimmed.is_empty() {
                continue;
            }
            let content = if trimmed.len() == text.len() {
                text
            } else {
                trimmed.to_owned()
            };
            messages.push(Message {
                role: *role,
                content,
            });
        }
        if messages.is_empty() {
            return Err(TemplateError::new(
                TemplateErrorKind::Render,
                self.sections.first().map_or("prompt", |(_, t)| t.name()),
                None,
                "the prompt renders to nothing",
            ));
        }
        Ok(messages)
    }
}

/// A run of lines with one role.
struct Part {
    role: Option<ChatRole>,
    /// Lines of the file before its text.
    first_line: u64,
    text: String,
    /// Whether it is the whole file.
    alone: bool,
}

fn split(source: &str) -> Vec<Part> {
    let mut parts = vec![Part {
        role: None,
        first_line: 0,
        text: String::new(),
        alone: true,
    }];
    for (number, line) in source.split_inclusive('\n').enumerate() {
        if let Some((role, rest)) = role_line(line) {
            parts[0].alone = false;
            parts.push(Part {
                role: Some(role),
                first_line: number as u64,
                text: rest.to_owned(),
                alone: false,
            });
        } else if let Some(part) = parts.last_mut() {
            part.text.push_str(line);
        }
    }
    parts
}

fn role_line(line: &str) -> Option<(ChatRole, &str)> {
    let (word, rest) = line.split_once(':')?;
    let role = [ChatRole::System, ChatRole::User, ChatRole::Assistant]
        .into_iter()
        .find(|role| word.eq_ignore_ascii_case(role.as_str()))?;
    Some((role, rest))
}

fn leading_lines(text: &str) -> u64 {
    let cut = text.len() - text.trim_start().len();
    text[..cut].matches('\n').count() as u64
}
