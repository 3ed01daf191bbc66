//! `fapo session`: what a coding agent was told, did and cost.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use fapo_domain::model::session::{SessionEnd, SessionRecord};
use serde_json::{Value, json};

use super::advice::Advice;
use super::args::SessionArgs;
use super::session::open_store;
use super::{Context, find};
use crate::exit::Exit;
use crate::output::format;
use crate::output::style::{Style, printable};
use crate::output::table::Columns;
use crate::ports::Ports;

/// Longest text of one block of a transcript, in characters, unless everything is asked for.
const SHOWN: usize = 600;

pub async fn run(context: &Context, args: &SessionArgs) -> anyhow::Result<Exit> {
    let (dir, id) = place(args);
    let ports = open_store(context, &dir).await?;
    match id {
        None => list(context, &ports, args.job.as_deref()).await,
        Some(id) => show(context, &ports, &id, args.full).await,
    }
}

/// One argument alone is a session in this folder, unless it is a folder.
fn place(args: &SessionArgs) -> (PathBuf, Option<String>) {
    match (&args.dir, &args.id) {
        (Some(dir), Some(id)) => (PathBuf::from(dir), Some(id.clone())),
        (Some(only), None) if Path::new(only).is_dir() => (PathBuf::from(only), None),
        (Some(only), None) => (PathBuf::from("."), Some(only.clone())),
        (None, _) => (PathBuf::from("."), None),
    }
}

async fn list(context: &Context, ports: &Ports, job: Option<&str>) -> anyhow::Result<Exit> {
    let job = find::job(ports, job).await?;
    let sessions = ports.sessions.sessions(job.id).await?;
    if context.output.json {
        context.output.json(&sessions)?;
        return Ok(Exit::Ok);
    }
    if sessions.is_empty() {
        context
            .output
            .note("no coding agent had a session in this job");
        return Ok(Exit::Ok);
    }
    let mut columns = Columns::new(&[
        "session", "role", "agent", "model", "end", ">turns", ">tools", ">cost", ">took",
    ]);
    for session in &sessions {
        let tools: u32 = session.tool_calls.iter().map(|(_, count)| count).sum();
        columns.row([
            session.id.short(),
            session.role.as_str().to_owned(),
            session.agent.clone(),
            printable(&session.model),
            end(&session.end),
            format::count(u64::from(session.turns)),
            format::count(u64::from(tools)),
            format::usd(session.spend.cost.usd()),
            format::duration(took(session)),
        ]);
    }
    context.output.data(&columns.finish())?;
    context
        .output
        .note("`fapo session ID` shows one, with everything it said and did");
    Ok(Exit::Ok)
}

async fn show(context: &Context, ports: &Ports, id: &str, full: bool) -> anyhow::Result<Exit> {
    let found = ports.sessions.find_sessions(id, 3).await?;
    let session = match found.as_slice() {
        [session] => session,
        [] => {
            return Err(Advice::new(
                format!("there is no session whose id starts with {}", printable(id)),
                "`fapo session` lists the latest job's",
            )
            .into());
        }
        _ => bail!("several sessions have ids that start with {id}: give more digits"),
    };
    let transcript = match session.transcript {
        Some(hash) => ports.blobs.get_blobs(&[hash]).await?,
        None => Vec::new(),
    };
    let lines: Vec<Value> = transcript
        .iter()
        .flat_map(|blob| blob.split(|byte| *byte == b'\n'))
        .filter(|line| !line.is_empty())
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    if context.output.json {
        context
            .output
            .json(&json!({ "session": session, "transcript": lines }))?;
        return Ok(Exit::Ok);
    }
    let style = context.output.style;
    let mut text = head(session, style);
    let most = if full { usize::MAX } else { SHOWN };
    for line in &lines {
        text.extend(entry(line, style, most));
    }
    context.output.data(&text.join("\n"))?;
    Ok(Exit::Ok)
}

fn took(session: &SessionRecord) -> Duration {
    let ms = session.ended_at.0.saturating_sub(session.started_at.0);
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn end(end: &SessionEnd) -> String {
    printable(&fapo_domain::text::one_line(&end.to_string(), 60))
}

fn head(session: &SessionRecord, style: Style) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{} {} as {}, {} {}",
            style.bold(&session.id.short()),
            session.agent,
            session.role.as_str(),
            printable(&session.model),
            session
                .version
                .as_deref()
                .map_or_else(String::new, |version| format!(
                    "(version {})",
                    printable(version)
                )),
        ),
        format!(
            "{}; {} in {}, {} of the model's, {}",
            printable(&session.end.to_string()),
            format::counted(u64::from(session.turns), "turn"),
            format::duration(took(session)),
            format::counted(session.spend.model_calls, "reply"),
            format::usd(session.spend.cost.usd()),
        ),
        format!("held by: {}", printable(&session.confinement.detail)),
    ];
    if !session.tool_calls.is_empty() {
        let tools: Vec<String> = session
            .tool_calls
            .iter()
            .map(|(name, count)| format!("{} x{count}", printable(name)))
            .collect();
        lines.push(format!("tools: {}", tools.join(", ")));
    }
    for refusal in &session.refused {
        lines.push(format!("{} {}", style.warn("refused:"), printable(refusal)));
    }
    lines
}

/// A line of the transcript for people; nothing for what only the program cares about.
fn entry(line: &Value, style: Style, most: usize) -> Vec<String> {
    let at = line["at_ms"].as_u64().unwrap_or(0) as f64 / 1000.0;
    let stamp = style.dim(&format!("{at:7.1} s"));
    let said = |who: String, text: &str| format!("{stamp}  {who} {}", body(text, most));
    let from = line["from"].as_str().unwrap_or_default();
    let content = &line["line"];
    if let Some(left_out) = line["left_out_lines"].as_u64() {
        return vec![format!("... {}", format::counted(left_out, "further line"))];
    }
    if let Some(text) = content.as_str() {
        let who = if from == "fapo" { "prompt" } else { from };
        return vec![said(style.accent(who), text)];
    }
    match content["type"].as_str() {
        Some("assistant" | "user") => blocks(content)
            .filter_map(|block| match block["type"].as_str()? {
                "text" => Some(said(style.bold("agent"), block["text"].as_str()?)),
                "tool_use" => Some(said(
                    style.accent(&printable(block["name"].as_str()?)),
                    &block["input"].to_string(),
                )),
                "tool_result" => {
                    let who = if block["is_error"] == json!(true) {
                        style.bad("  error")
                    } else {
                        style.dim("  answer")
                    };
                    Some(said(who, &answer(&block["content"])))
                }
                _ => None,
            })
            .collect(),
        Some("result") => {
            let text = content["structured_output"].as_object().map_or_else(
                || content["result"].as_str().unwrap_or_default().to_owned(),
                |answer| json!(answer).to_string(),
            );
            vec![said(style.good("end"), &text)]
        }
        // Codex: what an item was, once it is complete
        Some("item.completed") => {
            let item = &content["item"];
            let kind = item["type"].as_str().unwrap_or("item");
            let text = item["text"]
                .as_str()
                .map_or_else(|| item.to_string(), str::to_owned);
            vec![said(style.bold(&printable(kind)), &text)]
        }
        _ => Vec::new(),
    }
}

fn blocks(content: &Value) -> impl Iterator<Item = &Value> {
    content["message"]["content"]
        .as_array()
        .into_iter()
        .flatten()
}

/// A tool's answer: a text, or a list of texts.
fn answer(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        other => other.to_string(),
    }
}

/// A text of several lines, indented under its heading and cut.
fn body(text: &str, most: usize) -> String {
    let cut: String = text.chars().take(most).collect();
    let mark = if cut.len() < text.len() { " …" } else { "" };
    let lines: Vec<String> = cut.trim_end().lines().map(printable).collect();
    lines.join("\n           ") + mark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: Value) -> Vec<String> {
        entry(&line, Style::new(false), 60)
    }

    #[test]
    fn a_transcript_is_shown_as_what_was_said_and_done() {
        let line = json!({"at_ms": 1500, "from": "claude-code", "line": {
            "type": "assistant", "message": {"content": [
                {"type": "text", "text": "I will look.\nThen edit."},
                {"type": "tool_use", "name": "Edit", "input": {"file_path": "a.md"}},
                {"type": "thinking", "thinking": "hidden"},
            ]},
        }});
        assert_eq!(
            plain(line),
            vec![
                "    1.5 s  agent I will look.\n           Then edit.",
                "    1.5 s  Edit {\"file_path\":\"a.md\"}",
            ]
        );
        let line = json!({"at_ms": 0, "from": "claude-code", "line": {
            "type": "user", "message": {"content": [
                {"type": "tool_result", "is_error": true, "content": [{"type": "text", "text": "no"}]},
            ]},
        }});
        assert_eq!(plain(line), vec!["    0.0 s    error no"]);
        assert_eq!(
            plain(json!({"at_ms": 0, "from": "fapo", "line": "x".repeat(70)})),
            vec![format!("    0.0 s  prompt {} …", "x".repeat(60))]
        );
        assert_eq!(
            plain(json!({"at_ms": 0, "from": "claude-code", "line": {"type": "invented"}})),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_an_agent_wrote_cannot_play_with_the_terminal() {
        let line = json!({"at_ms": 0, "from": "stderr", "line": "\u{1b}[2Jgone\u{7}"});
        let shown = plain(line).join("");
        assert!(
            !shown.contains('\u{1b}') && !shown.contains('\u{7}'),
            "{shown:?}"
        );
    }

    #[test]
    fn one_argument_is_a_session_unless_it_is_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let args = |dir: Option<&str>, id: Option<&str>| SessionArgs {
            dir: dir.map(str::to_owned),
            id: id.map(str::to_owned),
            job: None,
            full: false,
        };
        let here = PathBuf::from(".");
        assert_eq!(place(&args(None, None)), (here.clone(), None));
        assert_eq!(
            place(&args(Some("3fa2"), None)),
            (here, Some("3fa2".to_owned()))
        );
        let path = folder.path().to_str().unwrap();
        assert_eq!(place(&args(Some(path), None)), (path.into(), None));
        assert_eq!(
            place(&args(Some(path), Some("3fa2"))),
            (path.into(), Some("3fa2".to_owned()))
        );
    }
}
