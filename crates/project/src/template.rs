//! Templates: texts, prompts and conditions, compiled once and rendered often.
//!
//! The language is minijinja with these rules:
//!
//! * Strict: a name that does not exist is an error that says which. A value that exists and is null prints as nothing,
//!   and `default` stands in for null as well as for a missing name.
//! * A template ends: each render has a fixed amount of fuel, which bounds its time and its memory.
//! * A template stands alone: `include`, `import`, `extends` and `block` are refused when it is compiled.
//! * Nothing is escaped, and `{% ... %}` on a line of its own leaves no empty line behind (`trim_blocks`,
//!   `lstrip_blocks`).
//! * The filter `passages` writes retrieved documents as a numbered list; see [`context`] for what the names mean.

mod checks;
mod condition;
mod context;
mod engine;
mod error;
mod prompt;
#[cfg(test)]
mod tests;
mod text;

pub use condition::Condition;
pub use context::{CaseInput, render_context};
pub use error::{TemplateError, TemplateErrorKind};
pub use prompt::PromptTemplate;
pub use text::TextTemplate;
