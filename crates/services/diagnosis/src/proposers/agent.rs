//! What a coding agent that proposes is told, and how its structured answer is read. How its session is run is another's
//! business.

use fapo_domain::ContentHash;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::proposal::ProposalRequest;
use fapo_project::{PipelineContext, read_pipeline};
use serde_json::{Value, json};

use super::evidence::{compile, strategy_words};
use super::reflect::{REVISION, techniques};
use crate::prompts::{PromptError, Prompts};
use crate::text::one_line;

/// The prompts of an agent that proposes.
const PROMPTS: [&str; 2] = ["proposer_system", "proposer_user"];
/// Longest hypothesis and idea that are kept, in characters.
const HYPOTHESIS_KEPT: usize = 600;
const IDEA_KEPT: usize = 80;

/// An agent's instructions and task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// What holds for the whole session.
    pub system: String,
    /// The task.
    pub user: String,
    /// Hash over the prompts that were used.
    pub prompt_hash: ContentHash,
    /// Hash over the evidence.
    pub evidence_hash: ContentHash,
}

/// The brief for a request, its evidence within the project's budget of tokens. Equal requests give equal bytes.
///
/// # Errors
/// A project's own prompt that cannot be rendered.
pub fn brief(spec: &JobSpec, request: &ProposalRequest) -> Result<Brief, PromptError> {
    let project = &spec.project;
    let context = PipelineContext {
        project,
        input_keys: None,
    };
    let pipeline = read_pipeline(&request.tree, &context).0;
    let compiled = compile(
        project,
        request,
        pipeline.as_ref().map(|pipeline| pipeline.spec()),
        project.proposer.evidence_tokens,
    );
    let prompts = Prompts::of(spec);
    let cluster = request.cluster.as_ref();
    let user = prompts.render(
        "proposer_user",
        &json!({
            "evidence": compiled.text.trim_end(),
            "mark": compiled.mark,
            "cluster": cluster.map(|cluster| &cluster.id),
            "direction": cluster.map(|cluster| &cluster.direction),
            "level": request.level,
            "techniques": all_techniques(spec, request).join(", "),
            "strategy": strategy_words(&request.strategy),
            "revision": request.revise.as_ref().map(|_| REVISION),
        }),
    )?;
    Ok(Brief {
        system: prompts.said("proposer_system"),
        user,
        prompt_hash: prompts.hash(&PROMPTS),
        evidence_hash: compiled.hash,
    })
}

/// The techniques up to the open level.
fn all_techniques(spec: &JobSpec, request: &ProposalRequest) -> Vec<String> {
    let scope = &spec.project.scope;
    Level::ALL
        .into_iter()
        .filter(|level| *level <= request.level && scope.allow.contains(level))
        .flat_map(|level| techniques(level, scope, &request.strategy))
        .collect()
}

/// The schema of an agent's answer. The change itself is not in it: that is the difference of the files.
pub fn schema(spec: &JobSpec, request: &ProposalRequest) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["outcome", "hypothesis", "technique", "idea", "target_cluster", "expected_gain", "expected_cost_ratio"],
        "properties": {
            "outcome": {"type": "string", "enum": ["changed", "no_idea"]},
            "hypothesis": {"type": "string"},
            "technique": {"type": "string", "enum": all_techniques(spec, request)},
            "idea": {"type": "string"},
            "target_cluster": {"type": "string"},
            "expected_gain": {"type": "number"},
            "expected_cost_ratio": {"type": "number"}
        }
    })
}

/// What an agent says of its change. Recorded, and believed in nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Whether it says that it has no idea.
    pub no_idea: bool,
    /// What it expects and why.
    pub hypothesis: String,
    /// What it tried; the level's plainest technique where it names none that there is.
    pub technique: Technique,
    /// `technique/name`.
    pub idea: String,
    /// The cluster it aims at: the one it names, where there is one of that name, else the one it was given.
    pub cluster: Option<String>,
    /// Expected gain in points of the mean score.
    pub expected_gain: Option<f64>,
    /// Expected cost of a case over the parent's.
    pub expected_cost_ratio: Option<f64>,
}

/// Reads an answer. Whatever is missing in it or of another form has a substitute, so that a change is never lost to an answer
/// that is badly written; `None` stands for no answer at all.
pub fn read(answer: Option<&Value>, request: &ProposalRequest) -> Said {
    let field = |name: &str| answer.and_then(|answer| answer.get(name));
    let text = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| {
        field(name)
            .and_then(Value::as_f64)
            .filter(|number| number.is_finite())
    };
    let named = text("technique")
        .trim()
        .to_lowercase()
        .replace([' ', '-'], "_");
    let technique = serde_json::from_value(Value::String(named)).unwrap_or(match request.level {
        Level::Prompt => Technique::InstructionClarity,
        Level::Parameter => Technique::OtherParameter,
        Level::Structure => Technique::OtherStructure,
    });
    let hypothesis = one_line(text("hypothesis"), HYPOTHESIS_KEPT);
    let idea = match text("idea").trim() {
        "" => hypothesis.as_str(),
        idea => idea,
    };
    let target = text("target_cluster");
    let mut clusters = request.attribution.clusters.iter();
    let cluster = clusters
        .find(|cluster| cluster.id == target)
        .or(request.cluster.as_ref())
        .map(|cluster| cluster.id.clone());
    Said {
        no_idea: text("outcome") == "no_idea",
        idea: format!("{technique}/{}", one_line(&idea.to_lowercase(), IDEA_KEPT)),
        hypothesis,
        technique,
        cluster,
        expected_gain: number("expected_gain"),
        expected_cost_ratio: number("expected_cost_ratio").filter(|ratio| *ratio > 0.0),
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::StepId;
    use fapo_domain::model::finding::Rule;
    use fapo_domain::model::level::Strategy;

    use super::*;
    use crate::testing::{job_spec, request, samples};

    fn asked(level: Level) -> (JobSpec, ProposalRequest) {
        let (tree, project) = samples::single_hop();
        let request = request(&tree, level, Some((Rule::AnswerBuried, "answer")));
        (job_spec(project, tree.id()), request)
    }

    #[test]
    fn the_brief_names_the_pattern_the_strategy_and_the_techniques_up_to_the_level() {
        let (spec, mut request) = asked(Level::Parameter);
        request.strategy = Strategy::IsolateStep {
            step: StepId::new("answer"),
        };
        let brief = brief(&spec, &request).unwrap();
        for part in [
            "Work on this pattern of failures: answer_buried@answer",
            "Change step `answer` and nothing else",
            "output_constraint",
            "retrieval_depth",
            "Levels: prompt, parameter.",
        ] {
            assert!(brief.user.contains(part), "{part} in {}", brief.user);
        }
        assert!(!brief.user.contains("extra_hop"));
        // what the tools are is said once, to all
        assert!(brief.system.contains("analyze") && brief.system.contains("made up"));
        assert_eq!(brief, super::brief(&spec, &request).unwrap());
        let names = &schema(&spec, &request)["properties"]["technique"]["enum"];
        assert!(
            names
                .as_array()
                .unwrap()
                .contains(&json!("retrieval_depth"))
        );
    }

    #[test]
    fn an_answer_is_read_with_a_substitute_for_whatever_is_missing() {
        let (_, request) = asked(Level::Structure);
        let answer = json!({
            "outcome": "changed", "hypothesis": "a\nb", "technique": "Extra-Hop", "idea": "Ask Twice",
            "target_cluster": "nowhere", "expected_gain": 0.1, "expected_cost_ratio": -2,
        });
        let said = read(Some(&answer), &request);
        assert_eq!(said.technique, Technique::ExtraHop);
        assert_eq!(
            (said.hypothesis.as_str(), said.idea.as_str()),
            ("a b", "extra_hop/ask twice")
        );
        assert_eq!(said.cluster.as_deref(), Some("answer_buried@answer"));
        assert_eq!(
            (said.expected_gain, said.expected_cost_ratio),
            (Some(0.1), None)
        );
        assert!(!said.no_idea);
        let nothing = read(None, &request);
        assert_eq!(nothing.technique, Technique::OtherStructure);
        assert!(!nothing.no_idea);
        assert!(read(Some(&json!({"outcome": "no_idea"})), &request).no_idea);
    }
}
