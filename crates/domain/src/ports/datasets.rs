//! Dataset versions: imported once, as a stream, never changed after.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::ids::{CaseId, DatasetId};
use crate::model::case::{Case, Split};

/// An import under way; invisible to readers until it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImportId(pub u64);

/// A case on its way in.
#[derive(Debug, Clone, PartialEq)]
pub struct IncomingCase {
    /// Its split.
    pub split: Split,
    /// The case.
    pub case: Case,
    /// Where it came from, for messages: file and line (or row).
    pub file: String,
    /// Line or row, from 1.
    pub line: u64,
}

/// The same id twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuplicateCase {
    /// The id.
    pub case_id: CaseId,
    /// File and line of the first.
    pub first: (String, u64),
    /// File and line of the second.
    pub second: (String, u64),
}

/// Two cases of different splits that are the same up to case, punctuation and white space, or nearly so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearDuplicate {
    /// One.
    pub a: (Split, CaseId),
    /// The other.
    pub b: (Split, CaseId),
}

/// A committed dataset version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// The hash over the cases of all splits in order.
    pub id: DatasetId,
    /// Cases per split.
    pub cases: BTreeMap<Split, u64>,
    /// Up to 100 near-duplicates across splits.
    pub near_duplicates: Vec<NearDuplicate>,
}

/// How many of so many train cases [`Datasets::split_import`] is to move: the nearest to `fraction`, and neither none nor
/// all of two or more.
pub fn split_target(cases: u64, fraction: f64) -> u64 {
    let target = (cases as f64 * fraction).round() as u64;
    target.clamp(1.min(cases / 2), cases.saturating_sub(1))
}

/// Stores and reads dataset versions.
#[async_trait]
pub trait Datasets: Send + Sync {
    /// Starts an import. One that is never committed leaves nothing behind once the store is next opened.
    async fn begin_import(&self, project: &str) -> Result<ImportId, StoreError>;

    /// Adds cases in order. Ids used twice are returned (at most 100 over the whole import), not stored, and make
    /// [`Self::commit_import`] fail. Atomic per call.
    async fn import_cases(
        &self,
        import: ImportId,
        cases: Vec<IncomingCase>,
    ) -> Result<Vec<DuplicateCase>, StoreError>;

    /// Moves a share of the import's train cases to val, chosen by `seed`. Near-duplicates are kept together, except in
    /// groups that would be most of a part: those share a template and are no repeats. [`split_target`] is what is moved
    /// at most; short of it is less than a group. Of two cases or more, neither part is left empty. Each part keeps the
    /// file's order.
    async fn split_import(
        &self,
        import: ImportId,
        fraction: f64,
        seed: u64,
    ) -> Result<(), StoreError>;

    /// Makes the import visible as a version. An equal version that exists already is returned and the import
    /// dropped. Atomic.
    async fn commit_import(&self, import: ImportId) -> Result<Dataset, StoreError>;

    /// Drops an import.
    async fn abort_import(&self, import: ImportId) -> Result<(), StoreError>;

    /// A committed version.
    async fn get_dataset(&self, id: DatasetId) -> Result<Dataset, StoreError>;

    /// The cases with the given ordinals of a split, in the order asked for. Unknown ordinals are `NotFound`.
    async fn cases(
        &self,
        id: DatasetId,
        split: Split,
        ordinals: &[u64],
    ) -> Result<Vec<Case>, StoreError>;

    /// Up to `limit` cases of a split from ordinal `from` on, in order; empty at the end.
    async fn page(
        &self,
        id: DatasetId,
        split: Split,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Case>, StoreError>;

    /// Split and ordinal of a case, or `None`.
    async fn find_case(
        &self,
        id: DatasetId,
        case: &CaseId,
    ) -> Result<Option<(Split, u64)>, StoreError>;
}
