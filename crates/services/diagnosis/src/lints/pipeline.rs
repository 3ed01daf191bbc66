//! Lints on the pipeline: what `read_pipeline` says about it, by its rules' names.

use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::problem::{Problem, Problems, Severity};

use super::finding;

/// The lint that a rule of `read_pipeline` belongs to.
fn lint_of(problem: &Problem) -> Lint {
    match &*problem.rule {
        "unknown-variable" | "plain-placeholder" => Lint::VariableUnknown,
        "cap-model-calls" | "cap-documents" => Lint::CaseCap,
        "not-text" => Lint::NotText,
        _ => Lint::InvalidPipeline,
    }
}

/// The pipeline's errors as findings.
pub fn problems(problems: &Problems) -> Vec<LintFinding> {
    problems
        .iter()
        .filter(|problem| {
            // a placeholder of another template language is a warning to a person, who may mean it; a proposal never does
            problem.severity == Severity::Error || problem.rule == "plain-placeholder"
        })
        .map(|problem| {
            let mut place = problem.file.clone();
            if let Some(line) = problem.line {
                place.push_str(&format!(":{line}"));
            }
            if let Some(path) = &problem.path {
                place.push_str(&format!(" {path}"));
            }
            finding(lint_of(problem), place, problem.message.clone())
        })
        .collect()
}
