//! The tool that runs Python over the train runs: `analyze`. And the table it runs over.
//!
//! The table is one JSON object a line, one line a train case, with flat keys, so that it can be counted and grouped without
//! walking through records. It is made once a session and held within a bound; a script gets it as a file, beside a small
//! library of our own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::case::Case;
use fapo_domain::model::finding::Finding;
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::trace::{RunRecord, StepRecord};
use fapo_domain::ports::code::{CodeError, ScriptRequest};
use fapo_domain::ports::sandbox::ProcessExit;
use rmcp::schemars;
use rmcp::schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::shorten;
use super::page::{cluster_of, name};
use super::session::{Session, ToolError, broken};
use crate::attribution::retrieval::queries;
use crate::text::cut;

/// Rows of the table.
const ROWS: usize = 5000;
/// Bytes of the table.
const BYTES: usize = 32 * 1024 * 1024;
/// Characters of a text in it.
const TEXT: usize = 4000;
/// Scores read at a time.
const PAGE: u32 = 256;
/// Runs held at a time; a run can be large.
const RUNS: usize = 32;
/// Bytes of a script.
const CODE: usize = 64 * 1024;
/// Time of a script.
const TIME: Duration = Duration::from_secs(20);
/// Memory of a script.
const MEMORY: u64 = 768 * 1024 * 1024;
/// Bytes of its output that are kept.
const OUTPUT: usize = 12 * 1024;

/// Our library for scripts.
const LIBRARY: &str = include_str!("fapo_runs.py");

/// A script.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    /// Python; what it prints is the answer.
    code: String,
}

/// The train runs, as a script reads them.
#[derive(Debug)]
pub(super) struct Table {
    lines: Arc<[u8]>,
    rows: usize,
    of: u64,
}

/// Runs a script over the table.
pub(super) async fn analyze(session: &Session, asked: Script) -> Result<Value, ToolError> {
    if asked.code.len() > CODE {
        return Err(ToolError::Wrong(format!(
            "the script has {} bytes; it may have {CODE}",
            asked.code.len()
        )));
    }
    let _alone = session
        .heavy
        .acquire()
        .await
        .map_err(|_| ToolError::Ended)?;
    let table = session
        .table
        .get_or_try_init(async || build(session).await.map(Arc::new))
        .await?;
    if session.analyses.take(1) == 0 {
        return Err(ToolError::Refused(
            "this session has run as many scripts as it may".to_owned(),
        ));
    }
    let about = json!({"rows": table.rows, "of": table.of});
    let files: BTreeMap<String, Arc<[u8]>> = [
        ("runs.jsonl", table.lines.clone()),
        ("about.json", Arc::from(about.to_string().as_bytes())),
        ("fapo_runs.py", Arc::from(LIBRARY.as_bytes())),
    ]
    .into_iter()
    .map(|(path, content)| (path.to_owned(), content))
    .collect();
    let request = ScriptRequest {
        source: asked.code,
        files,
        time: TIME,
        memory_bytes: MEMORY,
        output_bytes: OUTPUT,
    };
    let reply = match session.ports.scripts.run(request).await {
        Ok(reply) => reply,
        Err(error) => {
            session.analyses.give_back(1);
            return Err(match error {
                CodeError::Unavailable { .. } => {
                    broken("a session's script could not be run")(error)
                }
                // what the script itself did is a reply; these are not to be expected
                CodeError::Failed { .. } | CodeError::Died { .. } | CodeError::TimedOut { .. } => {
                    ToolError::Wrong("the script gave no answer".to_owned())
                }
            });
        }
    };
    session.log.analysed();
    let ended = match reply.exit {
        ProcessExit::Code { code: 0 } => "done".to_owned(),
        ProcessExit::Code { code } => format!("failed with code {code}"),
        ProcessExit::Signal { signal } => {
            format!("killed by signal {signal}; it may use {} MiB", MEMORY >> 20)
        }
        ProcessExit::TimedOut => format!("stopped after {} s", TIME.as_secs()),
        ProcessExit::Killed => "stopped".to_owned(),
    };
    let left = session.analyses.left();
    Ok(shorten(|limit| {
        // an output is worth more room than a text of a case
        let room = limit * 2;
        let mut answer = json!({
            "ended": ended,
            "printed": cut(&reply.stdout, room),
            "analyses_left": left,
        });
        if !reply.stderr.is_empty() {
            answer["errors"] = json!(tail(&reply.stderr, limit / 2));
        }
        if reply.truncated {
            answer["note"] = json!("more was printed than is shown");
        }
        if (table.rows as u64) < table.of {
            answer["rows"] = json!(format!("the first {} of {} cases", table.rows, table.of));
        }
        answer
    }))
}

/// The end of a text: of a traceback the part that says what happened.
fn tail(text: &str, limit: usize) -> String {
    let count = text.chars().count();
    if count <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(count - limit).collect();
    format!("…{kept}")
}

/// Reads scores page by page, and cases and runs a few at a time.
async fn build(session: &Session) -> Result<Table, ToolError> {
    let findings = session.findings().await?;
    let findings: HashMap<u64, &Finding> = findings
        .iter()
        .map(|finding| (finding.ordinal, finding))
        .collect();
    let id = session.grant.evaluation.id();
    let mut lines: Vec<u8> = Vec::new();
    let mut rows = 0;
    let mut of = 0u64;
    let mut from = 0u64;
    let mut full = false;
    loop {
        let page = session.ports.scores.scores(id, from, PAGE).await;
        let page = page.map_err(broken("cannot read scores"))?;
        let Some(last) = page.last() else { break };
        from = last.score.ordinal.saturating_add(1);
        of += page.len() as u64;
        for chunk in page.chunks(RUNS) {
            if full {
                break;
            }
            let ordinals: Vec<u64> = chunk.iter().map(|row| row.score.ordinal).collect();
            let cases = session.train_cases(&ordinals).await?;
            let runs = session.runs(&ordinals).await?;
            let runs: HashMap<u64, &RunRecord> =
                runs.iter().map(|run| (run.ordinal, run)).collect();
            for (scored, case) in chunk.iter().zip(&cases) {
                let score = &scored.score;
                let run = runs.get(&score.ordinal).copied();
                let finding = findings.get(&score.ordinal).copied();
                let line = row(case, score, session.fails(score), run, finding).to_string();
                if rows == ROWS || lines.len() + line.len() + 1 > BYTES {
                    full = true;
                    break;
                }
                lines.extend_from_slice(line.as_bytes());
                lines.push(b'\n');
                rows += 1;
            }
        }
    }
    Ok(Table {
        lines: lines.into(),
        rows,
        of,
    })
}

fn row(
    case: &Case,
    score: &CaseScore,
    failed: bool,
    run: Option<&RunRecord>,
    finding: Option<&Finding>,
) -> Value {
    let mut row = Map::new();
    let mut put = |key: &str, value: Value| {
        row.insert(key.to_owned(), value);
    };
    put("case_id", json!(case.case_id));
    // a missing result is no zero
    let counts = score.status.counts();
    put("score", json!(counts.then_some(score.score)));
    put("status", json!(score.status));
    put("failed", json!(failed));
    put("feedback", json!(cut(&score.feedback, TEXT)));
    put("rule", json!(finding.map(|finding| finding.rule)));
    put("blamed_step", json!(finding.map(|finding| &finding.step)));
    put("level", json!(finding.map(|finding| finding.level)));
    put("cluster", json!(finding.map(cluster_of)));
    put(
        "seen",
        json!(finding.map(|finding| cut(&finding.detail, TEXT))),
    );
    for (prefix, map) in [("input", &case.input), ("expected", &case.expected)] {
        for (key, value) in map {
            put(&format!("{prefix}.{key}"), within(value));
        }
    }
    for (metric, value) in &score.breakdown {
        put(&format!("metric.{metric}"), json!(value));
    }
    let output = run.and_then(|run| run.output_text.as_deref());
    put("output", json!(output.map(|text| cut(text, TEXT))));
    put("ms", json!(run.map(|run| run.full_duration_ms)));
    put("usd", json!(run.map(|run| run.full_spend.cost.usd())));
    put("calls", json!(run.map(|run| run.full_spend.model_calls)));
    let steps = run.map(|run| run.steps.as_slice()).unwrap_or_default();
    for step in steps {
        put_step(step, &mut put);
    }
    Value::Object(row)
}

fn put_step(step: &StepRecord, put: &mut impl FnMut(&str, Value)) {
    let mut put = |key: &str, value: Value| put(&format!("{}.{key}", step.step), value);
    let output = step.output.as_ref();
    let text = output.map(|output| output.text.as_str());
    put("text", json!(text.map(|text| cut(text, TEXT))));
    put("chars", json!(text.map(|text| text.chars().count())));
    put("tokens", json!(step.full_spend.usage.output_tokens));
    put("ms", json!(step.full_duration_ms));
    put("error", json!(step.error_kind));
    if let Some(docs) = output.and_then(|output| output.docs.as_ref()) {
        let titles: Vec<&str> = docs
            .iter()
            .map(|found| name(&found.document.title, &found.document.doc_id))
            .collect();
        put("docs", json!(titles));
        put("query", json!(cut(&queries(step).join(" | "), TEXT)));
    }
}

/// A case's value; a long text is cut, and what is nested and long becomes text.
fn within(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(cut(text, TEXT)),
        Value::Array(_) | Value::Object(_) => {
            let text = value.to_string();
            if text.len() <= TEXT {
                value.clone()
            } else {
                json!(cut(&text, TEXT))
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
