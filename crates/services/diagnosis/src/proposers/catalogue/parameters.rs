//! Edits at the parameter level: depth, reply length, temperature, samples, model.

use fapo_domain::model::finding::Rule;
use fapo_domain::model::level::Technique;
use fapo_domain::model::pipeline::{PipelineSpec, StepSpec};
use fapo_project::allowed_range;

use super::Idea;
use super::context::Context;
use crate::proposers::edit::change_llm;

/// Deepest retrieval without a range in the scope.
const MAX_DEPTH: u32 = 100;
/// Longest reply without a range in the scope.
const MAX_REPLY: u32 = 16_384;

/// Every parameter edit, in the order of preference.
pub fn ideas(context: &Context<'_>) -> Vec<Idea> {
    let deeper = depths(context, true);
    let shallower = depths(context, false);
    let longer = replies(context, true);
    let shorter = replies(context, false);
    let colder = temperatures(context);
    let samples = samples(context);
    let models = models(context);
    let order: Vec<Vec<Idea>> = match context.rule() {
        Some(Rule::CutOffOutput) => {
            vec![longer, colder, models, deeper, samples, shallower, shorter]
        }
        Some(Rule::CapHit) => vec![shorter, shallower, colder, models, longer, deeper, samples],
        Some(
            Rule::RetrievalTooShallow
            | Rule::RetrievalPartial
            | Rule::RetrievalMiss
            | Rule::RetrievalLowOverlap,
        ) => vec![deeper, colder, longer, models, samples, shallower, shorter],
        Some(Rule::Abstained) => vec![deeper, colder, models, samples, longer, shallower, shorter],
        _ => vec![colder, deeper, samples, models, longer, shallower, shorter],
    };
    order.into_iter().flatten().collect()
}

fn with_spec(
    context: &Context<'_>,
    technique: Technique,
    name: String,
    why: String,
    change: impl FnOnce(&mut PipelineSpec) -> bool,
) -> Option<Idea> {
    let mut spec = context.spec.clone();
    (change(&mut spec) && spec != context.spec)
        .then(|| context.pipeline_idea(technique, name, why, &spec, context.request.tree.clone()))
}

fn depths(context: &Context<'_>, more: bool) -> Vec<Idea> {
    let mut ideas = Vec::new();
    for id in context.retrieval_targets() {
        let Some(StepSpec::Retrieve(step)) = context.step(id.as_str()) else {
            continue;
        };
        let (low, high) =
            allowed_range(&context.project.scope.ranges, "retrieve", id.as_str(), "k").map_or_else(
                || (1, MAX_DEPTH.max(step.k)),
                |(low, high)| (low.max(1.0) as u32, high as u32),
            );
        let mut wanted = if more {
            vec![
                step.k.saturating_mul(2).min(high),
                step.k.saturating_mul(4).min(high),
                high.min(step.k.saturating_mul(10)),
            ]
        } else {
            vec![(step.k / 2).max(low)]
        };
        wanted.dedup();
        wanted.retain(|k| (more && *k > step.k) || (!more && *k < step.k && *k >= 1));
        for k in wanted {
            ideas.extend(with_spec(
                context,
                Technique::RetrievalDepth,
                format!("retrieval_depth/{id}/{k}"),
                format!(
                    "{} documents instead of {} at {id} {}",
                    k,
                    step.k,
                    if more {
                        "reach gold documents that are ranked lower"
                    } else {
                        "leave fewer to mislead the model"
                    }
                ),
                |spec| {
                    spec.steps.iter_mut().any(|step| match step {
                        StepSpec::Retrieve(retrieve) if retrieve.id == id => {
                            retrieve.k = k;
                            true
                        }
                        _ => false,
                    })
                },
            ));
        }
    }
    ideas
}

fn replies(context: &Context<'_>, longer: bool) -> Vec<Idea> {
    let mut ideas = Vec::new();
    for (_, llm) in context.llm_targets() {
        let entry = llm.model.as_deref().unwrap_or("task");
        let Some(current) = llm.max_tokens.or_else(|| {
            context
                .project
                .models
                .get(entry)
                .map(|model| model.max_tokens)
        }) else {
            continue;
        };
        let (low, high) = allowed_range(
            &context.project.scope.ranges,
            "llm",
            llm.id.as_str(),
            "max_tokens",
        )
        .map_or_else(
            || (16, MAX_REPLY.max(current)),
            |(low, high)| (low.max(1.0) as u32, high as u32),
        );
        let wanted: Vec<u32> = if longer {
            vec![
                current.saturating_mul(2).min(high),
                current.saturating_mul(4).min(high),
            ]
        } else {
            vec![(current / 2).max(low)]
        };
        for tokens in wanted {
            if (longer && tokens <= current) || (!longer && tokens >= current) {
                continue;
            }
            ideas.extend(with_spec(
                context,
                Technique::OutputLimit,
                format!("output_limit/{}/{tokens}", llm.id),
                format!(
                    "a limit of {tokens} instead of {current} tokens at {} {}",
                    llm.id,
                    if longer {
                        "lets replies end by themselves"
                    } else {
                        "keeps replies within the case's limits"
                    }
                ),
                |spec| {
                    change_llm(spec, llm.id.as_str(), &mut |step| {
                        step.max_tokens = Some(tokens);
                    })
                },
            ));
        }
    }
    ideas
}

fn temperatures(context: &Context<'_>) -> Vec<Idea> {
    context
        .llm_targets()
        .into_iter()
        // samples of a vote need their randomness
        .filter(|(top, llm)| *top == llm.id)
        .filter_map(|(_, llm)| {
            let entry = llm.model.as_deref().unwrap_or("task");
            let current = llm.temperature.or_else(|| {
                context
                    .project
                    .models
                    .get(entry)
                    .and_then(|model| model.temperature)
            });
            if current == Some(0.0) {
                return None;
            }
            with_spec(
                context,
                Technique::Temperature,
                format!("temperature/{}/0", llm.id),
                format!(
                    "temperature 0 at {} always takes the likeliest reply",
                    llm.id
                ),
                |spec| {
                    change_llm(spec, llm.id.as_str(), &mut |step| {
                        step.temperature = Some(0.0);
                    })
                },
            )
        })
        .collect()
}

fn samples(context: &Context<'_>) -> Vec<Idea> {
    let mut ideas = Vec::new();
    for (_, step) in context.flow.feeding() {
        let StepSpec::Sample(sample) = &step.spec else {
            continue;
        };
        let high = allowed_range(
            &context.project.scope.ranges,
            "sample",
            sample.id.as_str(),
            "n",
        )
        .map_or(16, |(_, high)| high as u32);
        for n in [sample.n + 2, sample.n.saturating_mul(2) + 1] {
            let n = n.min(high).min(64);
            if n <= sample.n {
                continue;
            }
            ideas.extend(with_spec(
                context,
                Technique::SampleCount,
                format!("sample_count/{}/{n}", sample.id),
                format!(
                    "{n} instead of {} samples at {} make the choice steadier",
                    sample.n, sample.id
                ),
                |spec| {
                    spec.steps.iter_mut().any(|step| match step {
                        StepSpec::Sample(inner) if inner.id == sample.id => {
                            inner.n = n;
                            true
                        }
                        _ => false,
                    })
                },
            ));
        }
    }
    ideas
}

fn models(context: &Context<'_>) -> Vec<Idea> {
    let mut ideas = Vec::new();
    for (_, llm) in context.llm_targets() {
        let current = llm.model.as_deref().unwrap_or("task");
        for entry in context
            .project
            .scope
            .models
            .iter()
            .filter(|entry| *entry != current)
        {
            ideas.extend(with_spec(
                context,
                Technique::ModelChoice,
                format!("model_choice/{}/{entry}", llm.id),
                format!("model {entry} may do better at {} than {current}", llm.id),
                |spec| {
                    change_llm(spec, llm.id.as_str(), &mut |step| {
                        step.model = Some(entry.clone());
                    })
                },
            ));
        }
    }
    ideas
}
