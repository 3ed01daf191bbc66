//! One case of the evidence as text.

use std::collections::BTreeMap;

use fapo_domain::model::proposal::Evidence;
use fapo_domain::model::trace::{RetrievedDocument, StepRecord};
use serde_json::Value;

use super::page::within;
use crate::attribution::flow::base;
use crate::attribution::retrieval::queries;
use crate::text::{cut, one_line};

/// A passage in fewer characters says nothing beyond its title.
const LEAST_PASSAGE: usize = 40;

/// One case in at most `bytes` bytes: long values are cut harder until it fits.
pub(crate) fn case_block(
    evidence: &Evidence,
    shared: &BTreeMap<String, String>,
    bytes: usize,
) -> String {
    let mut block = String::new();
    for limit in [2000, 1000, 500, 250, 120, 60] {
        block = case_text(evidence, shared, limit);
        if block.len() <= bytes {
            return block;
        }
    }
    within(&block, bytes)
}

fn case_text(evidence: &Evidence, shared: &BTreeMap<String, String>, limit: usize) -> String {
    let mut out = match &evidence.cluster {
        Some(cluster) => format!("## Fails: {cluster} (score {:.2})\n", evidence.score),
        None => format!("## Passes (score {:.2}): must not break\n", evidence.score),
    };
    if !evidence.detail.is_empty() {
        out.push_str(&format!("seen: {}\n", cut(&evidence.detail, limit)));
    }
    if !evidence.feedback.is_empty() {
        out.push_str(&format!(
            "feedback: {}\n",
            one_line(&evidence.feedback, limit)
        ));
    }
    for (key, value) in &evidence.case.input {
        let text = plain(value);
        let text = match shared
            .get(key)
            .and_then(|start| text.strip_prefix(start.as_str()))
        {
            Some(rest) => format!("[shared start] {rest}"),
            None => text,
        };
        out.push_str(&format!("input {key}: {}\n", one_line(&text, limit)));
    }
    for (key, value) in &evidence.case.expected {
        out.push_str(&format!(
            "expected {key}: {}\n",
            one_line(&plain(value), limit)
        ));
    }
    let blamed = evidence
        .cluster
        .as_deref()
        .and_then(|cluster| Some(cluster.split_once('@')?.1));
    for step in &evidence.run.steps {
        if blamed == Some(base(&step.step))
            && let Some(input) = given(step)
        {
            out.push_str(&format!(
                "step {} was given: {}\n",
                step.step,
                both_ends(&input, limit)
            ));
        }
        let Some(output) = &step.output else {
            if let Some(error) = &step.error {
                out.push_str(&format!(
                    "step {} failed: {}\n",
                    step.step,
                    one_line(error, limit)
                ));
            }
            continue;
        };
        match &output.docs {
            Some(docs) => {
                out.push_str(&format!(
                    "step {} found: {}\n",
                    step.step,
                    passages(docs, limit)
                ));
            }
            None => out.push_str(&format!(
                "step {} wrote: {}\n",
                step.step,
                one_line(&output.text, limit)
            )),
        }
    }
    if let Some(output) = &evidence.run.output_text {
        out.push_str(&format!("output: {}\n", one_line(output, limit)));
    }
    out
}

/// Titles with the start of each text. The titles alone, where there are too many to say more.
fn passages(docs: &[RetrievedDocument], limit: usize) -> String {
    let share = limit / docs.len().max(1);
    let all: Vec<String> = docs
        .iter()
        .map(|found| match share {
            0..LEAST_PASSAGE => found.document.title.clone(),
            _ => one_line(
                &format!("{}: {}", found.document.title, found.document.text),
                share,
            ),
        })
        .collect();
    one_line(&all.join("; "), limit)
}

/// What a step was given: a model's rendered messages, or the queries of a retrieval.
fn given(step: &StepRecord) -> Option<String> {
    let input = step.input.as_ref()?;
    let said: Vec<String> = match input.as_array() {
        Some(messages) => messages
            .iter()
            .map(|message| {
                let part = |key| message.get(key).and_then(Value::as_str).unwrap_or_default();
                format!("{}: {}", part("role"), part("content"))
            })
            .collect(),
        None => queries(step),
    };
    (!said.is_empty()).then(|| said.join(" "))
}

/// The text in one line; of a longer one its start and its end, where a prompt has its instructions and its question.
fn both_ends(text: &str, limit: usize) -> String {
    let line = one_line(text, text.len());
    let count = line.chars().count();
    if count <= limit {
        return line;
    }
    let half = limit / 2;
    let tail: String = line.chars().skip(count - half).collect();
    format!("{} {}", cut(&line, half), tail.trim_start())
}

pub(crate) fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
