//! `fapo diff`: what differs between two variants.

use fapo_domain::problem::Problems;

use super::args::DiffArgs;
use super::session::open_store;
use super::{Context, find};
use crate::exit::Exit;
use crate::output::style::{Style, printable};
use crate::project::read_tree;

pub async fn run(context: &Context, args: &DiffArgs) -> anyhow::Result<Exit> {
    let ports = open_store(context, &args.dir).await?;
    let job = args.job.as_deref();
    let current = || Ok(read_tree(&args.dir, &mut Problems::new())?);
    let a = find::variant(&ports, &args.a, job, current).await?;
    let b = find::variant(&ports, &args.b, job, current).await?;
    let patch = fapo_project::unified_diff(&a.tree, &b.tree);
    if context.output.json {
        let semantic = fapo_project::semantic_diff(&a.tree, &b.tree).ok();
        let changes = semantic.as_ref().map_or_else(Vec::new, |diff| {
            diff.changes
                .iter()
                .map(|change| {
                    serde_json::json!({
                        "level": change.level.as_str(), "path": change.path, "what": change.what,
                    })
                })
                .collect()
        });
        context.output.json(&serde_json::json!({
            "a": a.id.to_string(),
            "b": b.id.to_string(),
            "level": semantic.as_ref().and_then(|diff| diff.level).map(|level| level.as_str()),
            "changes": changes,
            "patch": patch,
        }))?;
    } else if patch.is_empty() {
        context.output.note("the two are the same");
    } else {
        context
            .output
            .data(&coloured(&patch, context.output.style))?;
    }
    Ok(Exit::Ok)
}

/// A patch for a terminal; without colours it is the patch, byte for byte, so that it can be applied.
pub fn coloured(patch: &str, style: Style) -> String {
    if !style.is_on() {
        return patch.to_owned();
    }
    patch
        .lines()
        .map(|line| {
            let text = printable(line);
            if line.starts_with("diff ") || line.starts_with("---") || line.starts_with("+++") {
                style.bold(&text)
            } else if line.starts_with("@@") {
                style.accent(&text)
            } else if line.starts_with('+') {
                style.good(&text)
            } else if line.starts_with('-') {
                style.bad(&text)
            } else {
                text
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_without_colours_is_left_as_it_is() {
        let patch = "--- a\n+++ b\n@@ -1 +1 @@\n-x\u{1b}[0m\n+y\n";
        assert_eq!(coloured(patch, Style::new(false)), patch);
        let shown = coloured(patch, Style::new(true));
        assert!(shown.contains("x␛[0m"), "{shown:?}");
    }
}
