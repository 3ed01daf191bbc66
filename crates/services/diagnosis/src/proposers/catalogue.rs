//! Proposals without a model: techniques from a catalogue, in a fixed order led by the target cluster's rule.
//!
//! At each level the catalogue makes every edit that applies, in order, leaves out those whose idea was tried on this
//! parent before and those that the lints refuse, and takes the first (parallel slots take the next ones). So the same
//! request gives the same proposal, a refused idea is not proposed again, and the list ends: then there is no idea left
//! at this level.

mod context;
mod hops;
mod parameters;
mod post;
mod prompts;
mod structure;
mod texts;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use async_trait::async_trait;
use fapo_domain::Spend;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Draft, ProposalRequest};
use fapo_domain::model::task::Fence;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::diagnosis::{Proposal, ProposeError, Proposer};
use tokio_util::sync::CancellationToken;

use crate::lints::{Candidate, check};
pub use context::Context;

/// One edit that the catalogue knows.
#[derive(Debug, Clone)]
pub struct Idea {
    /// Its technique.
    pub technique: Technique,
    /// Its name: `technique/step/detail`.
    pub name: String,
    /// What it does and why that should help.
    pub why: String,
    /// The tree after the edit.
    pub tree: VariantTree,
}

/// The catalogue. It holds no state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Catalogue;

impl Catalogue {
    /// Every idea for a request, in the order of preference, before history and lints are asked.
    pub fn ideas(project: &ProjectSpec, request: &ProposalRequest) -> Vec<Idea> {
        let Some(context) = Context::new(project, request) else {
            return Vec::new();
        };
        match request.level {
            Level::Prompt => prompts::ideas(&context),
            Level::Parameter => parameters::ideas(&context),
            Level::Structure => structure::ideas(&context),
        }
    }

    /// The proposal for a request.
    pub fn choose(project: &ProjectSpec, request: &ProposalRequest) -> Proposal {
        if request.revise.is_some() {
            return Proposal::NoIdea {
                reason: "the catalogue's changes are fixed; it revises none".to_owned(),
                spend: Spend::default(),
            };
        }
        let tried: BTreeSet<&str> = request
            .history
            .iter()
            .filter(|attempt| attempt.parent == request.parent)
            .map(|attempt| attempt.idea.as_str())
            .collect();
        let mut seen_trees = BTreeSet::from([request.parent]);
        let usable = Self::ideas(project, request)
            .into_iter()
            .filter(|idea| !tried.contains(idea.name.as_str()))
            .filter(|idea| seen_trees.insert(idea.tree.id()))
            .filter(|idea| {
                check(&Candidate {
                    project,
                    open: request.level,
                    parent: &request.tree,
                    child: &idea.tree,
                    baseline: None,
                    earlier: &[],
                    input_keys: None,
                })
                .passed()
            });
        // parallel slots look at the same list: each takes its own place in it, the last one where it is too short
        let mut chosen = None;
        for idea in usable.take(request.slot as usize + 1) {
            chosen = Some(idea);
        }
        let Some(idea) = chosen else {
            return Proposal::NoIdea {
                reason: format!(
                    "the catalogue has no further idea at level {}",
                    request.level
                ),
                spend: Spend::default(),
            };
        };
        let cluster = request.cluster.as_ref();
        let hypothesis = match cluster {
            Some(cluster) => format!(
                "{} of {} cases fail as {}; {}",
                cluster.count, request.attribution.cases, cluster.id, idea.why
            ),
            None => idea.why,
        };
        Proposal::Draft(Box::new(Draft {
            tree: idea.tree,
            technique: idea.technique,
            idea: idea.name,
            hypothesis,
            cluster: cluster.map(|cluster| cluster.id.clone()),
            expected_gain: cluster.map(|cluster| cluster.recoverable.estimate * cluster.confidence),
            expected_cost_ratio: None,
            evidence_hash: None,
            session: None,
            prompt_hash: None,
            spend: Spend::default(),
            transcript: None,
        }))
    }
}

#[async_trait]
impl Proposer for Catalogue {
    async fn propose(
        &self,
        spec: &JobSpec,
        request: &ProposalRequest,
        _fence: Fence,
        _stop: &CancellationToken,
    ) -> Result<Proposal, ProposeError> {
        Ok(Self::choose(&spec.project, request))
    }
}
