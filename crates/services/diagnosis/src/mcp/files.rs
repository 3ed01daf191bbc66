//! The tool that checks the files as they are now: `check`.

use std::sync::PoisonError;

use fapo_domain::ContentHash;
use fapo_domain::hash::Hasher;
use fapo_domain::model::proposal::{LintFinding, LintReport};
use fapo_domain::model::variant::{DiffStats, VariantTree};
use fapo_project::semantic_diff;
use serde_json::{Map, Value, json};

use super::answer::{cut_value, list, object, rounded};
use super::read::From;
use super::session::{Session, ToolError};
use crate::lints::{Trees, lint_trees};
use crate::text::one_line;

/// Changes named one by one.
const CHANGES: usize = 24;

/// The files with all that the rules and lints say of them.
pub(super) struct Checked {
    pub(super) tree: VariantTree,
    pub(super) report: LintReport,
    pub(super) diff: DiffStats,
}

/// Every lint over the files as they are now. What the rules for files refuse stands among the refusals.
pub(super) async fn lint(session: &Session) -> Result<Checked, ToolError> {
    let (tree, refused) = session.files().await?;
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
    report.refusals.splice(0..0, refused);
    let diff = diff.stats;
    Ok(Checked { tree, report, diff })
}

/// What `check` answers: its head and its refusals.
pub(super) struct Answer(Map<String, Value>, Vec<Value>);

impl Answer {
    fn from(&self, from: usize) -> Value {
        list(self.0.clone(), "refusals", self.1.iter().cloned(), from)
    }
}

/// What would refuse the change, how deep it goes, how large it is.
pub(super) async fn check(session: &Session, asked: From) -> Result<Value, ToolError> {
    let from = asked.from as usize;
    let (tree, refused) = session.files().await?;
    let state = state(&tree, &refused);
    let remembered = |session: &Session| {
        let checked = session.checked.lock();
        let checked = checked.unwrap_or_else(PoisonError::into_inner);
        checked
            .as_ref()
            .filter(|(known, _)| *known == state)
            .map(|(_, answer)| answer.from(from))
    };
    if let Some(answer) = remembered(session) {
        return Ok(answer);
    }
    let _alone = session
        .heavy
        .acquire()
        .await
        .map_err(|_| ToolError::Ended)?;
    if let Some(answer) = remembered(session) {
        return Ok(answer);
    }
    if session.checks.take(1) == 0 {
        return Err(ToolError::Refused(
            "`check` was asked as often as it may be; the same checks are made when you end"
                .to_owned(),
        ));
    }
    let checked = lint(session).await?;
    let parent = session.parent().await?;
    let answer = answer(&checked, &parent);
    let told = answer.from(from);
    // the files may have changed meanwhile: what is remembered is about those that were looked at
    if checked.tree.id() == tree.id() {
        let mut last = session
            .checked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some((state, answer));
    }
    Ok(told)
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

fn answer(checked: &Checked, parent: &VariantTree) -> Answer {
    let report = &checked.report;
    let changes: Vec<Value> = semantic_diff(parent, &checked.tree)
        .map(|diff| diff.changes)
        .unwrap_or_default()
        .into_iter()
        .map(|change| {
            let what = json!({"level": change.level, "path": change.path, "what": change.what});
            cut_value(&what, 160)
        })
        .collect();
    let head = json!({
        "passes": report.passed(),
        "level": report.level,
        "diff": {"files": checked.diff.files, "added": checked.diff.added, "removed": checked.diff.removed},
        "changes": changes.iter().take(CHANGES).collect::<Vec<_>>(),
        "changes_in_all": changes.len(),
        "predicted_cost_over_the_parent": report.predicted_cost_ratio.map(rounded),
        "notes": report.notes,
        "refusals_in_all": report.refusals.len(),
    });
    Answer(object(head), report.refusals.iter().map(row).collect())
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
