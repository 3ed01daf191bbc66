//! Recorded proposals, for tests, demonstrations and repeating a run without a model.
//!
//! A recording is JSON lines; each names its iteration and slot:
//!
//! ```json
//! {"iteration": 1, "slot": 0, "technique": "output_constraint", "idea": "only", "hypothesis": "...",
//!  "edits": [{"path": "prompts/answer.md", "content": "..."}, {"path": "prompts/old.md", "content": null}]}
//! ```
//!
//! One that answers a review also has `"revision": 1`. An edit replaces a whole file, or removes it where `content` is null.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fapo_domain::Spend;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::level::Technique;
use fapo_domain::model::proposal::{Draft, ProposalRequest};
use fapo_domain::model::task::Fence;
use fapo_domain::ports::diagnosis::{Proposal, ProposeError, Proposer};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::edit::put_text;

/// One recorded proposal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The iteration it answers, from 1.
    pub iteration: u32,
    /// The slot it answers, from 0.
    #[serde(default)]
    pub slot: u32,
    /// 0 for the proposal, 1 for its revision after a review.
    #[serde(default)]
    pub revision: u32,
    /// What was tried.
    pub technique: Technique,
    /// The name of the idea; iteration and slot where absent.
    #[serde(default)]
    pub idea: Option<String>,
    /// What was expected and why.
    #[serde(default)]
    pub hypothesis: String,
    /// Expected gain in points of the mean score.
    #[serde(default)]
    pub expected_gain: Option<f64>,
    /// The change.
    pub edits: Vec<RecordedEdit>,
}

/// One file of a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedEdit {
    /// The file, relative to `pipeline/`.
    pub path: String,
    /// Its new content; `None` removes it.
    pub content: Option<String>,
}

/// A line that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the recording cannot be read")]
pub struct RecordingError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub source: serde_json::Error,
}

/// Answers from a recording; says that it has no idea where the recording has none.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    recorded: BTreeMap<(u32, u32, u32), Recorded>,
}

impl Replay {
    /// Reads a recording; empty lines are passed over, and the later of two answers to one slot counts.
    ///
    /// # Errors
    /// The first line that is no recorded proposal.
    pub fn read(text: &str) -> Result<Self, RecordingError> {
        let mut recorded = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let entry: Recorded = serde_json::from_str(line).map_err(|source| RecordingError {
                line: number + 1,
                source,
            })?;
            recorded.insert((entry.iteration, entry.slot, entry.revision), entry);
        }
        Ok(Self { recorded })
    }
}

#[async_trait]
impl Proposer for Replay {
    async fn propose(
        &self,
        _spec: &JobSpec,
        request: &ProposalRequest,
        _fence: Fence,
        _stop: &CancellationToken,
    ) -> Result<Proposal, ProposeError> {
        let revision = u32::from(request.revise.is_some());
        let key = (request.iteration, request.slot, revision);
        let Some(recorded) = self.recorded.get(&key) else {
            let what = if revision == 0 {
                "nothing"
            } else {
                "no revision"
            };
            return Ok(Proposal::NoIdea {
                reason: format!(
                    "the recording has {what} for iteration {}, slot {}",
                    request.iteration, request.slot
                ),
                spend: Spend::default(),
            });
        };
        let mut tree = request.tree.clone();
        for edit in &recorded.edits {
            match &edit.content {
                Some(content) => put_text(&mut tree, &edit.path, content),
                None => {
                    tree.remove(&edit.path);
                }
            }
        }
        Ok(Proposal::Draft(Box::new(Draft {
            tree,
            technique: recorded.technique,
            idea: recorded
                .idea
                .clone()
                .unwrap_or_else(|| format!("replay/{}/{}", recorded.iteration, recorded.slot)),
            hypothesis: recorded.hypothesis.clone(),
            cluster: request.cluster.as_ref().map(|cluster| cluster.id.clone()),
            expected_gain: recorded.expected_gain,
            expected_cost_ratio: None,
            evidence_hash: None,
            session: None,
            prompt_hash: None,
            spend: Spend::default(),
            transcript: None,
        })))
    }
}
