//! One structured call to a model, given compiled train evidence.
//!
//! The words of the request stand in `prompts/*.md`. They are plain and the reply has few fields, so that a small model
//! can answer. Edits replace whole files; only files that were shown in full may be replaced.

mod reply;

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::hash::Hasher;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::project::{ModelSpec, ScopeSpec};
use fapo_domain::model::proposal::{Draft, ProposalRequest};
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::FinishReason;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::diagnosis::{Proposal, ProposeError, Proposer};
use fapo_domain::ports::models::{ChatRole, Message, Meter, MeteredModels, ModelRequest, Waits};
use fapo_domain::{StepFingerprint, StepKey};
use fapo_project::template::TextTemplate;
use fapo_project::{PipelineContext, read_pipeline};
use serde_json::{Value, json};

use super::evidence::{Compiled, compile};

const SYSTEM: &str = include_str!("../../prompts/reflect_system.md");
const USER: &str = include_str!("../../prompts/reflect_user.md");
const LEVEL_PROMPT: &str = include_str!("../../prompts/level_prompt.md");
const LEVEL_PARAMETER: &str = include_str!("../../prompts/level_parameter.md");
const LEVEL_STRUCTURE: &str = include_str!("../../prompts/level_structure.md");

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

/// The model that writes proposals.
fn model(spec: &JobSpec) -> Result<(String, ModelSpec), ProposeError> {
    let project = &spec.project;
    let entry = project.proposing_model();
    match project.models.get(entry) {
        Some(model) => Ok((entry.to_owned(), model.clone())),
        None => Err(ProposeError::Config {
            message: format!("the proposer's model `{entry}` is not an entry of `models:`"),
        }),
    }
}

/// The techniques of a level, by their names. Another model is one only where the scope names any.
fn techniques(level: Level, scope: &ScopeSpec) -> Vec<String> {
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
    all.iter()
        .filter(|technique| **technique != T::ModelChoice || !scope.models.is_empty())
        .map(Technique::to_string)
        .collect()
}

/// The schema of the reply.
fn schema(level: Level, scope: &ScopeSpec) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["hypothesis", "technique", "idea", "target_cluster", "expected_gain", "edits"],
        "properties": {
            "hypothesis": {"type": "string"},
            "technique": {"type": "string", "enum": techniques(level, scope)},
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
    let (name, rules) = match request.level {
        Level::Prompt => ("level_prompt.md", LEVEL_PROMPT),
        Level::Parameter => ("level_parameter.md", LEVEL_PARAMETER),
        Level::Structure => ("level_structure.md", LEVEL_STRUCTURE),
    };
    let level_rules = render(name, rules, &json!({ "models": scope.models }))?;
    let user = render(
        "reflect_user.md",
        USER,
        &json!({
            "evidence": compiled.text.trim_end(),
            "cluster": request.cluster.as_ref().map(|cluster| cluster.id.clone()),
            "direction": request.cluster.as_ref().map(|cluster| cluster.direction.clone()),
            "level_rules": level_rules.trim_end(),
            "techniques": techniques(request.level, scope).join(", "),
        }),
    )?;
    let messages = vec![
        Message {
            role: ChatRole::System,
            content: SYSTEM.trim_end().to_owned(),
        },
        Message {
            role: ChatRole::User,
            content: user,
        },
    ];
    Ok((messages, compiled))
}

fn render(name: &str, source: &str, context: &Value) -> Result<String, ProposeError> {
    TextTemplate::compile(name, source)
        .and_then(|template| template.render(context))
        .map_err(|error| ProposeError::Config {
            message: format!("the proposer's own prompt cannot be rendered: {error}"),
        })
}

/// Key and fingerprint of a call. The key holds the messages, and iteration and slot: the same task meets its own reply
/// again, another iteration asks anew even where nothing else changed.
fn meter(job: &ProposalRequest, request: &ModelRequest, fence: Fence) -> Meter {
    let mut hasher = Hasher::new("proposer-fingerprint/v1");
    let number = |value: Option<f64>| value.map_or(u64::MAX, f64::to_bits);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    hasher
        .part(format!("{:?}", request.spec.provider).as_bytes())
        .part(text(&request.spec.base_url).as_bytes())
        .part(text(&request.spec.address_hash).as_bytes())
        .part(request.spec.model.as_bytes())
        .part(text(&request.spec.world).as_bytes())
        .number(number(request.temperature))
        .number(number(request.top_p))
        .number(u64::from(request.max_tokens));
    let fingerprint = StepFingerprint(hasher.finish());
    let mut hasher = Hasher::new("proposer-key/v1");
    hasher.hash(&fingerprint.0);
    for message in &request.messages {
        hasher
            .part(message.role.as_str().as_bytes())
            .part(message.content.as_bytes());
    }
    hasher
        .number(u64::from(job.iteration))
        .number(u64::from(job.slot))
        .number(job.seed);
    Meter {
        job: job.job,
        fence,
        role: SpendRole::Proposer,
        key: StepKey(hasher.finish()),
        fingerprint,
        look_up: true,
        more: false,
    }
}

#[async_trait]
impl Proposer for Reflect {
    async fn propose(
        &self,
        spec: &JobSpec,
        request: &ProposalRequest,
        fence: Fence,
    ) -> Result<Proposal, ProposeError> {
        let (entry, model) = model(spec)?;
        let (messages, compiled) = messages(spec, request)?;
        let call = ModelRequest {
            entry: Arc::from(entry),
            messages,
            temperature: model.temperature,
            top_p: model.top_p,
            max_tokens: model.max_tokens.max(LEAST_REPLY),
            stop: Vec::new(),
            seed: None,
            schema: Some(schema(request.level, &spec.project.scope)),
            waits: Waits::default(),
            spec: Arc::new(model),
        };
        let reply = self
            .models
            .complete(&call, &meter(request, &call, fence))
            .await?;
        let unusable = |reason: String| Proposal::Unusable {
            reason,
            spend: reply.spend,
        };
        match reply.finish {
            FinishReason::Length => {
                return Ok(unusable(format!(
                    "the reply was cut off at {} tokens",
                    call.max_tokens
                )));
            }
            FinishReason::Refusal => return Ok(unusable("the model declined".to_owned())),
            FinishReason::Stop | FinishReason::ToolCall | FinishReason::Other => {}
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
            evidence_hash: Some(compiled.hash),
            spend: reply.spend,
            transcript: Some(reply.text),
        })))
    }
}

#[cfg(test)]
mod tests;
