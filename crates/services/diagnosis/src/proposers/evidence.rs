//! The context compiler: train evidence as text, within a budget of tokens.
//!
//! Sections come in a fixed order, each with its share of the budget; what a section does not use goes to the cases. Cases
//! are taken round by round over the clusters, the target first, so that each is represented before any is shown twice.
//! Text that all inputs share is written once. The same request gives the same bytes, and their hash is stored with the
//! proposal.
//!
//! Tokens are estimated as a third of the bytes: more than any tokenizer in use makes of ordinary text in most languages,
//! so the budget is not exceeded by an estimate that was too small.

mod case;
mod contract;

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::ContentHash;
use fapo_domain::model::finding::Attribution;
use fapo_domain::model::pipeline::PipelineSpec;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Evidence, ProposalRequest};
use serde_json::Value;

use case::case_block;
use contract::contract;

use super::edit::{PIPELINE_FILE, llm_steps};
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
    let mut page = Page {
        text: String::new(),
        budget,
    };
    page.section("How it does", &summary(&request.attribution), budget / 10);
    page.section(
        "What you may change",
        &contract(project, request),
        budget / 12,
    );
    let shown = files(request, spec, &mut page, budget / 2);
    if let Some(playbook) = request.playbook.as_deref() {
        page.section("What the project's owner says", playbook, budget / 12);
    }
    page.section("What was tried from here", &history(request), budget / 8);
    cases(request, &mut page);
    let hash = ContentHash::of(page.text.as_bytes());
    Compiled {
        text: page.text,
        hash,
        shown,
    }
}

/// Text that never grows beyond its budget.
struct Page {
    text: String,
    budget: usize,
}

impl Page {
    fn left(&self) -> usize {
        self.budget.saturating_sub(self.text.len())
    }

    /// Adds a section of at most `most` bytes, heading included; an empty body adds nothing.
    fn section(&mut self, heading: &str, body: &str, most: usize) {
        let heading = format!("# {heading}\n\n");
        let most = most.min(self.left());
        if body.trim().is_empty() || most <= heading.len() + 40 {
            return;
        }
        let body = within(body.trim_end(), most - heading.len() - 2);
        self.text.push_str(&heading);
        self.text.push_str(&body);
        self.text.push_str("\n\n");
    }
}

/// The text, or its start with a mark, in at most `bytes` bytes.
fn within(text: &str, bytes: usize) -> String {
    const MARK: &str = " …";
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if bytes < MARK.len() {
        String::new()
    } else {
        format!("{}{MARK}", &text[..end])
    }
}

fn summary(attribution: &Attribution) -> String {
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

fn history(request: &ProposalRequest) -> String {
    request
        .history
        .iter()
        .filter(|attempt| attempt.parent == request.parent)
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
fn rounds(request: &ProposalRequest) -> Vec<usize> {
    let target = request.cluster.as_ref().map(|cluster| cluster.id.as_str());
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for (index, evidence) in request.evidence.iter().enumerate() {
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

fn cases(request: &ProposalRequest, page: &mut Page) {
    let shared = shared_starts(&request.evidence);
    if !shared.is_empty() {
        let body: String = shared
            .iter()
            .map(|(key, start)| format!("Every `{key}` starts with: {}\n", one_line(start, 300)))
            .collect();
        page.section("What all inputs share", &body, page.budget / 12);
    }
    let failing = rounds(request);
    let passing: Vec<usize> = request
        .evidence
        .iter()
        .enumerate()
        .filter(|(_, evidence)| evidence.cluster.is_none())
        .map(|(index, _)| index)
        .take(PASSING)
        .collect();
    let heading = "# Cases\n\n";
    if page.left() < heading.len() + LEAST_CASE {
        return;
    }
    let mut order: Vec<usize> = failing;
    let places = ((page.left() - heading.len()) / LEAST_CASE).max(1);
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
    page.text.push_str(heading);
    let count = order.len();
    for (done, index) in order.into_iter().enumerate() {
        let share = page.left() / (count - done);
        if share < LEAST_CASE / 2 {
            break;
        }
        let block = case_block(&request.evidence[index], &shared, share.saturating_sub(2));
        page.text.push_str(&block);
        page.text.push('\n');
    }
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
