//! Reads `fapo.yaml`: parses it, checks it against its schema, then checks what a schema cannot say.

mod data;
mod models;
mod rest;
mod scope;
mod scorer;

use fapo_domain::model::project::ProjectSpec;
use fapo_domain::problem::{Problem, Problems};

use crate::problems::{ProblemExt, error, warning};
use crate::validate::{Repaired, project_spec};
use crate::yaml::Document;

pub(crate) use scorer::scored_from;
pub use scorer::scorer_functions;

/// Reads the text of `fapo.yaml`; `file` is its name in problems. With errors among the problems the project may still be
/// there, without the parts that are wrong: good for looking on through the other files, so that all problems come at
/// once, and for nothing else. Nothing outside the text is looked at: not the files it names, and not the environment. Whether a budget in
/// dollars can be kept (whether each model has a price) is left to whoever has the price table.
pub fn read_project(file: &str, text: &str) -> (Option<ProjectSpec>, Problems) {
    let mut problems = Problems::new();
    let spec = Document::read(file, text, &mut problems).and_then(|document| {
        let (spec, repaired) = project_spec(&document, &mut problems);
        let spec = spec?;
        let mut check = Check {
            document: &document,
            repaired: &repaired,
            problems: &mut problems,
        };
        models::check(&spec, &mut check);
        data::check(&spec.data, &mut check);
        scorer::check(&spec, &mut check);
        scope::check(&spec, &mut check);
        rest::check(&spec, &mut check);
        Some(spec)
    });
    problems.sort();
    (spec, problems)
}

/// What stands for a project that cannot be read: each thing it must say left empty.
pub(crate) fn unread() -> ProjectSpec {
    let empty = serde_json::json!({"name": "", "models": {}, "data": {"train": ""}, "scorer": {}});
    serde_json::from_value(empty).expect("a fixed value")
}

/// Where checks put what they find.
pub(crate) struct Check<'a> {
    pub document: &'a Document,
    repaired: &'a Repaired,
    problems: &'a mut Problems,
}

impl Check<'_> {
    /// An error at a key path. Nothing is said about what was left out because it was wrong already.
    fn error(
        &mut self,
        rule: &'static str,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.put(error(rule, &self.document.file, message), path, help.into());
    }

    /// A warning at a key path.
    fn warning(
        &mut self,
        rule: &'static str,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.put(
            warning(rule, &self.document.file, message),
            path,
            help.into(),
        );
    }

    fn put(&mut self, problem: Problem, path: &str, help: String) {
        if self.repaired.touches(path) {
            return;
        }
        let problem = if help.is_empty() {
            problem
        } else {
            problem.help(help)
        };
        self.problems.push(self.document.at_value(problem, path));
    }

    /// A number that must lie between two others. `None` is fine.
    fn within(&mut self, path: &str, value: Option<f64>, least: f64, most: f64) {
        if let Some(value) = value
            && !(least..=most).contains(&value)
        {
            let range = if most == f64::MAX {
                format!("at least {least}")
            } else {
                format!("from {least} to {most}")
            };
            self.error(
                "out-of-range",
                path,
                format!("{value} is out of range: {range}"),
                "",
            );
        }
    }
}

/// Whether a text is letters, digits, `-` and `_`.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}
