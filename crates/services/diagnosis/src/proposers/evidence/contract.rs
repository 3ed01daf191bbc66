//! What the project's scope allows at the level that is open, in words. The server checks it again on the tree that comes
//! back; here it is said so that no proposal is wasted.

use std::fmt::Write;

use fapo_domain::model::level::Level;
use fapo_domain::model::project::{Metric, ProjectSpec};
use fapo_domain::model::proposal::ProposalRequest;

use crate::attribution::scored::parts;

/// The contract of a request.
pub(super) fn contract(project: &ProjectSpec, request: &ProposalRequest) -> String {
    let scope = &project.scope;
    let levels: Vec<String> = scope
        .allow
        .iter()
        .filter(|level| **level <= request.level)
        .map(Level::to_string)
        .collect();
    let or_any = |globs: &[String], what: &str| match globs {
        [] => format!("Any {what}."),
        _ => format!("Only {}.", globs.join(", ")),
    };
    let mut out = format!(
        "- Levels: {}.\n- Files: {}\n- Steps: {}\n",
        levels.join(", "),
        or_any(&scope.files, "file"),
        or_any(&scope.steps, "step")
    );
    let mut line = |text: String| {
        // writing to a text cannot fail
        let _ = writeln!(out, "- {text}");
    };
    if request.level > Level::Prompt {
        if scope.models.is_empty() {
            line("The `model` of a step must stay as it is.".to_owned());
        } else {
            line(format!(
                "The `model` of a step may be changed to: {}.",
                scope.models.join(", ")
            ));
        }
        for (key, (least, most)) in &scope.ranges {
            line(format!(
                "`{key}`: {least} to {most}; a value left out counts with its default."
            ));
        }
    }
    if let Some(ratio) = project.objective.subject_to.cost_ratio {
        line(format!(
            "A case may cost at most {ratio} times what it costs at the start."
        ));
    }
    line(format!(
        "A file may have {} bytes, all files together {}.",
        scope.max_file_bytes, scope.max_tree_bytes
    ));
    let labels = labels(project, request);
    if !labels.is_empty() {
        line(format!(
            "The right answer is one of: {}.",
            labels.join(", ")
        ));
    }
    out
}

/// The closed set of answers: the scorer's choices, else what the answers of train show.
fn labels<'a>(project: &'a ProjectSpec, request: &'a ProposalRequest) -> &'a [String] {
    parts(project)
        .into_iter()
        .find(|part| part.metric == Some(Metric::Choice) && !part.choices.is_empty())
        .map_or(request.labels.as_slice(), |part| part.choices)
}
