//! `fapo lineage`: the tree of variants.

use fapo_domain::model::session::SessionId;
use serde::Serialize;

use super::args::JobArgs;
use super::session::open_store;
use super::{Context, find};
use crate::exit::Exit;
use crate::output::format;
use crate::output::style::{Style, printable};
use crate::report::assemble::assemble;
use crate::report::data::{Outcome, ReportData};
use crate::report::sessions;
use crate::report::tree::branches;

pub async fn run(context: &Context, args: &JobArgs) -> anyhow::Result<Exit> {
    let data = if let Some(server) = args.server.named() {
        super::remote::show::data(context, args, &server).await?
    } else {
        let ports = open_store(context, &args.dir).await?;
        let job = find::job(&ports, args.job.as_deref()).await?;
        assemble(&ports, &job).await?
    };
    if context.output.json {
        context.output.json(&rows(&data))?;
    } else {
        context.output.data(&text(&data, context.output.style))?;
    }
    Ok(Exit::Ok)
}

#[derive(Debug, Serialize)]
struct Row {
    variant: String,
    parent: Option<String>,
    iteration: u32,
    level: Option<&'static str>,
    technique: Option<String>,
    hypothesis: String,
    outcome: Outcome,
    reason: String,
    train: Option<f64>,
    val: Option<f64>,
    best: bool,
    /// The session in which an agent wrote it.
    session: Option<SessionId>,
    /// The session in which an agent reviewed it.
    reviewed_in: Option<SessionId>,
}

fn rows(data: &ReportData) -> Vec<Row> {
    data.candidates
        .iter()
        .map(|candidate| Row {
            variant: candidate.variant.to_string(),
            parent: candidate.parent.map(|id| id.to_string()),
            iteration: candidate.iteration,
            level: candidate.level.map(|level| level.as_str()),
            technique: candidate.technique.map(|technique| technique.to_string()),
            hypothesis: candidate.hypothesis.clone(),
            outcome: candidate.outcome,
            reason: candidate.reason.clone(),
            train: candidate.train.as_ref().map(|score| score.mean),
            val: candidate.val.as_ref().map(|score| score.mean),
            best: candidate.variant == data.best,
            session: candidate.session,
            reviewed_in: candidate.reviewed_in,
        })
        .collect()
}

/// The tree for a terminal.
fn text(data: &ReportData, style: Style) -> String {
    let width = branches(data)
        .iter()
        .map(|branch| branch.rails.chars().count() + name(branch.candidate).chars().count())
        .max()
        .unwrap_or(0);
    let mut lines = Vec::new();
    for branch in branches(data) {
        let candidate = branch.candidate;
        let label = name(candidate);
        let pad = width - branch.rails.chars().count() - label.chars().count();
        let score = candidate.val.as_ref().map_or_else(
            || {
                candidate.train.as_ref().map_or_else(
                    || "–".to_owned(),
                    |train| format!("train {}", train.shown()),
                )
            },
            |val| format!("val {}", val.shown()),
        );
        let outcome = candidate.outcome.label();
        let outcome = match candidate.outcome {
            Outcome::Promoted => style.good(outcome),
            Outcome::Branched | Outcome::Undecided => style.warn(outcome),
            Outcome::Refused => style.bad(outcome),
            Outcome::Baseline | Outcome::Running => outcome.to_owned(),
            Outcome::RejectedOnTrain | Outcome::RejectedOnVal => style.dim(outcome),
        };
        let best = candidate.variant == data.best;
        let label = if best { style.bold(&label) } else { label };
        let mark = if best {
            format!("  {}", style.good("← best"))
        } else {
            String::new()
        };
        let level = candidate.level.map_or("", |level| level.as_str());
        lines.push(format!(
            "{}{label}{}  {}  {level:<9}  {score:>18}  {outcome}{mark}",
            style.dim(&branch.rails),
            " ".repeat(pad),
            style.dim(&candidate.variant.short()),
        ));
        let indent = " ".repeat(branch.rails.chars().count() + 2);
        let sessions = sessions(candidate.session, candidate.reviewed_in);
        if !sessions.is_empty() {
            lines.push(style.dim(&format!("{indent}{sessions}")));
        }
        if !candidate.reason.is_empty() && candidate.outcome == Outcome::Refused {
            lines.push(style.dim(&format!(
                "{indent}{}",
                printable(&format::one_line(&candidate.reason, 120))
            )));
        }
    }
    lines.join("\n")
}

fn name(candidate: &crate::report::data::Candidate) -> String {
    candidate.technique.map_or_else(
        || "baseline".to_owned(),
        |technique| {
            format!(
                "{} {}",
                candidate.iteration,
                technique.to_string().replace('_', " ")
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::report;

    #[test]
    fn the_tree_shows_scores_levels_techniques_and_outcomes() {
        insta::assert_snapshot!(text(&report(), Style::new(false)));
    }

    #[test]
    fn a_variant_that_an_agent_wrote_names_its_session() {
        let id = SessionId(fapo_domain::ContentHash::of(b"session"));
        let mut data = report();
        let plain = text(&data, Style::new(false));
        data.candidates[1].session = Some(id);
        let shown = text(&data, Style::new(false));
        let named = format!("written in session {}", id.short());
        assert_eq!(shown.matches(&named).count(), 1, "{shown}");
        assert_eq!(shown.lines().count(), plain.lines().count() + 1);
        assert_eq!(rows(&data)[1].session, Some(id));
    }

    #[test]
    fn json_has_a_row_for_each_variant() {
        let rows = rows(&report());
        assert_eq!(rows.len(), 10);
        assert_eq!(rows.iter().filter(|row| row.best).count(), 1);
        assert_eq!(rows[3].outcome, Outcome::Refused);
    }
}
