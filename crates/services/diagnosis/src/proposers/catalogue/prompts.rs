//! Edits at the prompt level.

use fapo_domain::model::finding::Rule;
use fapo_domain::model::level::Technique;
use fapo_domain::model::pipeline::OutputFormat;

use super::Idea;
use super::context::{Context, Purpose};
use super::texts::{LABELS, Placement, texts};
use crate::proposers::edit::{ablations, add_instruction, prepend};
use crate::text::cut;

/// Instructions removed one at a time, at most so many.
const ABLATIONS: usize = 4;

/// Every prompt edit, in the order of preference.
pub fn ideas(context: &Context<'_>) -> Vec<Idea> {
    let mut ideas = Vec::new();
    let mut removals = Vec::new();
    for (position, (top, llm)) in context.llm_targets().into_iter().enumerate() {
        let Some(prompt) = context.request.tree.text(&llm.prompt) else {
            continue;
        };
        let purpose = context.purpose(&top);
        // the cluster's rule leads only where the cluster is
        let rule = if position == 0 { context.rule() } else { None };
        let json = llm.output == OutputFormat::Json;
        for text in texts(purpose, json, rule) {
            let words = if text.name == LABELS.name {
                match label_list(&context.request.labels) {
                    Some(words) if purpose == Purpose::Answer => words,
                    _ => continue,
                }
            } else {
                text.words.to_owned()
            };
            if prompt.contains(&words) {
                continue;
            }
            let edited = match text.placement {
                Placement::Instruction => add_instruction(prompt, &words),
                Placement::Front => prepend(prompt, &words),
            };
            ideas.push(context.text_idea(
                text.technique,
                format!("{}/{}/{}", text.technique, llm.id, text.name),
                text.why,
                &llm.prompt,
                &edited,
            ));
        }
        for (number, (sentence, without)) in
            ablations(prompt).into_iter().take(ABLATIONS).enumerate()
        {
            removals.push(context.text_idea(
                Technique::Ablation,
                format!("ablation/{}/{}", llm.id, number + 1),
                &format!(
                    "leaving out \"{}\" may help more than it does",
                    cut(&sentence, 60)
                ),
                &llm.prompt,
                &without,
            ));
        }
    }
    ideas.extend(removals);
    if matches!(context.rule(), Some(Rule::WrongAnswer) | None) {
        // something has to be removed early where nothing speaks for any addition
        if let Some(at) = ideas
            .iter()
            .position(|idea| idea.technique == Technique::Ablation)
        {
            let ablation = ideas.remove(at);
            ideas.insert(ideas.len().min(5), ablation);
        }
    }
    ideas
}

/// "Answer with exactly one of: ...", where train has a closed set of labels.
pub fn label_list(labels: &[String]) -> Option<String> {
    (labels.len() >= 2).then(|| format!("Answer with exactly one of: {}.", labels.join(", ")))
}
