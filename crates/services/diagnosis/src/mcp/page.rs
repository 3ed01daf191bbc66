//! The tools that show a case: `case` and `step`.

use std::fmt::Write;

use fapo_domain::model::case::Case;
use fapo_domain::model::finding::Finding;
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::trace::{RunRecord, StepRecord};
use rmcp::schemars;
use rmcp::schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{cut_value, object, page, rounded, shorten};
use super::session::{Session, ToolError, sealed};
use crate::attribution::retrieval::queries;
use crate::text::{cut, one_line};

// without doc comments, which would go into the schema of each tool that takes one
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(crate = "schemars", inline)]
#[serde(rename_all = "snake_case")]
pub(super) enum SplitName {
    Train,
    Val,
    Test,
}

/// A case.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct OneCase {
    /// The case's id, as `clusters` and `analyze` name it.
    #[serde(default)]
    case_id: String,
    /// train where left out; val answers with the mean only, test is sealed.
    #[serde(default)]
    split: Option<SplitName>,
}

/// A step of a case.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct OneStep {
    /// The case's id.
    case_id: String,
    /// The step's id, as `case` names it.
    step: String,
    /// Byte to go on from, as a `more` says.
    #[serde(default)]
    from: u32,
}

/// One train case with all that is known of it, texts cut.
pub(super) async fn case(session: &Session, asked: OneCase) -> Result<Value, ToolError> {
    match asked.split {
        None | Some(SplitName::Train) => {}
        Some(SplitName::Test) => return Err(sealed()),
        Some(SplitName::Val) => {
            if !asked.case_id.is_empty() {
                session
                    .log
                    .refused("case: a case of validation, answered with the mean");
            }
            return Ok(val(session));
        }
    }
    if asked.case_id.is_empty() {
        return Err(ToolError::Wrong("name a case by its `case_id`".to_owned()));
    }
    let (ordinal, case) = session.train_case(&asked.case_id).await?;
    let run = session.runs(&[ordinal]).await?.pop();
    let score = session.score(ordinal).await?;
    let findings = session.findings().await?;
    let finding = findings.iter().find(|finding| finding.ordinal == ordinal);
    Ok(shorten(|limit| {
        one_case(&case, run.as_ref(), score.as_ref(), finding, limit)
    }))
}

/// What is told of validation.
pub(super) fn val(session: &Session) -> Value {
    match session.grant.val {
        Some(val) => json!({
            "split": "val",
            "cases": val.cases,
            "mean_of_the_incumbent": (val.mean * 100.0).round() / 100.0,
            "note": "of validation nothing finer is told",
        }),
        None => json!({
            "split": "val",
            "note": "of validation only the incumbent's mean is told, and it is not known yet",
        }),
    }
}

fn one_case(
    case: &Case,
    run: Option<&RunRecord>,
    score: Option<&CaseScore>,
    finding: Option<&Finding>,
    limit: usize,
) -> Value {
    let fields =
        |map: &serde_json::Map<String, Value>| cut_value(&Value::Object(map.clone()), limit);
    json!({
        "case_id": case.case_id,
        "input": fields(&case.input),
        "expected": fields(&case.expected),
        "score": score.filter(|score| score.status.counts()).map(|score| rounded(score.score)),
        "status": score.map(|score| score.status),
        "metrics": score.map(|score| &score.breakdown),
        "feedback": score.map(|score| cut(&score.feedback, limit)),
        "finding": finding.map(|finding| json!({
            "cluster": cluster_of(finding),
            "level": finding.level,
            "confidence": rounded(finding.confidence),
            "seen": cut(&finding.detail, limit),
        })),
        "output": run.and_then(|run| run.output_text.as_deref()).map(|text| cut(text, limit)),
        "ended": run.map(|run| json!({"status": run.status, "reason": run.reason})),
        "steps": run.map(|run| run.steps.iter().map(|step| short_step(step, limit / 2)).collect::<Vec<_>>()),
    })
}

/// The id of a finding's cluster.
pub(super) fn cluster_of(finding: &Finding) -> String {
    format!("{}@{}", finding.rule.name(), finding.step)
}

fn short_step(step: &StepRecord, limit: usize) -> Value {
    let mut row = json!({
        "step": step.step,
        "kind": step.kind,
        "status": step.status,
    });
    if let Some(output) = &step.output {
        match &output.docs {
            Some(docs) => {
                let titles: Vec<String> = docs
                    .iter()
                    .take(40)
                    .map(|found| one_line(name(&found.document.title, &found.document.doc_id), 80))
                    .collect();
                row["found"] = json!(titles);
            }
            None => row["said"] = json!(cut(&output.text, limit)),
        }
    }
    if let Some(error) = &step.error {
        row["error"] = json!(one_line(error, limit));
    }
    row
}

/// A document's title, or its id where it has none.
pub(super) fn name<'a>(title: &'a str, id: &'a str) -> &'a str {
    if title.is_empty() { id } else { title }
}

/// One step in full.
pub(super) async fn step(session: &Session, asked: OneStep) -> Result<Value, ToolError> {
    let (ordinal, case) = session.train_case(&asked.case_id).await?;
    let run = session
        .runs(&[ordinal])
        .await?
        .pop()
        .ok_or_else(|| ToolError::Wrong("the parent was not run on this case".to_owned()))?;
    let Some(step) = run.step(&asked.step) else {
        let there: Vec<&str> = run.steps.iter().map(|step| step.step.as_str()).collect();
        return Err(ToolError::Wrong(format!(
            "this case has no step `{}`; it has: {}",
            one_line(&asked.step, 60),
            one_line(&there.join(", "), 600)
        )));
    };
    let head = json!({
        "case_id": case.case_id,
        "step": step.step,
        "kind": step.kind,
        "status": step.status,
        "finish": step.finish,
        "tokens_in": step.full_spend.usage.input_tokens,
        "tokens_out": step.full_spend.usage.output_tokens,
        "ms": step.full_duration_ms,
    });
    Ok(page(object(head), &in_full(step), asked.from as usize))
}

/// A step's input and output as text, nothing left out.
fn in_full(step: &StepRecord) -> String {
    let mut out = String::new();
    // writing to a text cannot fail
    let mut part = |heading: &str, text: &str| {
        let _ = write!(out, "=== {heading}\n{text}\n");
    };
    match step.input.as_ref() {
        Some(Value::Array(messages)) => {
            for message in messages {
                let of = |key| message.get(key).and_then(Value::as_str).unwrap_or_default();
                part(&format!("message: {}", of("role")), of("content"));
            }
        }
        Some(input) => {
            let asked = queries(step);
            if asked.is_empty() {
                part("input", &input.to_string());
            } else {
                part("queries", &asked.join("\n"));
            }
        }
        None => {}
    }
    if let Some(output) = &step.output {
        if output.docs.is_none() || !output.text.is_empty() {
            part("output", &output.text);
        }
        if let Some(json) = &output.json {
            part("output as JSON", &json.to_string());
        }
        for (place, found) in output.docs.iter().flatten().enumerate() {
            let document = &found.document;
            part(
                &format!(
                    "document {}: {} ({})",
                    place + 1,
                    document.title,
                    document.doc_id
                ),
                &document.text,
            );
        }
        if !output.beyond.is_empty() {
            let beyond: Vec<&str> = output
                .beyond
                .iter()
                .map(|(id, title)| name(title, id))
                .collect();
            part("ranked just below", &beyond.join("\n"));
        }
    }
    if let Some(error) = &step.error {
        part("error", error);
    }
    out
}
