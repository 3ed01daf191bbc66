//! The files of a variant that steps name: prompts, each compiled once however many steps use it.

use std::collections::BTreeMap;

use fapo_domain::model::variant::VariantTree;
use fapo_domain::problem::Problems;

use super::shown;
use crate::problems::{ProblemExt, error, suggestion, warning};
use crate::template::{PromptTemplate, TemplateError};
use crate::yaml::Document;

/// The prompts used so far.
pub(super) struct Prompts<'a> {
    tree: &'a VariantTree,
    compiled: BTreeMap<String, Option<PromptTemplate>>,
}

impl<'a> Prompts<'a> {
    pub fn new(tree: &'a VariantTree) -> Self {
        Self {
            tree,
            compiled: BTreeMap::new(),
        }
    }

    /// The prompt in `file`, named by the key at `path`.
    pub fn get(
        &mut self,
        file: &str,
        path: &str,
        document: &Document,
        problems: &mut Problems,
    ) -> Option<PromptTemplate> {
        if let Some(known) = self.compiled.get(file) {
            return known.clone();
        }
        let Some(bytes) = self.tree.get(file) else {
            let problem = error(
                "missing-file",
                &document.file,
                format!("there is no file `{}`", shown(file)),
            );
            let names = self.tree.iter().map(|(name, _)| name);
            let files: Vec<&str> = names.filter(|name| *name != super::PIPELINE_FILE).collect();
            let help = file
                .strip_prefix("pipeline/")
                .filter(|inner| self.tree.get(inner).is_some())
                .map(|inner| format!("paths start inside `pipeline/`: write `{inner}`"))
                .or_else(|| suggestion(file, files.iter().copied(), "files there are"))
                .unwrap_or_else(|| format!("write the prompt to `{}`", shown(file)));
            problems.push(document.at_value(problem.help(help), path));
            return None;
        };
        let compiled = match std::str::from_utf8(bytes) {
            Ok(text) => match PromptTemplate::compile_all(file, text) {
                Ok(prompt) => Some(prompt),
                Err(errors) => {
                    for found in errors {
                        problems.push(template_problem(&shown(file), &found));
                    }
                    None
                }
            },
            Err(bad) => {
                let line = 1 + bytes[..bad.valid_up_to()]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count() as u64;
                problems.push(
                    error("not-text", &shown(file), "not UTF-8 text")
                        .at(Some(line), None)
                        .help("save the file as UTF-8"),
                );
                None
            }
        };
        self.compiled.insert(file.to_owned(), compiled.clone());
        compiled
    }

    /// Warns of prompt files that no step uses.
    pub fn warn_of_unused(&self, problems: &mut Problems) {
        for (file, _) in self.tree.iter() {
            if file.starts_with("prompts/") && !self.compiled.contains_key(file) {
                problems.push(
                    warning("unused-file", &shown(file), "no step uses this prompt")
                        .help("remove it, or name it in a step's `prompt`"),
                );
            }
        }
    }
}

/// A template's error as a problem of its own file.
pub(super) fn template_problem(file: &str, found: &TemplateError) -> fapo_domain::problem::Problem {
    let problem = error("bad-template", file, found.message.clone()).at(found.line, None);
    match template_help(&found.message) {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// What to do about the commonest mistakes.
pub(super) fn template_help(message: &str) -> Option<&'static str> {
    if message.contains("end of input") || message.contains("endif") || message.contains("endfor") {
        Some(
            "`{% if %}` and `{% for %}` need their `{% endif %}` and `{% endfor %}`, in a prompt within one role section",
        )
    } else if message.starts_with("text before") {
        Some("put a line `system:` or `user:` above it")
    } else if message.contains("expected end of variable block") {
        Some("a value is written `{{ name }}`, with two braces on each side")
    } else {
        None
    }
}
