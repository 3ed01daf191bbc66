//! What the sessions of coding agents may cost at most. There is no "about": what an agent does is its own affair.

use fapo_diagnosis::agentic::reader;
use fapo_domain::MicroUsd;
use fapo_domain::model::project::{BudgetSpec, ProjectSpec, ReviewerBackend};
use fapo_domain::money::SpendRole;
use serde::Serialize;

use super::ATTRIBUTIONS;
use crate::output::format;
use crate::wiring::agents::{Wanted, wanted};

/// The sessions of one agent in one role.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sessions {
    /// `proposer`, `reviewer` or `diagnosis`.
    pub role: &'static str,
    /// `claude-code` or `codex`.
    pub agent: &'static str,
    /// The model.
    pub model: String,
    /// How many where nothing is sent back and nothing is refused before its review.
    pub sessions: u64,
    /// How many where each proposal is sent back once, or is promoted and its failures are read.
    pub sessions_high: u64,
    /// Most turns of one, its continuation included.
    pub turns: u32,
    /// Most minutes of one.
    pub minutes: f64,
    /// Most dollars of one, where that is set.
    pub usd: Option<f64>,
    /// Most dollars of all, where that is set.
    pub usd_high: Option<f64>,
}

/// The sessions that a project asks for. A session that is begun again after a crash, or because its model could not be
/// reached, is not counted.
pub fn sessions(project: &ProjectSpec) -> Vec<Sessions> {
    let proposals = u64::from(project.budget.proposals);
    // who reviews may send each proposal back once
    let written = match project.reviewer_backend() {
        ReviewerBackend::None | ReviewerBackend::Auto => 1,
        ReviewerBackend::Model | ReviewerBackend::ClaudeCode | ReviewerBackend::Codex => 2,
    };
    wanted(project)
        .into_iter()
        .map(|agent| {
            if agent.role == SpendRole::Diagnosis {
                return readings(project, &agent);
            }
            let (turns, minutes, usd) = if agent.role == SpendRole::Reviewer {
                let reviewer = &project.reviewer;
                (reviewer.turns, reviewer.minutes, reviewer.usd)
            } else {
                let proposer = &project.proposer;
                (proposer.turns, proposer.minutes, proposer.usd)
            };
            let sessions_high = proposals * written;
            Sessions {
                role: agent.role.as_str(),
                agent: agent.backend.as_str(),
                model: agent.model.model,
                sessions: proposals,
                sessions_high,
                // one continuation gets half as many
                turns: turns.saturating_add((turns / 2).max(2)),
                minutes,
                usd,
                usd_high: usd.map(|usd| usd * sessions_high as f64),
            }
        })
        .collect()
}

/// The sessions that read failures: one for each attribution.
fn readings(project: &ProjectSpec, agent: &Wanted) -> Sessions {
    let most = u64::from(project.budget.proposals) + 1;
    Sessions {
        role: agent.role.as_str(),
        agent: agent.backend.as_str(),
        model: agent.model.model.clone(),
        sessions: ATTRIBUTIONS.min(most),
        sessions_high: most,
        turns: reader::most_turns(project.diagnosis.reader.cases),
        minutes: reader::MINUTES,
        usd: None,
        usd_high: None,
    }
}

/// Share of the cases it may try that an agent tries, as a rule of thumb.
const TRIED: f64 = 0.25;

/// Train cases that the proposer's sessions run their changes on, about and high: the job pays these like any other.
pub fn tried(project: &ProjectSpec, sessions: &[Sessions]) -> (f64, u64) {
    let written = sessions
        .iter()
        .find(|one| one.role == SpendRole::Proposer.as_str());
    let tries = u64::from(project.proposer.tries);
    written.map_or((0.0, 0), |one| {
        let about = one.sessions as f64 * tries as f64 * TRIED;
        (about, one.sessions_high.saturating_mul(tries))
    })
}

/// For people.
pub fn lines(sessions: &[Sessions], budget: &BudgetSpec) -> Vec<String> {
    if sessions.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), "agents, beside the figures above".to_owned()];
    for one in sessions {
        let usd = match one.usd {
            Some(usd) => format!("{} each", money(usd)),
            None if one.role == SpendRole::Diagnosis.as_str() => {
                "dollars as budget.usd says".to_owned()
            }
            None => format!("{}.usd is not set", one.role),
        };
        lines.push(format!(
            "  {} as {} ({}): {} to {}, each at most {} turns and {} min; {usd}",
            one.agent,
            one.role,
            one.model,
            format::count(one.sessions),
            format::counted(one.sessions_high, "session"),
            one.turns,
            one.minutes,
        ));
    }
    let worst = sessions.iter().map(|one| one.usd_high).sum::<Option<f64>>();
    lines.push(match (worst, budget.usd) {
        (Some(worst), Some(cap)) if cap < worst => format!(
            "  at worst {}, but budget.usd ends it all at {}",
            money(worst),
            money(cap)
        ),
        (Some(worst), _) => format!("  at worst {}", money(worst)),
        (None, Some(cap)) => format!(
            "  nothing bounds the dollars of one session but budget.usd, {} for everything",
            money(cap)
        ),
        (None, None) => "  nothing bounds their dollars: set budget.usd, and proposer.usd and reviewer.usd for one session"
            .to_owned(),
    });
    lines
}

fn money(usd: f64) -> String {
    MicroUsd::from_usd(usd).to_string()
}

#[cfg(test)]
mod tests {
    use fapo_domain::model::project::ReaderBackend;
    use serde_json::json;

    use super::*;
    use crate::report::fixture::job;

    fn project(proposer: serde_json::Value, reviewer: serde_json::Value) -> ProjectSpec {
        let mut project = job().spec.project;
        project.budget.proposals = 10;
        project.budget.usd = None;
        project.proposer = serde_json::from_value(proposer).unwrap();
        project.reviewer = serde_json::from_value(reviewer).unwrap();
        project
    }

    #[test]
    fn each_proposal_may_be_written_and_reviewed_twice() {
        let spec = project(
            json!({"backend": "claude-code", "usd": 2.0, "turns": 40}),
            json!({"usd": 0.5}),
        );
        let found = sessions(&spec);
        let roles: Vec<_> = found.iter().map(|one| (one.role, one.agent)).collect();
        assert_eq!(
            roles,
            [("proposer", "claude-code"), ("reviewer", "claude-code")]
        );
        assert_eq!(found[0].sessions_high, 20);
        assert_eq!((found[0].turns, found[1].turns), (60, 30));
        assert_eq!(found[0].usd_high, Some(40.0));
        let said = lines(&found, &spec.budget).join("\n");
        assert!(said.contains("at worst $50"), "{said}");
    }

    #[test]
    fn a_proposal_that_nobody_reviews_is_written_once() {
        let spec = project(json!({"backend": "codex"}), json!({"backend": "none"}));
        let found = sessions(&spec);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].agent, found[0].sessions_high), ("codex", 10));
    }

    #[test]
    fn what_bounds_the_dollars_is_told_and_that_nothing_does() {
        let mut spec = project(json!({"backend": "claude-code", "usd": 2.0}), json!({}));
        let said = |spec: &ProjectSpec| lines(&sessions(spec), &spec.budget).join("\n");
        // of the reviewer's sessions no bound is known
        let open = said(&spec);
        assert!(open.contains("reviewer.usd is not set"), "{open}");
        assert!(open.contains("nothing bounds their dollars"), "{open}");
        spec.budget.usd = Some(5.0);
        let bounded = said(&spec);
        assert!(bounded.contains("but budget.usd, $5"), "{bounded}");
        spec.reviewer.usd = Some(1.0);
        let both = said(&spec);
        assert!(
            both.contains("at worst $60") && both.contains("ends it all at $5"),
            "{both}"
        );
    }

    #[test]
    fn failures_are_read_once_for_each_attribution() {
        let mut spec = project(json!({"backend": "catalogue"}), json!({}));
        spec.diagnosis.reader.backend = ReaderBackend::Codex;
        spec.diagnosis.reader.cases = 12;
        let found = sessions(&spec);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].role, found[0].agent), ("diagnosis", "codex"));
        assert_eq!((found[0].sessions, found[0].sessions_high), (3, 11));
        // three prompts of at most five
        assert_eq!(found[0].turns, 18);
        assert_eq!(tried(&spec, &found), (0.0, 0));
        let said = lines(&found, &spec.budget).join("\n");
        assert!(said.contains("dollars as budget.usd says"), "{said}");
    }

    #[test]
    fn without_agents_nothing_is_said() {
        let spec = project(json!({"backend": "catalogue"}), json!({}));
        assert_eq!(lines(&sessions(&spec), &spec.budget), Vec::<String>::new());
    }
}
