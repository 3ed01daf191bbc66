//! `fapo prompts`: what proposer, reviewer and failure reader are told, and where a project says it in words of its own.

use std::collections::BTreeMap;

use fapo_diagnosis::prompts::{self, PROMPTS, Prompt};
use fapo_domain::ContentHash;
use fapo_domain::problem::Problems;
use serde::Serialize;

use super::Context;
use super::advice::Advice;
use super::args::PromptsArgs;
use super::session::list_problems;
use crate::exit::Exit;
use crate::output::table::Columns;
use crate::project::own_prompts;

/// One prompt, listed.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    /// `fapo` or `project`.
    from: &'static str,
    hash: ContentHash,
    about: &'static str,
    /// The names that a template may use; none for a text that is said as it stands.
    variables: &'static [&'static str],
}

pub fn run(context: &Context, args: &PromptsArgs) -> anyhow::Result<Exit> {
    let mut problems = Problems::new();
    let own = own_prompts(&args.dir, &mut problems);
    if problems.has_errors() {
        list_problems(&context.output, &problems);
        return Ok(Exit::Problems);
    }
    let own = if args.default { BTreeMap::new() } else { own };
    let Some(name) = &args.name else {
        return list(context, &own);
    };
    let Some(prompt) = prompts::find(name) else {
        return Err(Advice::new(
            format!("there is no prompt `{name}`"),
            format!("there are: {}", prompts::names().join(", ")),
        )
        .into());
    };
    let text = text(prompt, &own);
    if context.output.json {
        let mut body = serde_json::to_value(row(prompt, &own))?;
        body["text"] = text.into();
        context.output.json(&body)?;
    } else {
        context.output.data(text)?;
    }
    Ok(Exit::Ok)
}

fn text<'a>(prompt: &Prompt, own: &'a BTreeMap<String, String>) -> &'a str {
    own.get(prompt.name).map_or(prompt.text, String::as_str)
}

fn row(prompt: &Prompt, own: &BTreeMap<String, String>) -> Row {
    Row {
        name: prompt.name,
        from: if own.contains_key(prompt.name) {
            "project"
        } else {
            "fapo"
        },
        hash: ContentHash::of(text(prompt, own).as_bytes()),
        about: prompt.about,
        variables: prompt.variables.unwrap_or_default(),
    }
}

fn list(context: &Context, own: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let rows: Vec<Row> = PROMPTS.iter().map(|prompt| row(prompt, own)).collect();
    if context.output.json {
        context.output.json(&rows)?;
        return Ok(Exit::Ok);
    }
    let mut table = Columns::new(&["NAME", "FROM", "HASH", "WHAT FOR"]);
    for row in &rows {
        table.row([row.name, row.from, &row.hash.short(), row.about]);
    }
    context.output.data(&table.finish())?;
    Ok(Exit::Ok)
}
