//! `fapo doctor`: what is missing on this machine, and the command that mends it. Nothing is paid for, no model is called.
//!
//! * [`finding`]: what was found, and how it is told.
//! * [`machine`], [`models`], [`agents`]: what is looked at.
//! * [`held`]: what is tried in the sandbox for the agents.

mod agents;
mod finding;
mod held;
mod machine;
mod models;

use std::path::Path;

use fapo_domain::model::project::{ModelSpec, ProposerBackend, Provider};
use fapo_domain::money::SpendRole;

use self::finding::{Finding, Level, text};
use self::machine::{space, writable};
use self::models::{key, reach};
use super::Context;
use super::args::DoctorArgs;
use crate::exit::Exit;
use crate::output::format;
use crate::project::{LoadError, load_project};
use crate::wiring::agents::{Wanted, wanted};

pub async fn run(context: &Context, args: &DoctorArgs) -> anyhow::Result<Exit> {
    let mut findings = vec![Finding::fine(
        "fapo",
        format!(
            "{} on {} {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
    )];
    let dir = args.dir.as_deref().unwrap_or_else(|| Path::new("."));
    findings.push(writable(dir));
    findings.extend(space(dir));
    if let Err(error) = crate::wiring::sandbox::sandbox(&context.config.env, dir) {
        findings.push(Finding::missing(
            "sandbox",
            super::advice::explain(&error),
            "docs/sandbox.md says what each means",
        ));
    }
    if args.dir.is_some() || dir.join("fapo.yaml").is_file() {
        project(context, dir, &mut findings).await;
    } else {
        findings.push(Finding::note(
            "project",
            "no project here; the keys and endpoints of its models were not looked at".to_owned(),
            "fapo init my-project, or fapo doctor DIR",
        ));
        // none is needed yet: what one would need is worth knowing
        let usual = agents::look(&context.config.env, dir, &[usual()]).await;
        findings.extend(usual.into_iter().map(Finding::at_most_a_note));
    }
    if context.output.json {
        context.output.json(&findings)?;
    } else {
        context
            .output
            .data(&text(&findings, context.output.style))?;
    }
    let missing = findings
        .iter()
        .any(|finding| finding.level == Level::Missing);
    Ok(if missing { Exit::Problems } else { Exit::Ok })
}

/// The agent that a project has where it names none.
fn usual() -> Wanted {
    let backend = ProposerBackend::default();
    let name = backend.usual_model();
    Wanted {
        role: SpendRole::Proposer,
        backend,
        entry: name.to_owned(),
        model: ModelSpec::named(backend.provider(), name),
    }
}

async fn project(context: &Context, dir: &Path, findings: &mut Vec<Finding>) {
    let env = &context.config.env;
    let project = match load_project(dir, &|name| env.get(name).map(str::to_owned)) {
        Ok(project) => project,
        Err(LoadError::Problems(problems)) => {
            findings.push(Finding::missing(
                "project",
                format::counted(problems.len() as u64, "problem"),
                format!("fapo check {}", dir.display()),
            ));
            return;
        }
        Err(error) => {
            findings.push(Finding::missing(
                "project",
                fapo_domain::error::chain(&error),
                format!("fapo init {}", dir.display()),
            ));
            return;
        }
    };
    findings.push(Finding::fine(
        "project",
        format!("{} reads well", project.spec.name),
    ));
    if project.runs_code() {
        findings.push(match crate::wiring::sandbox::try_code(env, dir).await {
            Ok(detail) => Finding::fine("code", detail),
            Err(error) => Finding::missing(
                "code",
                super::advice::explain(&error),
                "docs/python.md says what code needs",
            ),
        });
    }
    let agents = wanted(&project.spec);
    if !agents.is_empty() {
        findings.extend(agents::look(env, dir, &agents).await);
        findings.extend(agents::endpoints(env, &agents).await);
    }
    let prices = match crate::wiring::prices(dir) {
        Ok(prices) => prices,
        Err(error) => {
            findings.push(Finding::missing(
                "prices",
                super::advice::explain(&error),
                "mend prices.toml, or take it away",
            ));
            return;
        }
    };
    for agent in &agents {
        // entries are looked at below
        let is_entry = project.spec.models.contains_key(&agent.entry);
        if !is_entry && agent.is_unpriced(&project.spec, &|model| prices.price(model)) {
            findings.push(Finding::missing(
                agent.backend.as_str(),
                format!(
                    "nobody knows what {} costs, so its dollars cannot be bounded",
                    agent.model.model
                ),
                "in fapo.yaml: an entry of models: for it, with price: { input: ..., output: ... }",
            ));
        }
    }
    for (entry, model) in &project.spec.models {
        let what = format!("model {entry}");
        if model.provider == Provider::Sim {
            findings.push(Finding::fine(
                what,
                "simulated: needs no key and no network".to_owned(),
            ));
            continue;
        }
        findings.push(key(&what, model, &|name| env.get(name).is_some()));
        let proxy = env.get("HTTPS_PROXY").or_else(|| env.get("https_proxy"));
        let address = |name: &str| env.get(name).map(str::to_owned);
        findings.push(reach(&what, model, &address, proxy).await);
        if prices.price(model).is_none() && project.spec.budget.usd.is_some() {
            findings.push(Finding::missing(
                what,
                format!(
                    "nobody knows what {} costs, so `budget.usd` cannot be kept",
                    model.model
                ),
                format!("in fapo.yaml: models.{entry}.price: {{ input: ..., output: ... }}"),
            ));
        }
    }
}
