//! Whether the data has the cases that `objective.protect` names.

use std::collections::BTreeSet;

use fapo_domain::CaseId;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::problem::{Problem, Problems, Severity};

/// Protected ids of which no case was seen yet: a misspelt one would protect nothing, and nobody would know.
#[derive(Debug)]
pub(super) struct Unmet(BTreeSet<CaseId>);

impl Unmet {
    /// All of `ids`; none where `spec` reads only the first cases, which need not hold them.
    pub(super) fn new(spec: &ProjectSpec, ids: &[CaseId]) -> Self {
        match spec.data.max_cases {
            None => Self(ids.iter().cloned().collect()),
            Some(_) => Self(BTreeSet::new()),
        }
    }

    /// A case of any split.
    pub(super) fn meet(&mut self, id: &CaseId) {
        self.0.remove(id);
    }

    /// Tells those that are left, once all splits were read without a problem.
    pub(super) fn tell(self, problems: &mut Problems) {
        if problems.has_errors() {
            return;
        }
        for id in self.0 {
            problems.push(problem(
                "unknown-case",
                format!("`objective.protect` names the case `{id}`, which no split has"),
                "correct the id, or take it out",
            ));
        }
    }
}

fn problem(rule: &'static str, message: String, help: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        rule: rule.into(),
        file: "fapo.yaml".to_owned(),
        line: None,
        column: None,
        path: Some("objective.protect".to_owned()),
        message,
        help: Some(help.to_owned()),
    }
}
