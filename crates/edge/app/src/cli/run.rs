//! `fapo run`: one case, every step shown.

use std::fmt::Write as _;

use fapo_domain::CaseId;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::job::{JobGoal, JobSpec};
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::trace::{RunRecord, RunStatus, StepRecord, StepStatus};
use fapo_domain::problem::Problems;
use serde_json::Value;

use super::args::RunArgs;
use super::session::Session;
use super::{Context, advice::Advice, find};
use crate::exit::Exit;
use crate::output::format;
use crate::output::style::{Style, printable};
use crate::project::read_tree;

/// Lines of a text shown without `-v`.
const LINES: usize = 12;

pub async fn run(context: &Context, args: &RunArgs) -> anyhow::Result<Exit> {
    let session = match Session::open(context, &args.dir).await? {
        Ok(session) => session,
        Err(exit) => return Ok(exit),
    };
    // nobody proposes or reviews: what only they need is not asked for
    let goal = JobGoal::Evaluate {
        split: Split::Train,
        cases: Some(1),
        sample: 0,
    };
    let spec = match session.import(context, goal).await? {
        Ok(spec) => spec,
        Err(exit) => return Ok(exit),
    };
    let (case, scored) = case(&session, &spec, args).await?;
    let tree = match &args.variant {
        Some(name) => {
            let current = || Ok(read_tree(&args.dir, &mut Problems::new())?);
            find::variant(&session.ports, name, None, current)
                .await?
                .tree
        }
        None => session.project.tree.clone(),
    };
    let run = Box::pin(session.engine.run_case(&spec, &tree, &case, args.fresh)).await?;
    let score = if scored {
        Some(session.engine.score_run(&spec, &case, &run).await?)
    } else {
        None
    };
    if context.output.json {
        let mut shown = serde_json::json!({"case": case, "run": run, "score": score});
        if score.is_some_and(|score| !score.status.counts()) {
            // a result that is not there is no zero
            shown["score"]["score"] = Value::Null;
        }
        context.output.json(&shown)?;
    } else {
        let whole = context.config.log_filter != fapo_telemetry::QUIET;
        context
            .output
            .data(&text(&run, score.as_ref(), context.output.style, whole))?;
    }
    Ok(match run.status {
        RunStatus::Missing => Exit::Incomplete,
        RunStatus::Completed | RunStatus::Failed | RunStatus::Refused | RunStatus::TimedOut => {
            Exit::Ok
        }
    })
}

/// The case that was asked for, and whether it has something to be scored against.
async fn case(session: &Session, spec: &JobSpec, args: &RunArgs) -> anyhow::Result<(Case, bool)> {
    if let Some(input) = &args.input {
        let value: Value = serde_json::from_str(input).map_err(|source| {
            Advice::because(
                "--input is not JSON",
                "write an object, such as '{\"question\": \"...\"}'",
                source,
            )
        })?;
        let Value::Object(input) = value else {
            return Err(Advice::new(
                "--input is not a JSON object",
                "write an object, such as '{\"question\": \"...\"}'",
            )
            .into());
        };
        let case = Case {
            case_id: CaseId::new("input"),
            input,
            expected: serde_json::Map::new(),
            metadata: serde_json::Map::new(),
        };
        return Ok((case, false));
    }
    let id = CaseId::new(args.case.as_deref().unwrap_or_default());
    let datasets = &session.ports.datasets;
    let place = datasets.find_case(spec.dataset, &id).await?;
    let (split, ordinal) = place.ok_or_else(|| {
        Advice::new(
            format!("there is no case {id} in the data"),
            "case ids stand under `case_id` in the data files",
        )
    })?;
    let case = datasets
        .cases(spec.dataset, split, &[ordinal])
        .await?
        .into_iter()
        .next()
        .ok_or_else(|| Advice::new(format!("case {id} is gone"), "run it again"))?;
    Ok((case, true))
}

/// The run for a terminal.
fn text(run: &RunRecord, score: Option<&CaseScore>, style: Style, whole: bool) -> String {
    let mut out = String::new();
    for step in &run.steps {
        step_text(&mut out, step, style, whole);
    }
    let status = match run.status {
        RunStatus::Completed => style.good("completed"),
        RunStatus::Failed => style.bad("failed"),
        RunStatus::Missing => style.warn("missing"),
        RunStatus::Refused => style.warn("refused"),
        RunStatus::TimedOut => style.bad("timed out"),
    };
    let reason = run
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" ({})", printable(reason)));
    // writing to a String cannot fail
    let _ = writeln!(
        out,
        "{} {status}{reason}, {} in {}, {}",
        style.bold(run.case_id.as_str()),
        run.spend.cost,
        format::counted(run.spend.model_calls, "model call"),
        time(run.duration_ms),
    );
    if let Some(text) = &run.output_text {
        block(&mut out, "output", text, style, whole);
    }
    if let Some(score) = score {
        let shown = if score.status.counts() {
            format!("{:.3}", score.score)
        } else {
            "none".to_owned()
        };
        let _ = writeln!(out, "  score   {}", style.bold(&shown));
        for (name, value) in score.breakdown.iter().filter(|_| score.breakdown.len() > 1) {
            let _ = writeln!(out, "          {name} {value:.3}");
        }
        if !score.feedback.is_empty() {
            block(&mut out, "because", &score.feedback, style, whole);
        }
    }
    out
}

fn step_text(out: &mut String, step: &StepRecord, style: Style, whole: bool) {
    let mut facts = Vec::new();
    if step.status == StepStatus::Skipped {
        facts.push("skipped".to_owned());
    } else {
        facts.push(time(step.duration_ms));
    }
    if step.cache_hit {
        facts.push("from the cache".to_owned());
    } else if step.spend.model_calls > 0 {
        let usage = step.spend.usage;
        facts.push(format!(
            "{} tokens in, {} out, {}",
            format::count(usage.input_tokens),
            format::count(usage.output_tokens),
            step.spend.cost
        ));
        if step.attempts > 1 {
            facts.push(format!("{} tries", step.attempts));
        }
    }
    if let Some(finish) = step.finish {
        use fapo_domain::model::trace::FinishReason;
        match finish {
            FinishReason::Stop => {}
            FinishReason::Length => facts.push(style.warn("cut off at its limit")),
            FinishReason::Refusal => facts.push(style.warn("declined")),
            FinishReason::ToolCall | FinishReason::Other => facts.push("ended oddly".to_owned()),
        }
    }
    let _ = writeln!(
        out,
        "{} {}  {}",
        style.accent(step.step.as_str()),
        style.dim(&step.kind),
        facts.join(", ")
    );
    if let Some(input) = &step.input {
        block(out, "input", &input_text(input), style, whole);
    }
    if let Some(output) = &step.output {
        match &output.docs {
            Some(docs) => {
                let list = docs
                    .iter()
                    .map(|doc| {
                        let name = if doc.document.title.is_empty() {
                            &doc.document.doc_id
                        } else {
                            &doc.document.title
                        };
                        format!("{:.2} {name}", doc.score)
                    })
                    .collect::<Vec<_>>()
                    .join("\n");
                block(out, "docs", &list, style, whole);
            }
            None => block(out, "output", &output.text, style, whole),
        }
    }
    if let Some(error) = &step.error {
        let kind = step.error_kind.as_deref().unwrap_or("error");
        block(out, "error", &format!("{kind}: {error}"), style, whole);
    }
    out.push('\n');
}

/// Messages as they were sent, queries one a line, anything else as JSON.
fn input_text(input: &Value) -> String {
    let message = |value: &Value| {
        let role = value.get("role")?.as_str()?;
        let content = value.get("content")?.as_str()?;
        Some(format!("[{role}]\n{content}"))
    };
    // the one list of an object is what matters: queries, messages
    let list = match input {
        Value::Object(map) if map.len() == 1 => map.values().next().unwrap_or(input),
        other => other,
    };
    if let Value::Array(items) = list {
        let parts: Option<Vec<String>> = items
            .iter()
            .map(|item| message(item).or_else(|| item.as_str().map(str::to_owned)))
            .collect();
        if let Some(parts) = parts {
            return parts.join("\n");
        }
    }
    input.as_str().map_or_else(
        || serde_json::to_string_pretty(input).unwrap_or_default(),
        str::to_owned,
    )
}

fn block(out: &mut String, name: &str, text: &str, style: Style, whole: bool) {
    let shown = printable(text);
    let lines: Vec<&str> = shown.trim_end().lines().collect();
    let limit = if whole { usize::MAX } else { LINES };
    for (position, line) in lines.iter().take(limit).enumerate() {
        let label = if position == 0 { name } else { "" };
        let _ = writeln!(out, "  {} {line}", style.dim(&format!("{label:<7}")));
    }
    if lines.len() > limit {
        let more = format::counted((lines.len() - limit) as u64, "line");
        let _ = writeln!(
            out,
            "          {}",
            style.dim(&format!("... {more} more (-v shows all)"))
        );
    }
}

fn time(ms: u32) -> String {
    format::duration(std::time::Duration::from_millis(u64::from(ms)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fapo_domain::clock::Timestamp;
    use fapo_domain::model::case::Document;
    use fapo_domain::model::score::ScoreStatus;
    use fapo_domain::model::trace::{FinishReason, RetrievedDocument, StepOutput};
    use fapo_domain::money::{Spend, Usage};
    use fapo_domain::{ContentHash, EvaluationId, MicroUsd, StepId};
    use serde_json::json;

    use super::*;

    fn step(id: &str, kind: &str, input: Value, output: StepOutput) -> StepRecord {
        StepRecord {
            step: StepId::new(id),
            position: 0,
            kind: kind.to_owned(),
            status: StepStatus::Ok,
            key: None,
            cache_hit: false,
            input: Some(input),
            output: Some(output),
            finish: None,
            error_kind: None,
            error: None,
            spend: Spend::default(),
            full_spend: Spend::default(),
            attempts: 0,
            started_ms: 0,
            duration_ms: 3,
            full_duration_ms: 3,
        }
    }

    #[test]
    fn every_step_is_shown_with_input_output_cost_and_time() {
        let document = Document {
            doc_id: "d1".to_owned(),
            title: "The lighthouse".to_owned(),
            text: "...".to_owned(),
        };
        let docs = StepOutput {
            docs: Some(vec![RetrievedDocument {
                document,
                score: 7.25,
            }]),
            ..StepOutput::default()
        };
        let reply = StepOutput {
            text: "Ada\u{1b}[2J Brandt".to_owned(),
            ..StepOutput::default()
        };
        let spend = Spend {
            cost: MicroUsd(1200),
            model_calls: 1,
            usage: Usage {
                input_tokens: 1500,
                output_tokens: 4,
                ..Usage::default()
            },
        };
        let long = (0..20)
            .map(|n| format!("line {n}"))
            .collect::<Vec<_>>()
            .join("\n");
        let messages =
            json!([{"role": "system", "content": long}, {"role": "user", "content": "Who?"}]);
        let mut answer = step("answer", "llm", messages, reply);
        answer.spend = spend;
        answer.attempts = 2;
        answer.finish = Some(FinishReason::Length);
        answer.duration_ms = 1830;
        let evaluation = EvaluationId(ContentHash::of(b"e"));
        let run = RunRecord {
            evaluation,
            ordinal: 0,
            case_id: CaseId::new("q-017"),
            status: RunStatus::Completed,
            reason: None,
            output_text: Some("Ada Brandt".to_owned()),
            output_json: None,
            spend,
            full_spend: spend,
            started_at: Timestamp(0),
            duration_ms: 1833,
            full_duration_ms: 1833,
            steps: vec![
                step("retrieve", "retrieve", json!(["Who built it?"]), docs),
                answer,
            ],
        };
        let score = CaseScore {
            evaluation,
            ordinal: 0,
            case_id: CaseId::new("q-017"),
            status: ScoreStatus::Scored,
            score: 0.0,
            breakdown: BTreeMap::from([("exact_match".to_owned(), 0.0), ("f1".to_owned(), 0.667)]),
            feedback: "expected \"Ada\"".to_owned(),
            scorer: ContentHash::of(b"s"),
        };
        insta::assert_snapshot!(text(&run, Some(&score), Style::new(false), false));
    }
}
