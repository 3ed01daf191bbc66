//! The tool that checks the files as they are now: `check`.

use std::sync::{Arc, PoisonError};

use fapo_domain::ContentHash;
use fapo_domain::hash::Hasher;
use fapo_domain::model::proposal::{LintFinding, LintReport};
use fapo_domain::model::variant::VariantTree;
use fapo_project::SemanticDiff;
use serde_json::{Map, Value, json};

use super::answer::{cut_value, list, object, rounded};
use super::read::From;
use super::session::{Session, ToolError};
use crate::lints::{Trees, heard, lint_trees};
use crate::text::one_line;

/// Changes named one by one.
const CHANGES: usize = 24;

/// The files with all that the rules and lints say of them to a session.
pub(super) struct Checked {
    /// The hash of the files and of what the rules refuse.
    state: ContentHash,
    pub(super) tree: VariantTree,
    pub(super) report: LintReport,
    diff: SemanticDiff,
}

/// Every lint over the files as they are now. What the rules for files refuse stands among the refusals.
///
/// Whatever tool asks, it is counted: the answer says whether a text stands in a held-out case. It is counted, and others
/// are waited for, before the files are read. Equal files are linted once, and counted once.
pub(super) async fn checked(session: &Session) -> Result<Arc<Checked>, ToolError> {
    let _alone = session
        .heavy
        .acquire()
        .await
        .map_err(|_| ToolError::Ended)?;
    if session.checks.take(1) == 0 {
        return Err(ToolError::Refused(
            "the files were checked as often as it may be; the same checks are made when you end"
                .to_owned(),
        ));
    }
    let (tree, refused) = session
        .files()
        .await
        .inspect_err(|_| session.checks.give_back(1))?;
    let state = state(&tree, &refused);
    let last = || {
        let last = session.checked.lock();
        last.unwrap_or_else(PoisonError::into_inner)
    };
    if let Some(known) = last().as_ref().filter(|known| known.state == state) {
        session.checks.give_back(1);
        return Ok(known.clone());
    }
    let checked = Arc::new(lint(session, state, tree, refused).await?);
    *last() = Some(checked.clone());
    Ok(checked)
}

async fn lint(
    session: &Session,
    state: ContentHash,
    tree: VariantTree,
    refused: Vec<LintFinding>,
) -> Result<Checked, ToolError> {
    let parent = session.parent().await?;
    let baseline = session.baseline().await?;
    let trees = Trees {
        open: session.grant.level,
        parent: &parent,
        child: &tree,
        baseline: &baseline,
        earlier: session.earlier().await?,
    };
    let spec = &session.grant.spec;
    let (mut report, diff) =
        lint_trees(&*session.ports.datasets, spec, &trees, &session.stop).await?;
    report.refusals = heard(&report.refusals);
    report.refusals.splice(0..0, refused);
    Ok(Checked {
        state,
        tree,
        report,
        diff,
    })
}

/// What would refuse the change, how deep it goes, how large it is.
pub(super) async fn check(session: &Session, asked: From) -> Result<Value, ToolError> {
    let checked = checked(session).await?;
    let refusals = checked.report.refusals.iter().map(row);
    Ok(list(
        head(&checked),
        "refusals",
        refusals,
        asked.from as usize,
    ))
}

fn state(tree: &VariantTree, refused: &[LintFinding]) -> ContentHash {
    let mut hasher = Hasher::new("checked-tree/v1");
    hasher.hash(&tree.id().0);
    for finding in refused {
        hasher
            .part(finding.lint.name().as_bytes())
            .part(finding.place.as_bytes())
            .part(finding.message.as_bytes());
    }
    hasher.finish()
}

/// All but the refusals.
fn head(checked: &Checked) -> Map<String, Value> {
    let Checked { report, diff, .. } = checked;
    let changes: Vec<Value> = diff
        .changes
        .iter()
        .take(CHANGES)
        .map(|change| {
            let what = json!({"level": change.level, "path": change.path, "what": change.what});
            cut_value(&what, 160)
        })
        .collect();
    object(json!({
        "passes": report.passed(),
        "level": report.level,
        "diff": {"files": diff.stats.files, "added": diff.stats.added, "removed": diff.stats.removed},
        "changes": changes,
        "changes_in_all": diff.changes.len(),
        "predicted_cost_over_the_parent": report.predicted_cost_ratio.map(rounded),
        "notes": report.notes,
        "refusals_in_all": report.refusals.len(),
    }))
}

fn row(finding: &LintFinding) -> Value {
    json!({
        "lint": finding.lint,
        "place": one_line(&finding.place, 200),
        "why": one_line(&finding.message, 400),
    })
}

/// The refusals in one sentence.
pub(super) fn named(refusals: &[LintFinding]) -> String {
    let named: Vec<String> = refusals
        .iter()
        .take(5)
        .map(|finding| format!("{} in {}", finding.lint.name(), finding.place))
        .collect();
    one_line(&named.join(", "), 400)
}
