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
//! * The filter `passages` writes retrieved documents as a numbered list: `steps.x.docs | passages(limit=3, max_chars=500)`.
//!
//! What the names mean:
//!
//! | name | value |
//! |---|---|
//! | `input.<key>`, `<key>` | the case's input; the bare form gives way to every other name |
//! | `case_id` | the case's name |
//! | `steps.<id>` | a step that was needed: prints as its text, true unless it was skipped |
//! | `steps.<id>.text` | its text |
//! | `steps.<id>.json` | its JSON, null where it has none |
//! | `steps.<id>.docs` | its documents, a list of `doc_id`, `title`, `text`, `score`; prints as `passages` does |
//! | `candidate`, `samples` | inside `best_by` and `merge` |
//!
//! A skipped step is there but empty, so that a template need not ask: `text` is null, `json` is null at any depth
//! (`steps.x.json.a.b`), `docs` is an empty list, all of them print as nothing and `default` stands in for them.
//!
//! Any other list or object prints as JSON.
//!
//! Values are handed out as they are asked for. What a template does not mention is not copied, however large it is.

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
