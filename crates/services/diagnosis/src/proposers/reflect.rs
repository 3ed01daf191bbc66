//! One structured call to a model, given compiled train evidence.
//!
//! The words of the request stand in `prompts/*.md`. They are plain and the reply has few fields, so that a small model
//! can answer. Edits replace whole files; only files that were shown in full may be replaced.

mod reply;

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::level::{Level, Strategy, Technique};
use fapo_domain::model::project::ScopeSpec;
use fapo_domain::model::proposal::{Draft, ProposalRequest};
use fapo_domain::model::task::Fence;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::diagnosis::{Proposal, ProposeError, Proposer};
use fapo_domain::ports::models::{ChatRole, Message, MeteredModels};
use fapo_project::{PipelineContext, read_pipeline};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::evidence::{Compiled, compile};
use crate::asking::{Asker, message, model_of, unfinished};
use crate::prompts::Prompts;

/// Revisions are asked for with these words; the findings stand in the evidence.
pub(crate) const REVISION: &str =
    "A reviewer failed your first try; what it found, and what you changed, stands above.";

/// A proposal holds a whole file, so its reply gets at least so many tokens, whatever the model's entry says.
const LEAST_REPLY: u32 = 2048;

/// Asks a model.
pub struct Reflect {
    models: Arc<dyn MeteredModels>,
}

impl Reflect {
    /// A proposer over metered models.
    pub fn new(models: Arc<dyn MeteredModels>) -> Self {
        Self { models }
    }
}

/// The techniques of a level, by their names. Another model is one only where the scope names any, and those that a strategy
/// avoids are not named, unless none would be left.
pub(crate) fn techniques(level: Level, scope: &ScopeSpec, strategy: &Strategy) -> Vec<String> {
    use Technique as T;
    let all = match level {
        Level::Prompt => vec![
            T::InstructionClarity,
            T::OutputConstraint,
            T::Decomposition,
            T::StepByStep,
            T::SyntheticFewShot,
            T::NegativeExamples,
            T::Role,
            T::Ablation,
        ],
        Level::Parameter => vec![
            T::RetrievalDepth,
            T::Temperature,
            T::OutputLimit,
            T::ModelChoice,
            T::SampleCount,
            T::OtherParameter,
        ],
        Level::Structure => vec![
            T::MultiQuery,
            T::ExtraHop,
            T::VerifyRepair,
            T::BestOfN,
            T::Vote,
            T::PostProcessor,
            T::SplitStep,
            T::MergeSteps,
            T::OtherStructure,
        ],
    };
    let all: Vec<T> = all
        .into_iter()
        .filter(|technique| *technique != T::ModelChoice || !scope.models.is_empty())
        .collect();
    let wanted = |technique: &&T| match strategy {
        Strategy::OtherTechnique { avoid } => !avoid.contains(technique),
        Strategy::Ablation => **technique == T::Ablation || level > Level::Prompt,
        Strategy::Free | Strategy::IsolateStep { .. } => true,
    };
    let mut names: Vec<String> = all.iter().filter(wanted).map(T::to_string).collect();
    if names.is_empty() {
        names = all.iter().map(T::to_string).collect();
    }
    names
}

/// The schema of the reply.
fn schema(level: Level, scope: &ScopeSpec, strategy: &Strategy) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["hypothesis", "technique", "idea", "target_cluster", "expected_gain", "edits"],
        "properties": {
            "hypothesis": {"type": "string"},
            "technique": {"type": "string", "enum": techniques(level, scope, strategy)},
            "idea": {"type": "string"},
            "target_cluster": {"type": "string"},
            "expected_gain": {"type": "number"},
            "edits": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["path", "content"],
                    "properties": {"path": {"type": "string"}, "content": {"type": "string"}}
                }
            }
        }
    })
}

/// The messages of a request; equal requests give equal bytes.
fn messages(
    spec: &JobSpec,
    request: &ProposalRequest,
) -> Result<(Vec<Message>, Compiled), ProposeError> {
    let context = PipelineContext {
        project: &spec.project,
        input_keys: None,
    };
    let pipeline = read_pipeline(&request.tree, &context).0;
    let scope = &spec.project.scope;
    let compiled = compile(
        &spec.project,
        request,
        pipeline.as_ref().map(|pipeline| pipeline.spec()),
        spec.project.proposer.evidence_tokens,
    );
    let prompts = Prompts::of(spec);
    let render = |name: &str, context: &Value| {
        prompts
            .render(name, context)
            .map_err(|error| ProposeError::Config {
                message: error.to_string(),
            })
    };
    let level = level_prompt(request.level);
    let level_rules = render(level, &json!({ "models": scope.models }))?;
    let cluster = request.cluster.as_ref();
    let user = render(
        "reflect_user",
        &json!({
            "evidence": compiled.text.trim_end(),
            "mark": compiled.mark,
            "cluster": cluster.map(|cluster| &cluster.id),
            "direction": cluster.map(|cluster| &cluster.direction),
            "revision": request.revise.as_ref().map(|_| REVISION),
            "level_rules": level_rules.trim_end(),
            "techniques": techniques(request.level, scope, &request.strategy).join(", "),
        }),
    )?;
    let messages = vec![
        message(ChatRole::System, prompts.said("reflect_system")),
        message(ChatRole::User, user),
    ];
    Ok((messages, compiled))
}

/// The prompt that says what may be changed at a level.
const fn level_prompt(level: Level) -> &'static str {
    match level {
        Level::Prompt => "level_prompt",
        Level::Parameter => "level_parameter",
        Level::Structure => "level_structure",
    }
}

#[async_trait]
impl Proposer for Reflect {
    async fn propose(
        &self,
        spec: &JobSpec,
        request: &ProposalRequest,
        fence: Fence,
        _stop: &CancellationToken,
    ) -> Result<Proposal, ProposeError> {
        let entry = spec.project.proposing_model();
        let model = model_of(&spec.project, entry, "proposer")
            .map_err(|message| ProposeError::Config { message })?;
        let (messages, compiled) = messages(spec, request)?;
        let about = [
            u64::from(request.iteration),
            u64::from(request.slot),
            request.seed,
        ];
        let asker = Asker {
            purpose: "proposer",
            role: SpendRole::Proposer,
            job: request.job,
            fence,
            about: &about,
            least_reply: LEAST_REPLY,
        };
        let schema = schema(request.level, &spec.project.scope, &request.strategy);
        let call = asker.call(entry, model, messages, schema);
        let reply = asker.ask(&*self.models, &call).await?;
        let unusable = |reason: String| Proposal::Unusable {
            reason,
            spend: reply.spend,
        };
        if let Some(reason) = unfinished(&reply, &call) {
            return Ok(unusable(reason));
        }
        let parsed = match reply::parse(&reply.text) {
            Ok(parsed) => parsed,
            Err(reason) => return Ok(unusable(reason)),
        };
        let tree = match reply::apply(&parsed, request, &compiled.shown) {
            Ok(tree) => tree,
            Err(reason) => return Ok(unusable(reason)),
        };
        let technique = parsed.technique(request.level);
        Ok(Proposal::Draft(Box::new(Draft {
            tree,
            technique,
            idea: parsed.idea(technique),
            hypothesis: parsed.hypothesis(),
            cluster: parsed.cluster(request),
            expected_gain: parsed.expected_gain.filter(|gain| gain.is_finite()),
            expected_cost_ratio: None,
            evidence_hash: Some(compiled.hash),
            session: None,
            prompt_hash: Some(Prompts::of(spec).hash(&[
                "reflect_system",
                "reflect_user",
                level_prompt(request.level),
            ])),
            spend: reply.spend,
            transcript: Some(reply.text),
        })))
    }
}

#[cfg(test)]
mod tests;
