//! Structure edits after the answer: a template step that takes the answer out of a longer text.
//!
//! The patterns are tried on the failing train runs at hand; those that would have given the right answer most often
//! come first, those that never would are left out.

use fapo_domain::StepId;
use fapo_domain::model::level::Technique;
use fapo_domain::model::pipeline::{StepSpec, TemplateStep};
use regex::Regex;

use super::Idea;
use super::context::Context;
use super::hops::rewire;
use crate::attribution::answers::{expected_answers, scored_text};
use crate::attribution::scored::parts;
use crate::proposers::edit::fresh_id;

/// Named patterns; the first group is the answer.
const PATTERNS: [(&str, &str, &str); 5] = [
    (
        "answer_mark",
        r#"(?i)\banswer(?:\s+is\s*:?|\s*[:=])\s*["'*]*([^\n]+?)["'*.]*\s*(?:\n|$)"#,
        "what follows the words \"answer is\" is the answer",
    ),
    (
        "last_line",
        r#"(?s)([^\n]+?)[.\s]*$"#,
        "the last line is the answer",
    ),
    (
        "first_line",
        r#"^\s*([^\n]+?)[.\s]*(?:\n|$)"#,
        "the first line is the answer",
    ),
    (
        "last_word_is",
        r#"(?is)\b(?:is|was|are|were)\s+(?:the\s+|a\s+|an\s+)?([^\n.]+?)[.\s]*$"#,
        "what follows the last \"is\" is the answer",
    ),
    (
        "quoted",
        r#"["“']([^"”'\n]+)["”']"#,
        "what stands in quotation marks is the answer",
    ),
];

/// Template steps after the output, best first.
pub fn post_processors(context: &Context<'_>) -> Vec<Idea> {
    let output = context.flow.output().spec.id().clone();
    // another step's text is not mended by reshaping the output
    let Some(part) = parts(context.project)
        .into_iter()
        .find(|part| part.from.is_none())
    else {
        return Vec::new();
    };
    if context.spec.output != output.as_str()
        || context.scored_directly(output.as_str())
        || context.flow.output().retrieves()
    {
        return Vec::new();
    }
    let mut patterns: Vec<(String, String, String)> = Vec::new();
    if let Some(labels) = label_pattern(&context.request.labels) {
        patterns.push((
            "labels".to_owned(),
            labels,
            "the first label in the text is the answer".to_owned(),
        ));
    }
    patterns.extend(PATTERNS.iter().map(|(name, pattern, why)| {
        ((*name).to_owned(), (*pattern).to_owned(), (*why).to_owned())
    }));
    let failures: Vec<(String, Vec<String>)> = context
        .request
        .evidence
        .iter()
        .filter(|evidence| evidence.cluster.is_some())
        .filter_map(|evidence| {
            let text = scored_text(&evidence.run, &part)?;
            let answers = expected_answers(&evidence.case, context.project, &part);
            (!answers.is_empty()).then_some((text, answers))
        })
        .collect();
    let mut rated: Vec<(usize, (String, String, String))> = patterns
        .into_iter()
        .map(|entry| (mended(&entry.1, &failures), entry))
        .filter(|(mended, _)| failures.is_empty() || *mended > 0)
        .collect();
    // stable: equal ones keep the list's order
    rated.sort_by_key(|(mended, _)| std::cmp::Reverse(*mended));
    rated
        .into_iter()
        .map(|(mended, (name, pattern, why))| {
            let mut spec = context.spec.clone();
            let mut tree = context.request.tree.clone();
            let id = fresh_id(&spec, &format!("{output}_form"));
            rewire(&mut spec, &mut tree, output.as_str(), &id);
            spec.steps.push(StepSpec::Template(TemplateStep {
                id: StepId::new(&id),
                needs: Vec::new(),
                when: None,
                template: format!("{{{{ steps.{output}.text }}}}"),
                extract: Some(pattern),
                pointer: None,
            }));
            context.pipeline_idea(
                Technique::PostProcessor,
                format!("post_processor/{output}/{name}"),
                if failures.is_empty() {
                    why
                } else {
                    format!(
                        "{why}: true of {mended} of {} failures at hand",
                        failures.len()
                    )
                },
                &spec,
                tree,
            )
        })
        .collect()
}

/// A pattern for any of the labels, the longest first so that none hides another.
fn label_pattern(labels: &[String]) -> Option<String> {
    if labels.len() < 2 {
        return None;
    }
    let mut labels: Vec<&String> = labels.iter().collect();
    labels.sort_by_key(|label| (std::cmp::Reverse(label.len()), label.as_str()));
    let escaped: Vec<String> = labels.iter().map(|label| regex::escape(label)).collect();
    Some(format!(r"\b({})\b", escaped.join("|")))
}

/// How many failures the pattern would have mended.
fn mended(pattern: &str, failures: &[(String, Vec<String>)]) -> usize {
    let Ok(pattern) = Regex::new(pattern) else {
        return 0;
    };
    failures
        .iter()
        .filter(|(text, answers)| {
            let taken = pattern
                .captures(text)
                .and_then(|found| found.get(1).or_else(|| found.get(0)))
                .map_or(text.as_str(), |found| found.as_str());
            answers.iter().any(|answer| answer.trim() == taken.trim())
        })
        .count()
}
