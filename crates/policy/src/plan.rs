//! Between two iterations: whether to go on, at which level, on which clusters.

use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{DecisionKind, StopReason};
use fapo_domain::model::finding::{Attribution, Cluster};
use fapo_domain::model::level::Level;
use serde_json::json;

use crate::budget::{self, PerCase};
use crate::engine::Engine;
use crate::levels::{LevelStatus, Rules};

impl Engine<'_> {
    /// Decides what comes next: an end, or another iteration, at which level.
    pub fn plan(&mut self, attribution: Attribution) {
        if let Some((reason, evidence)) = self.target_met() {
            self.state().attribution = Some(attribution);
            return self.stop(StopReason::TargetMet, reason, evidence);
        }
        if attribution.failures == 0 {
            let reason = format!("all {} train cases have a full score", attribution.cases);
            let evidence = json!({ "cases": attribution.cases, "missing": attribution.missing });
            self.state().attribution = Some(attribution);
            return self.stop(StopReason::NothingToFix, reason, evidence);
        }
        let rules = Rules {
            scope: &self.spec.project.scope,
            escalation: &self.spec.project.escalation,
        };
        let val_mean = self.out.state.incumbent.val_mean().unwrap_or(0.0);
        let steps = self.out.state.levels.settle(rules, &attribution, val_mean);
        for step in steps {
            let level = step.level;
            let what = match step.to {
                LevelStatus::Open => DecisionKind::LevelOpened { level },
                LevelStatus::Left { why } => DecisionKind::LevelLeft { level, why },
                LevelStatus::Skipped => DecisionKind::LevelSkipped { level },
            };
            self.decide(what, step.reason, step.evidence);
        }
        let next = match self.out.state.levels.open {
            None => Err((
                StopReason::LevelsExhausted,
                "no allowed level is left that could gain enough".to_owned(),
                json!({ "levels": self.out.state.levels.status }),
            )),
            Some(level) => self
                .room(&attribution)
                .map(|slots| (level, slots))
                .map_err(|(reason, evidence)| (StopReason::BudgetSpent, reason, evidence)),
        };
        match next {
            Ok((level, slots)) => self.ask(&attribution, level, slots),
            Err((why, reason, evidence)) => self.stop(why, reason, evidence),
        }
        self.state().attribution = Some(attribution);
    }

    /// Whether every metric of the target is reached on val.
    fn target_met(&self) -> Option<(String, serde_json::Value)> {
        let project = &self.spec.project;
        let val = &self.out.state.incumbent.val.as_ref()?.summary;
        if project.target.is_empty() {
            return None;
        }
        let mut reached = serde_json::Map::new();
        let mut words = Vec::new();
        for (name, target) in &project.target {
            let value = val
                .metric(name)
                .or_else(|| (*name == project.maximized()).then(|| val.mean()).flatten())?;
            if value < *target {
                return None;
            }
            reached.insert(name.clone(), json!({ "value": value, "target": target }));
            words.push(format!("{name} {value:.3} >= {target}"));
        }
        Some((
            format!("the target is met on val: {}", words.join(", ")),
            reached.into(),
        ))
    }

    /// How many proposals may be asked for now, or why none.
    fn room(&self, attribution: &Attribution) -> Result<u32, (String, serde_json::Value)> {
        let project = &self.spec.project;
        let state = &self.out.state;
        if state.budget_exhausted {
            return Err((
                "the budget ran out during an evaluation".to_owned(),
                json!({}),
            ));
        }
        let proposals = project
            .budget
            .proposals
            .saturating_sub(state.proposals_asked);
        if proposals == 0 {
            return Err((
                format!("all {} proposals are used up", project.budget.proposals),
                json!({ "proposals": project.budget.proposals }),
            ));
        }
        if let Some(spent) = self.hours_spent() {
            return Err(spent);
        }
        let clusters = u32::try_from(attribution.clusters.len()).unwrap_or(u32::MAX);
        let wanted = project
            .proposer
            .parallel
            .min(proposals)
            .min(clusters)
            .max(1);
        let per_case = self.per_case();
        let (train, val) = (self.cases(Split::Train), self.cases(Split::Val));
        let candidate = budget::plus(
            per_case.times((train + val) as f64),
            budget::per_proposal(self.balance, state.proposals_asked),
        );
        let test = per_case.times(
            self.cases(Split::Test) as f64
                * 2.0
                * f64::from(project.acceptance.test_repeats)
                * budget::MARGIN,
        );
        let left = budget::left(self.balance);
        match left.fits(test, candidate) {
            None => Ok(wanted),
            Some(0) => Err((
                format!(
                    "{left} left; a candidate needs {}, and {} are held back for the sealed test",
                    budget::words(candidate),
                    budget::words(test)
                ),
                json!({
                    "left": { "cost": left.cost, "model_calls": left.model_calls },
                    "candidate": candidate,
                    "held_back": test,
                }),
            )),
            Some(fits) => Ok(wanted.min(u32::try_from(fits).unwrap_or(u32::MAX))),
        }
    }

    /// That the job's hours are used up, where they are.
    pub fn hours_spent(&self) -> Option<(String, serde_json::Value)> {
        let hours = self.spec.project.budget.hours?;
        let used = self.out.state.elapsed_ms as f64 / 3_600_000.0;
        (used >= hours).then(|| {
            (
                format!("{used:.2} of {hours} hours are used up"),
                json!({ "hours": hours, "used": used }),
            )
        })
    }

    /// What ended an evaluation before its end, in words; `None` while there is budget and time.
    pub fn spent(&self) -> Option<String> {
        if self.out.state.budget_exhausted {
            return Some("the budget ran out".to_owned());
        }
        self.hours_spent().map(|(reason, _)| reason)
    }

    /// What a case costs: the most of what baseline and incumbent cost on train and val.
    pub fn per_case(&self) -> PerCase {
        let state = &self.out.state;
        [&state.baseline, &state.incumbent]
            .into_iter()
            .flat_map(|variant| [&variant.train, &variant.val])
            .flatten()
            .map(|measurement| PerCase::of(&measurement.summary))
            .fold(PerCase::default(), PerCase::max)
    }

    /// A cluster for each slot: those of the open level first, then the others. Among them those with most points to be
    /// won, where each earlier try from this parent makes a cluster worth less (half after one, a third after two...).
    pub fn choose_clusters(
        &self,
        attribution: &Attribution,
        level: Level,
        count: usize,
    ) -> Vec<Cluster> {
        let state = &self.out.state;
        let tries = |id: &str| {
            state
                .candidates
                .iter()
                .filter(|candidate| {
                    candidate.attempt.parent == state.incumbent.variant
                        && !state.is_untried(candidate)
                        && candidate.cluster.as_deref() == Some(id)
                })
                .count()
        };
        let mut ranked: Vec<(bool, f64, &Cluster)> = attribution
            .clusters
            .iter()
            .map(|cluster| {
                let worth = cluster.recoverable.estimate / (1 + tries(&cluster.id)) as f64;
                (cluster.level != level, worth, cluster)
            })
            .collect();
        ranked.sort_by(|a, b| {
            a.0.cmp(&b.0)
                .then_with(|| b.1.total_cmp(&a.1))
                .then_with(|| a.2.id.cmp(&b.2.id))
        });
        ranked
            .into_iter()
            .take(count)
            .map(|(_, _, cluster)| cluster.clone())
            .collect()
    }
}
