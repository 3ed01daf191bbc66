//! The proposer that is a coding agent.
//!
//! A session edits the parent's files (a revision: those that were reviewed). When it ends, the difference of the files is what
//! was proposed. A session that changed nothing, or left files that a lint or a rule refuses, or gave no answer, or ran out of
//! turns, is told so and goes on once; what then stands is the proposal, or is recorded as unusable.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::project::ProposerBackend;
use fapo_domain::model::proposal::{Draft, LintFinding, ProposalRequest};
use fapo_domain::model::session::SessionEnd;
use fapo_domain::model::task::Fence;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::money::{Spend, SpendRole};
use fapo_domain::ports::agents::{AgentRequest, AgentTurn, SessionFiles};
use fapo_domain::ports::diagnosis::{Proposal, ProposeError, Proposer};
use fapo_domain::ports::work::WorkError;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{AgentHouse, Attended, expires, limits, session_id};
use crate::lints::heard;
use crate::lints::service::{Trees, lint_trees, read_tree};
use crate::lints::tree::normal_hash;
use crate::mcp::{SessionGrant, SessionRole};
use crate::prompts::Prompts;
use crate::proposers::agent::{Brief, Said, brief, read, schema};
use crate::text::one_line;

/// Findings told to a session.
const TOLD: usize = 12;

/// Proposes by sessions of a coding agent.
pub struct AgentProposer {
    backend: ProposerBackend,
    house: AgentHouse,
}

/// What is held against a session's files.
struct Held {
    baseline: VariantTree,
    earlier: Vec<fapo_domain::ContentHash>,
}

/// What a prompt came to, once its files were looked at.
struct Looked {
    turn: AgentTurn,
    said: Said,
    /// Whether the files differ from those it started from.
    changed: bool,
    /// What is amiss, for the session; empty where the proposal can go on.
    amiss: Vec<String>,
}

impl AgentProposer {
    /// A proposer over an agent; `backend` is what the project calls it.
    pub const fn new(backend: ProposerBackend, house: AgentHouse) -> Self {
        Self { backend, house }
    }

    fn request(
        &self,
        spec: &JobSpec,
        request: &ProposalRequest,
        (brief, fence): (&Brief, Fence),
    ) -> AgentRequest {
        let proposer = &spec.project.proposer;
        let (entry, model) = spec
            .project
            .agent_model(self.backend, proposer.model.as_deref());
        AgentRequest {
            id: session_id(fence),
            job: request.job,
            fence,
            role: SpendRole::Proposer,
            entry,
            model,
            system: brief.system.clone(),
            tree: started_from(request).clone(),
            writable: true,
            schema: schema(spec, request),
            limits: limits(proposer.minutes, proposer.usd),
        }
    }

    fn grant(
        &self,
        spec: &JobSpec,
        request: &ProposalRequest,
        fence: Fence,
        files: Arc<dyn SessionFiles>,
    ) -> SessionGrant {
        let proposer = &spec.project.proposer;
        SessionGrant {
            job: request.job,
            spec: Arc::new(spec.clone()),
            fence,
            role: SessionRole::Proposer,
            parent: request.parent,
            evaluation: request.evaluation.clone(),
            iteration: request.iteration,
            slot: request.slot,
            level: request.level,
            cluster: request.cluster.clone(),
            history: request.history.clone(),
            earlier: request.earlier.clone(),
            val: request.val,
            tree: files,
            tries: proposer.tries,
            analyses: proposer.analyses,
            expires: expires(proposer.minutes),
        }
    }

    async fn held(&self, spec: &JobSpec, request: &ProposalRequest) -> Result<Held, WorkError> {
        let variants = &*self.house.tools.variants;
        let baseline = read_tree(variants, spec.baseline).await?;
        let mut earlier = Vec::with_capacity(request.earlier.len());
        for id in &request.earlier {
            earlier.push(normal_hash(&read_tree(variants, *id).await?));
        }
        Ok(Held { baseline, earlier })
    }

    /// Looks at what a prompt left: the answer, the files by their rules, then the lints.
    async fn look(
        &self,
        spec: &JobSpec,
        request: &ProposalRequest,
        held: &Held,
        turn: AgentTurn,
        stop: &CancellationToken,
    ) -> Result<Looked, WorkError> {
        let said = read(turn.answer.as_ref(), request);
        let mut amiss: Vec<String> = turn.refusals.iter().map(words).collect();
        let changed = turn.tree != *started_from(request);
        if said.no_idea && !changed {
            return Ok(Looked {
                turn,
                said,
                changed,
                amiss,
            });
        }
        if turn.answer.is_none() {
            amiss.push(format!(
                "the session {}: end with the structured answer",
                turn.end
            ));
        }
        if changed {
            let trees = Trees {
                open: request.level,
                parent: &request.tree,
                child: &turn.tree,
                baseline: &held.baseline,
                earlier: &held.earlier,
            };
            let (report, _) = lint_trees(&*self.house.tools.datasets, spec, &trees, stop).await?;
            // what is told of held-out cases is told to a session
            amiss.extend(heard(&report.refusals).iter().map(words));
        } else {
            amiss.push(
                "nothing in pipeline/ was changed. Make the change, or answer with \"no_idea\""
                    .to_owned(),
            );
        }
        Ok(Looked {
            turn,
            said,
            changed,
            amiss,
        })
    }

    /// The conversation: the task, and where something is amiss one more word.
    async fn converse(
        &self,
        spec: &JobSpec,
        request: &ProposalRequest,
        attended: &mut Attended,
        task: &str,
        stop: &CancellationToken,
    ) -> Result<Looked, ProposeError> {
        let held = self.held(spec, request).await.map_err(house)?;
        let turns = spec.project.proposer.turns;
        let turn = attended.session.prompt(task, turns, stop).await?;
        let first = self
            .look(spec, request, &held, turn, stop)
            .await
            .map_err(house)?;
        let may_go_on = matches!(
            first.turn.end,
            SessionEnd::Answered | SessionEnd::NoAnswer | SessionEnd::OutOfTurns
        );
        if first.amiss.is_empty() || !may_go_on || stop.is_cancelled() {
            return Ok(first);
        }
        let findings: Vec<String> = first
            .amiss
            .iter()
            .take(TOLD)
            .map(|finding| one_line(finding, 400))
            .collect();
        let turns = (turns / 2).max(2);
        let again = Prompts::of(spec)
            .render(
                "proposer_again",
                &json!({ "findings": findings, "turns": turns }),
            )
            .map_err(|error| ProposeError::Config {
                message: error.to_string(),
            })?;
        let turn = attended.session.prompt(&again, turns, stop).await?;
        self.look(spec, request, &held, turn, stop)
            .await
            .map_err(house)
    }
}

#[async_trait]
impl Proposer for AgentProposer {
    async fn propose(
        &self,
        spec: &JobSpec,
        request: &ProposalRequest,
        fence: Fence,
        stop: &CancellationToken,
    ) -> Result<Proposal, ProposeError> {
        let brief = brief(spec, request).map_err(|error| ProposeError::Config {
            message: error.to_string(),
        })?;
        let asked = self.request(spec, request, (&brief, fence));
        let session = self.house.agent.open(asked).await?;
        let grant = self.grant(spec, request, fence, session.files());
        let mut attended = self.house.attend(session, grant)?;
        let looked = self
            .converse(spec, request, &mut attended, &brief.user, stop)
            .await;
        // recorded whatever became of it: what was paid can be read
        let record = self.house.end(attended).await?;
        let looked = looked?;
        let spend = record.spend;
        if looked.turn.end == SessionEnd::Cancelled {
            return Err(ProposeError::Stopped);
        }
        if let Some(none) = no_draft(&looked, spend) {
            return Ok(none);
        }
        let said = looked.said;
        Ok(Proposal::Draft(Box::new(Draft {
            tree: looked.turn.tree,
            technique: said.technique,
            idea: said.idea,
            hypothesis: said.hypothesis,
            cluster: said.cluster,
            expected_gain: said.expected_gain,
            expected_cost_ratio: said.expected_cost_ratio,
            evidence_hash: Some(brief.evidence_hash),
            prompt_hash: Some(brief.prompt_hash),
            session: Some(record.id),
            spend,
            // it stands in the session's record
            transcript: None,
        })))
    }
}

/// The files a session starts from.
fn started_from(request: &ProposalRequest) -> &VariantTree {
    request
        .revise
        .as_ref()
        .map_or(&request.tree, |revision| &revision.tree)
}

/// Why a session comes to nothing that could be judged; `None` where it comes to a change. What a lint refuses is a change
/// all the same: the review refuses it by name.
fn no_draft(looked: &Looked, spend: Spend) -> Option<Proposal> {
    let unusable = |reason: String| Some(Proposal::Unusable { reason, spend });
    if !looked.turn.refusals.is_empty() {
        let found: Vec<String> = looked.turn.refusals.iter().take(4).map(words).collect();
        return unusable(found.join("; "));
    }
    if looked.said.no_idea {
        return Some(Proposal::NoIdea {
            reason: looked.said.hypothesis.clone(),
            spend,
        });
    }
    if !looked.changed {
        return unusable(format!(
            "the session {} and changed nothing",
            looked.turn.end
        ));
    }
    // what was cut off in the middle of its work is nobody's proposal
    (!matches!(looked.turn.end, SessionEnd::Answered | SessionEnd::NoAnswer)).then(|| {
        Proposal::Unusable {
            reason: format!("the session {}", looked.turn.end),
            spend,
        }
    })
}

fn words(finding: &LintFinding) -> String {
    format!(
        "{} at {}: {}",
        finding.lint.name(),
        finding.place,
        finding.message
    )
}

fn house(error: WorkError) -> ProposeError {
    ProposeError::Work(error)
}
