//! Whether the coding agents of a project can be run here, as far as that can be told without a call.

use fapo_domain::model::project::ProjectSpec;
use fapo_domain::money::SpendRole;
use fapo_domain::problem::{Problem, Problems, Severity};

use crate::cli::advice::{WITHOUT_AGENT, explain};
use crate::config::Env;
use crate::wiring::agents::wanted;

/// That an agent is to propose or review, and cannot here. A warning: everything but an optimization works without.
pub async fn problems(env: &Env, spec: &ProjectSpec) -> Problems {
    let mut problems = Problems::new();
    for agent in wanted(spec) {
        let why = match agent.missing(env) {
            Some(missing) => missing.to_string(),
            None => match crate::wiring::sandbox::confinement(env).await {
                Ok(_) => continue,
                Err(error) => format!(
                    "`{}` is to {}, and cannot here: {}",
                    agent.backend.as_str(),
                    agent.verb(),
                    explain(&error)
                ),
            },
        };
        let key = match agent.role {
            SpendRole::Reviewer => "reviewer",
            SpendRole::Task | SpendRole::Judge | SpendRole::Diagnosis | SpendRole::Proposer => {
                "proposer"
            }
        };
        problems.push(Problem {
            severity: Severity::Warning,
            rule: "no-agent".into(),
            file: "fapo.yaml".to_owned(),
            line: None,
            column: None,
            path: Some(key.to_owned()),
            message: why,
            help: Some(WITHOUT_AGENT.to_owned()),
        });
    }
    problems
}
