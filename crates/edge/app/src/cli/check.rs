//! `fapo check`: all problems of a project, then what running it would cost.

mod agents;

use fapo_domain::model::case::Split;
use fapo_domain::model::level::Level;
use fapo_domain::model::project::{
    AcceptanceRule, AcceptanceSpec, ProjectSpec, ProposerBackend, ReaderBackend, ReviewerBackend,
};
use fapo_domain::ports::datasets::split_target;
use fapo_domain::problem::{Problem, Problems, Severity};
use serde::Serialize;

use super::Context;
use super::args::DirArgs;
use super::estimate::{Cost, Estimate, Sizes, estimate, sessions};
use super::session::{list_problems, load, problem_line};
use crate::exit::Exit;
use crate::output::format;
use crate::output::table::Columns;
use crate::project::{DataScan, LoadedProject, scan_data};
use crate::report::assemble::rule;

pub async fn run(context: &Context, args: &DirArgs) -> anyhow::Result<Exit> {
    let project = match load(context, &args.dir)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    if project.runs_code()
        && let Err(error) = crate::wiring::sandbox::try_code(&context.config.env, &args.dir).await
    {
        let mut problems = Problems::new();
        problems.push(no_code(&project, &error));
        list_problems(&context.output, &problems);
        return Ok(Exit::Problems);
    }
    show(context, &project, false).await
}

/// That code is to be run, and cannot be here.
fn no_code(project: &LoadedProject, error: &anyhow::Error) -> Problem {
    let file = match project.scorer_code.keys().next() {
        Some(file) if !project.pipeline.runs_code() => file.clone(),
        _ => "pipeline/pipeline.yaml".to_owned(),
    };
    Problem {
        severity: Severity::Error,
        rule: "no-workers".into(),
        file,
        line: None,
        column: None,
        path: None,
        message: format!(
            "code is to be run, and cannot be here: {}",
            super::advice::explain(error)
        ),
        help: Some("docs/python.md says what code needs".to_owned()),
    }
}

/// Checks the data and shows the estimate; with `plan` also what an optimization would do.
pub async fn show(context: &Context, project: &LoadedProject, plan: bool) -> anyhow::Result<Exit> {
    let spec = &project.spec;
    let scan = scan_data(project);
    if scan.problems.has_errors() {
        list_problems(&context.output, &scan.problems);
        return Ok(Exit::Problems);
    }
    let agents = agents::problems(&context.config.env, &project.dir, spec).await;
    for warning in scan.problems.iter().chain(agents.iter()) {
        context.output.note(&problem_line(&context.output, warning));
    }
    let sizes = sizes(project, &scan);
    let prices = crate::wiring::prices(&project.dir)?;
    let figures = estimate(&project.pipeline, spec, sizes, &|model| prices.price(model));
    let plan = plan.then(|| Plan::new(spec, sizes));
    if context.output.json {
        context.output.json(&serde_json::json!({
            "name": spec.name,
            "warnings": project.warnings.iter().chain(scan.problems.iter()).chain(agents.iter()).collect::<Vec<_>>(),
            "cases": {"train": sizes.train, "val": sizes.val, "test": sizes.test},
            "val_is_cut_from_train": spec.data.val.is_none(),
            "least_val_cases": least_val(&spec.acceptance),
            "calls_per_case": project.pipeline.calls_per_case(),
            "estimate": figures,
            "budget": spec.budget,
            "plan": plan,
        }))?;
    } else {
        context.output.data(&text(project, sizes, &figures))?;
        if let Some(plan) = &plan {
            let about = about(project);
            context
                .output
                .data(&format!("\n{}", plan.text(about, sizes)))?;
        }
    }
    if !figures.unpriced.is_empty() {
        context.output.note(&format!(
            "{}: no price is known for the model entry {}; add `price: {{ input: ..., output: ... }}` (dollars per million tokens)",
            context.output.notes.warn("warning"),
            figures.unpriced.join(", ")
        ));
    }
    let least = least_val(&spec.acceptance);
    if sizes.val < least {
        context.output.note(&format!(
            "{}: val has {} and with fewer than {least} no gain can be shown at alpha {}, so an optimization would promote \
             nothing; add cases, or set acceptance.rule: mean, which claims nothing",
            context.output.notes.warn("warning"),
            format::counted(sizes.val, "case"),
            spec.acceptance.alpha,
        ));
    }
    Ok(Exit::Ok)
}

/// The fewest cases of val with which a gain can be shown at all: with all of `m` won, the p-value is at least `2^-m`.
fn least_val(acceptance: &AcceptanceSpec) -> u64 {
    match acceptance.rule {
        AcceptanceRule::PairedBootstrap => (-acceptance.alpha.log2()).ceil() as u64,
        AcceptanceRule::Mean => 0,
    }
}

/// How much data there is. Where there is no val file, a share of train will become val: about so much, since
/// near-duplicates are kept together, and only an import finds them.
fn sizes(project: &LoadedProject, scan: &DataScan) -> Sizes {
    let data = &project.spec.data;
    let count = |split| scan.cases.get(&split).copied().unwrap_or(0);
    let mut train = count(Split::Train);
    let val = if data.val.is_some() {
        count(Split::Val)
    } else {
        let moved = split_target(train, data.val_fraction);
        train -= moved;
        moved
    };
    Sizes {
        train,
        val,
        test: count(Split::Test),
        input_bytes: scan.mean_input_bytes(),
        document_bytes: scan.mean_document_bytes(),
    }
}

fn text(project: &LoadedProject, sizes: Sizes, figures: &Estimate) -> String {
    let steps = project
        .pipeline
        .steps()
        .iter()
        .map(|step| format!("{} ({})", step.id(), step.spec.kind()))
        .collect::<Vec<_>>();
    let about = about(project);
    let mut lines = vec![
        format!("{}: no problems", project.spec.name),
        format!("pipeline  {}", steps.join(" → ")),
        format!(
            "data      train {about}{}, val {about}{}, test {}",
            format::count(sizes.train),
            format::count(sizes.val),
            format::count(sizes.test)
        ),
        String::new(),
    ];
    let mut table = Columns::new(&["estimate", ">calls", ">high", ">about", ">high"]);
    let mut row = |name: String, cost: &Cost| {
        table.row([
            name,
            format::count(cost.calls.round() as u64),
            format::count(cost.calls_high),
            money(cost.usd),
            money(cost.usd_high),
        ]);
    };
    row("one case".to_owned(), &figures.case);
    row("eval on val".to_owned(), &figures.val);
    row(
        format!(
            "optimize, {}",
            format::counted(u64::from(project.spec.budget.proposals), "proposal")
        ),
        &figures.optimize,
    );
    lines.push(table.finish());
    if let Some(caps) = caps(project) {
        lines.push(format!("the budget ends an optimization at {caps}"));
    }
    lines.extend(sessions::lines(&figures.sessions, &project.spec.budget));
    lines.join("\n")
}

/// What to say before the sizes of train and val.
fn about(project: &LoadedProject) -> &'static str {
    if project.spec.data.val.is_none() {
        "about "
    } else {
        ""
    }
}

fn money(usd: f64) -> String {
    fapo_domain::MicroUsd::from_usd(usd).to_string()
}

fn caps(project: &LoadedProject) -> Option<String> {
    let budget = &project.spec.budget;
    let caps: Vec<String> = [
        budget.usd.map(money),
        budget
            .model_calls
            .map(|calls| format::counted(calls, "model call")),
        budget.hours.map(|hours| format!("{hours} h")),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!caps.is_empty()).then(|| caps.join(", "))
}

/// What an optimization would do.
#[derive(Debug, Serialize)]
struct Plan {
    /// In the order in which they may be opened.
    levels: Vec<Level>,
    proposer: ProposerBackend,
    reviewer: ReviewerBackend,
    reader: ReaderBackend,
    /// The rule of acceptance, in words.
    accepts_by: String,
    /// None where there are no test cases.
    sealed_test: Option<SealedTest>,
}

/// How the sealed test would be run.
#[derive(Debug, Serialize)]
struct SealedTest {
    cases: u64,
    /// Runs of each case, by the baseline and by the best each.
    repeats: u32,
}

impl Plan {
    fn new(spec: &ProjectSpec, sizes: Sizes) -> Self {
        Self {
            levels: Level::ALL
                .into_iter()
                .filter(|level| spec.scope.allow.contains(level))
                .collect(),
            proposer: spec.proposer.backend,
            reviewer: spec.reviewer_backend(),
            reader: spec.diagnosis.reader.backend,
            accepts_by: rule(&spec.acceptance),
            sealed_test: (sizes.test > 0).then_some(SealedTest {
                cases: sizes.test,
                repeats: spec.acceptance.test_repeats,
            }),
        }
    }

    /// For people; `about` is said before the sizes of train and val.
    fn text(&self, about: &str, sizes: Sizes) -> String {
        let levels: Vec<&str> = self.levels.iter().map(|level| level.as_str()).collect();
        let backend = serde_json::to_value(self.proposer)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default();
        let test = self.sealed_test.as_ref().map_or_else(
            || {
                "there is no test split: the result will rest on validation, which flatters the winner"
                    .to_owned()
            },
            |test| {
                format!(
                    "at the end the sealed test is opened once: baseline and best over {}, {} each",
                    format::counted(test.cases, "case"),
                    format::counted(u64::from(test.repeats), "run")
                )
            },
        );
        let reads = match self.reader {
            ReaderBackend::None => String::new(),
            ReaderBackend::Model => "; a model reads what the rules leave unclear".to_owned(),
            agent @ (ReaderBackend::ClaudeCode | ReaderBackend::Codex) => {
                format!("; `{}` reads what the rules leave unclear", agent.as_str())
            }
        };
        let reviews = match self.reviewer {
            ReviewerBackend::None | ReviewerBackend::Auto => String::new(),
            reviewer => format!(
                "; `{}` reviews each that the lints let pass",
                reviewer.as_str()
            ),
        };
        [
            "an optimization would".to_owned(),
            format!(
                "  1. score the baseline on train ({about}{}) and val ({about}{})",
                format::counted(sizes.train, "case"),
                format::counted(sizes.val, "case")
            ),
            format!("  2. find which step loses the points, from the train cases alone{reads}"),
            format!(
                "  3. ask `{backend}` for one change after the other, at the levels {}{reviews}",
                levels.join(", then ")
            ),
            format!("  4. keep a change by {}", self.accepts_by),
            format!("  5. {test}"),
        ]
        .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wins_are_needed_at_least() {
        let at = |alpha| AcceptanceSpec {
            alpha,
            ..AcceptanceSpec::default()
        };
        for (alpha, least) in [(0.5, 1), (0.05, 5), (0.03125, 5), (0.01, 7)] {
            assert_eq!(least_val(&at(alpha)), least, "{alpha}");
        }
        let mean = AcceptanceSpec {
            rule: AcceptanceRule::Mean,
            ..at(0.05)
        };
        assert_eq!(least_val(&mean), 0);
    }
}
