//! A job's family tree, and the files of a variant.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fapo_domain::ids::VariantId;
use fapo_domain::model::decision::Decision;
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::variant::{Lineage, VariantTree};
use fapo_domain::ports::optimizer::JobLineage;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A job's variants and decisions.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LineageView {
    /// Its variants in order of creation.
    pub variants: Vec<DescentView>,
    /// Its decisions in order.
    pub decisions: Vec<DecisionView>,
}

/// How a variant came to be.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DescentView {
    /// The variant.
    pub variant: VariantId,
    /// What it was made from; the baseline has none.
    pub parents: Vec<VariantId>,
    /// In which iteration; 0 is the baseline.
    pub iteration: u32,
    /// How deep the change goes, decided from the difference to the first parent.
    pub level: Option<Level>,
    /// What the proposer tried.
    pub technique: Option<Technique>,
    /// What the proposer expected and why.
    pub hypothesis: String,
    /// Files that differ.
    pub files: u32,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}

/// One decision.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DecisionView {
    /// Position among the job's decisions, from 0.
    pub seq: u32,
    /// The iteration.
    pub iteration: u32,
    /// What was decided: `kind` is `gate`, `refusal`, `sent_back`, `level_left`, `level_opened`, `level_skipped`, `stopped` or
    /// `test_skipped`; the rest is its own.
    #[schemars(schema_with = "super::tagged_by_kind")]
    pub what: Value,
    /// One line for people.
    pub reason: String,
    /// The numbers and names that the rule looked at.
    pub evidence: Value,
}

impl From<Lineage> for DescentView {
    fn from(row: Lineage) -> Self {
        Self {
            variant: row.child,
            parents: row.parents,
            iteration: row.iteration,
            level: row.level,
            technique: row.technique,
            hypothesis: row.hypothesis,
            files: row.diff.files,
            added: row.diff.added,
            removed: row.diff.removed,
        }
    }
}

impl From<Decision> for DecisionView {
    fn from(decision: Decision) -> Self {
        Self {
            seq: decision.seq,
            iteration: decision.iteration,
            what: serde_json::to_value(decision.what).unwrap_or_default(),
            reason: decision.reason,
            evidence: decision.evidence,
        }
    }
}

impl From<JobLineage> for LineageView {
    fn from(lineage: JobLineage) -> Self {
        Self {
            variants: lineage.variants.into_iter().map(Into::into).collect(),
            decisions: lineage.decisions.into_iter().map(Into::into).collect(),
        }
    }
}

/// The files of a variant.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VariantView {
    /// The variant.
    pub variant: VariantId,
    /// Its files in order of their paths.
    pub files: Vec<FileView>,
}

/// A file.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FileView {
    /// Its path relative to `pipeline/`.
    pub path: String,
    /// How `content` is written: as text, or, where it is no UTF-8, in base64.
    pub encoding: Encoding,
    /// What is in it.
    pub content: String,
}

/// How a content is written.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Encoding {
    /// As it is.
    Utf8,
    /// In base64, with padding.
    Base64,
}

impl VariantView {
    pub(crate) fn new(variant: VariantId, tree: &VariantTree) -> Self {
        let file = |(path, content): (&str, &std::sync::Arc<[u8]>)| {
            let (encoding, content) = match std::str::from_utf8(content) {
                Ok(text) => (Encoding::Utf8, text.to_owned()),
                Err(_) => (Encoding::Base64, STANDARD.encode(content)),
            };
            FileView {
                path: path.to_owned(),
                encoding,
                content,
            }
        };
        Self {
            variant,
            files: tree.iter().map(file).collect(),
        }
    }
}
