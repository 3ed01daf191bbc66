//! The context compiler: train evidence as text, within a budget of tokens.
//!
//! Sections come in a fixed order, each with its share of the budget; what a section does not use goes to the cases. Cases
//! are taken round by round over the clusters, the target first, so that each is represented before any is shown twice.
//! Text that all inputs share is written once. The same request gives the same bytes, and their hash is stored with the
//! proposal.
//!
//! Tokens are estimated as a third of the bytes: more than any tokenizer in use makes of ordinary text in most languages,
//! so the budget is not exceeded by an estimate that was too small.
//!
//! What cases, documents and earlier models wrote stands between lines that no text can imitate ([`crate::enclosure`]).

pub(crate) mod case;
mod contract;
pub(crate) mod page;

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::ContentHash;
use fapo_domain::model::finding::Attribution;
use fapo_domain::model::level::Strategy;
use fapo_domain::model::pipeline::PipelineSpec;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Attempt, Evidence, ProposalRequest};
use fapo_project::unified_diff;
use serde_json::Value;

use case::case_block;
use contract::contract;
use page::{Page, within};

use super::edit::{PIPELINE_FILE, llm_steps};
use crate::enclosure::{Enclosure, LINES};
use crate::lints::added::texts;
use crate::text::one_line;

/// Bytes that count as one token.
const BYTES_PER_TOKEN: usize = 3;
/// A case in fewer bytes says nothing.
const LEAST_CASE: usize = 320;
/// Passing cases shown, to say what must not break.
const PASSING: usize = 2;
/// A shared start shorter than this is not worth taking out.
const LEAST_SHARED: usize = 80;

/// Compiled evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The text.
    pub text: String,
    /// Its hash.
    pub hash: ContentHash,
    /// Files that are shown in full: only these may be replaced.
    pub shown: BTreeSet<String>,
    /// The mark on the lines that enclose what cases and models wrote.
    pub mark: String,
}

/// The estimate of tokens of a text; never less than the real number for ordinary text.
pub fn estimated_tokens(text: &str) -> usize {
    text.len().div_ceil(BYTES_PER_TOKEN)
}

/// Compiles a request's evidence to at most `tokens` (estimated) tokens.
pub fn compile(
    project: &ProjectSpec,
    request: &ProposalRequest,
    spec: Option<&PipelineSpec>,
    tokens: u32,
) -> Compiled {
    let budget = tokens as usize * BYTES_PER_TOKEN;
    let mut page = Page::new(budget);
    let told = told(request);
    let enclosure = Enclosure::of(&told.iter().map(String::as_str).collect::<Vec<_>>());
    page.section("How it does", &summary(&request.attribution), budget / 10);
    page.enclosed(
        "What was read in some failures",
        &readings(&request.attribution),
        budget / 12,
        &enclosure,
    );
    page.section(
        "What you may change",
        &contract(project, request),
        budget / 12,
    );
    let shown = files(request, spec, &mut page, budget / 2);
    if let Some(playbook) = request.playbook.as_deref() {
        page.section("What the project's owner says", playbook, budget / 12);
    }
    page.section(
        "How to go about it",
        &strategy_words(&request.strategy),
        budget / 12,
    );
    page.enclosed(
        "What a reviewer found in your first try",
        &first_try(request),
        budget / 6,
        &enclosure,
    );
    page.enclosed(
        "What was tried from here",
        &history(request),
        budget / 8,
        &enclosure,
    );
    cases(request, &mut page, &enclosure);
    let hash = ContentHash::of(page.text.as_bytes());
    Compiled {
        text: page.text,
        hash,
        shown,
        mark: enclosure.mark(),
    }
}

/// Every text of a request that was written by a case, a model or a document.
fn told(request: &ProposalRequest) -> Vec<String> {
    let mut told = vec![
        history(request),
        first_try(request),
        readings(&request.attribution),
    ];
    // plain data; what could not be written would not be shown either
    told.extend(
        request
            .evidence
            .iter()
            .map(|evidence| serde_json::to_string(evidence).unwrap_or_default()),
    );
    told
}

/// A strategy as a proposer is told of it; nothing where it is free.
pub fn strategy_words(strategy: &Strategy) -> String {
    match strategy {
        Strategy::Free => String::new(),
        Strategy::OtherTechnique { avoid } => {
            let names: Vec<String> = avoid.iter().map(ToString::to_string).collect();
            format!(
                "What was tried did not help. Use a technique that was not tried yet: none of {}.",
                names.join(", ")
            )
        }
        Strategy::IsolateStep { step } => format!(
            "What was tried did not help. Change step `{step}` and nothing else, and look at what exactly goes wrong there."
        ),
        Strategy::Ablation => "What was tried did not help. Take something away this time: an instruction, an example or a step that does not pay its way. Add nothing.".to_owned(),
    }
}

/// The change that a review failed, and what it found.
fn first_try(request: &ProposalRequest) -> String {
    let Some(revision) = &request.revise else {
        return String::new();
    };
    let asked = &revision.asked;
    let mut out = format!(
        "Your first try: {} ({}): {}\n",
        one_line(&asked.idea, 120),
        asked.technique,
        one_line(&asked.hypothesis, 400)
    );
    for finding in &asked.findings {
        out.push_str(&format!(
            "- {}: {}\n",
            finding.severity.as_str(),
            finding.words()
        ));
    }
    out.push_str(&unified_diff(&request.tree, &revision.tree));
    out
}

pub(crate) fn summary(attribution: &Attribution) -> String {
    let mut out = format!(
        "Mean score {:.3} over {} cases; {} of them fail.\nPatterns of failure, those that cost most first:\n",
        attribution.mean, attribution.cases, attribution.failures
    );
    for cluster in &attribution.clusters {
        out.push_str(&format!(
            "- {}: {} ({} cases, {:.3} points, {} level). {}.\n",
            cluster.id,
            cluster.label,
            cluster.count,
            cluster.recoverable.estimate,
            cluster.level,
            cluster.direction
        ));
    }
    out
}

/// What a model read in failures, in one line each.
pub(crate) fn readings(attribution: &Attribution) -> String {
    let mut out = String::new();
    for cluster in &attribution.clusters {
        for read in &cluster.readings {
            out.push_str(&format!(
                "- {}: {} at {}: {} (\"{}\")\n",
                cluster.id,
                read.reading.kind.as_str(),
                read.reading.step,
                one_line(&read.reading.explanation, 160),
                one_line(&read.reading.quote, 100)
            ));
        }
    }
    out
}

fn history(request: &ProposalRequest) -> String {
    let from_here = |attempt: &&Attempt| attempt.parent == request.parent;
    tried(request.history.iter().filter(from_here))
}

/// Attempts in one line each, the latest first.
pub(crate) fn tried<'a>(attempts: impl DoubleEndedIterator<Item = &'a Attempt>) -> String {
    attempts
        .rev()
        .map(|attempt| {
            let outcome = serde_json::to_value(attempt.outcome)
                .ok()
                .and_then(|value| value.as_str().map(str::to_owned))
                .unwrap_or_default();
            format!(
                "- {}: {}: {} ({})\n",
                outcome,
                one_line(&attempt.idea, 80),
                one_line(&attempt.hypothesis, 160),
                one_line(&attempt.reason, 120)
            )
        })
        .collect()
}

/// The pipeline's files: the target's prompt first, then the pipeline, then the rest. Each is shown whole or not at all.
fn files(
    request: &ProposalRequest,
    spec: Option<&PipelineSpec>,
    page: &mut Page,
    most: usize,
) -> BTreeSet<String> {
    let mut order: Vec<&str> = Vec::new();
    if let (Some(spec), Some(cluster)) = (spec, &request.cluster) {
        order.extend(
            llm_steps(spec)
                .into_iter()
                .filter(|(top, _)| **top == cluster.step)
                .map(|(_, llm)| llm.prompt.as_str()),
        );
    }
    order.push(PIPELINE_FILE);
    order.extend(texts(&request.tree).map(|(path, _)| path));
    let mut shown = BTreeSet::new();
    let mut left_out = Vec::new();
    let mut body = String::new();
    let heading = "# The pipeline's files\n\n";
    let room = most.min(page.left()).saturating_sub(heading.len() + 2);
    let mut seen = BTreeSet::new();
    for path in order {
        if !seen.insert(path) {
            continue;
        }
        let Some(text) = request.tree.text(path) else {
            continue;
        };
        let block = format!("=== {path}\n{}\n=== end of {path}\n", text.trim_end());
        if body.len() + block.len() + 200 <= room {
            body.push_str(&block);
            shown.insert(path.to_owned());
        } else {
            left_out.push(path);
        }
    }
    if !left_out.is_empty() {
        let note = format!("Not shown, and not to be changed: {}", left_out.join(", "));
        body.push_str(&within(&note, 190));
    }
    page.section("The pipeline's files", &body, most);
    shown
}

/// Indices of the failing evidence: one of each cluster, then a second of each, the target's cluster first.
fn rounds(all: &[Evidence], target: Option<&str>) -> Vec<usize> {
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for (index, evidence) in all.iter().enumerate() {
        let Some(cluster) = evidence.cluster.as_deref() else {
            continue;
        };
        match groups.iter_mut().find(|(id, _)| *id == cluster) {
            Some((_, members)) => members.push(index),
            None => groups.push((cluster, vec![index])),
        }
    }
    groups.sort_by_key(|(id, _)| Some(*id) != target);
    let most = groups
        .iter()
        .map(|(_, members)| members.len())
        .max()
        .unwrap_or(0);
    (0..most)
        .flat_map(|round| {
            groups
                .iter()
                .filter_map(move |(_, members)| members.get(round).copied())
        })
        .collect()
}

fn cases(request: &ProposalRequest, page: &mut Page, enclosure: &Enclosure) {
    let target = request.cluster.as_ref().map(|cluster| cluster.id.as_str());
    add_cases(&request.evidence, target, PASSING, page, enclosure);
}

/// Fills what is left of a page with cases: failing ones round by round, the target's first, and a few passing ones.
pub(crate) fn add_cases(
    evidence: &[Evidence],
    target: Option<&str>,
    most_passing: usize,
    page: &mut Page,
    enclosure: &Enclosure,
) {
    let shared = shared_starts(evidence);
    if !shared.is_empty() {
        let body: String = shared
            .iter()
            .map(|(key, start)| format!("Every `{key}` starts with: {}\n", one_line(start, 300)))
            .collect();
        page.enclosed("What all inputs share", &body, page.budget / 12, enclosure);
    }
    let failing = rounds(evidence, target);
    let passing: Vec<usize> = evidence
        .iter()
        .enumerate()
        .filter(|(_, evidence)| evidence.cluster.is_none())
        .map(|(index, _)| index)
        .take(most_passing)
        .collect();
    let heading = "# Cases\n\n";
    let around = heading.len() + LINES + 1;
    if page.left() < around + LEAST_CASE {
        return;
    }
    let mut order: Vec<usize> = failing;
    let places = ((page.left() - around) / LEAST_CASE).max(1);
    // a passing case is worth a place once three failing ones have theirs
    if places > 3 {
        let at = order.len().min(places - 1 - passing.len().min(places - 4));
        for (offset, index) in passing.iter().enumerate() {
            order.insert((at + offset).min(order.len()), *index);
        }
    }
    order.truncate(places);
    if order.is_empty() {
        return;
    }
    let mut body = String::new();
    let room = page.left() - around;
    let count = order.len();
    for (done, index) in order.into_iter().enumerate() {
        let share = (room - body.len()) / (count - done);
        if share < LEAST_CASE / 2 {
            break;
        }
        let block = case_block(&evidence[index], &shared, share.saturating_sub(2));
        body.push_str(&block);
        body.push('\n');
    }
    page.text.push_str(heading);
    page.text.push_str(&enclosure.around(&body));
}

/// For each input key: the start that all cases share, up to a word's end, where it is long enough.
fn shared_starts(evidence: &[Evidence]) -> BTreeMap<String, String> {
    let mut starts: BTreeMap<String, String> = BTreeMap::new();
    let Some((first, rest)) = evidence.split_first() else {
        return starts;
    };
    if rest.len() < 2 {
        return starts;
    }
    for (key, value) in &first.case.input {
        let Some(text) = value.as_str() else { continue };
        let mut length = text.len();
        for other in rest {
            let Some(other) = other.case.input.get(key).and_then(Value::as_str) else {
                length = 0;
                break;
            };
            let common = text
                .char_indices()
                .zip(other.chars())
                .find(|((_, a), b)| a != b)
                .map_or_else(|| text.len().min(other.len()), |((at, _), _)| at);
            length = length.min(common);
        }
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        let length = text[..length]
            .rfind(char::is_whitespace)
            .map_or(0, |at| at + 1);
        if length >= LEAST_SHARED {
            starts.insert(key.clone(), text[..length].to_owned());
        }
    }
    starts
}

#[cfg(test)]
mod tests;
