//! Whether the coding agents of a project can be run here, as far as that can be told without a call.

use std::path::Path;

use fapo_domain::model::project::ProjectSpec;
use fapo_domain::problem::{Problem, Problems, Severity};

use crate::cli::advice::{WITHOUT_AGENT, explain};
use crate::config::Env;
use crate::wiring::agents::wanted;

/// That an agent is to propose or review, and cannot here: one problem for each program, since who lacks it for the one lacks
/// it for the other. A warning: everything but an optimization works without.
pub async fn problems(env: &Env, dir: &Path, spec: &ProjectSpec) -> Problems {
    let mut problems = Problems::new();
    let mut seen = Vec::new();
    for agent in wanted(spec) {
        if seen.contains(&agent.backend) {
            continue;
        }
        seen.push(agent.backend);
        let message = match agent.missing(env) {
            Some(missing) => missing.to_string(),
            None => match crate::wiring::sandbox::confinement(env, dir).await {
                Ok(_) => continue,
                Err(error) => format!("{}, and cannot here: {}", agent.words(), explain(&error)),
            },
        };
        problems.push(Problem {
            severity: Severity::Warning,
            rule: "no-agent".into(),
            file: "fapo.yaml".to_owned(),
            line: None,
            column: None,
            path: Some(agent.role.as_str().to_owned()),
            message,
            help: Some(WITHOUT_AGENT.to_owned()),
        });
    }
    problems
}
