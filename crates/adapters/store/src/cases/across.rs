//! Like cases in different splits: they flatter scores, so an import reports them.

use std::collections::{HashMap, HashSet};

use fapo_domain::CaseId;
use fapo_domain::model::case::Split;
use fapo_domain::ports::datasets::NearDuplicate;

use super::likeness::Shingles;
use crate::error::Failure;

/// Most near-duplicates in a report.
const MOST_REPORTED: usize = 100;
/// Most rows looked at for the report, per key: enough to fill it many times over.
pub(crate) const MOST_CANDIDATES: u32 = 20_000;
/// Most pairs whose texts are compared for the report.
pub(crate) const MOST_COMPARED: usize = 2_000;
/// Pairs whose texts are loaded at once.
pub(crate) const AT_ONCE: usize = 100;
/// Pairs found by a shared band are reported from this likeness on.
const ALIKE: f64 = 0.8;

/// A case, as far as it is compared.
pub(crate) struct Compared {
    pub(crate) split: Split,
    pub(crate) id: CaseId,
    pub(crate) shingles: Shingles,
}

/// Pairs (earlier, later) of rows that share a key: each row with the first one of another split. Of rows (key, row, split) in
/// which those of one key stand together.
#[derive(Default)]
pub(crate) struct Pairs {
    key: Option<i64>,
    /// Of the current key, the first row of each split.
    firsts: Vec<(i64, i64)>,
    pairs: Vec<(i64, i64)>,
}

impl Pairs {
    pub(crate) fn meet(&mut self, key: i64, row: i64, split: i64) {
        if self.key != Some(key) {
            self.key = Some(key);
            self.firsts.clear();
        }
        if let Some((_, first)) = self.firsts.iter().find(|(other, _)| *other != split) {
            self.pairs.push((*first, row));
        }
        if !self.firsts.iter().any(|(other, _)| *other == split) {
            self.firsts.push((split, row));
        }
    }

    pub(crate) fn found(self) -> Vec<(i64, i64)> {
        self.pairs
    }
}

/// A report in the making: up to 100 pairs of like cases of different splits, exact ones first.
pub(crate) struct Report {
    found: Vec<NearDuplicate>,
    seen: HashSet<(i64, i64)>,
    left: usize,
}

impl Report {
    /// One for which at most `most` pairs are compared, like or not.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            found: Vec::new(),
            seen: HashSet::new(),
            left: most,
        }
    }

    /// Which of the pairs with a key in common are to be loaded: none twice, and no more than may be compared.
    pub(crate) fn choose(&mut self, exact: bool, mut pairs: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
        pairs.retain(|pair| self.seen.insert(*pair));
        if !exact {
            pairs.truncate(self.left);
            self.left -= pairs.len();
        }
        pairs
    }

    /// Takes in pairs whose cases are loaded.
    pub(crate) fn compare(
        &mut self,
        exact: bool,
        pairs: &[(i64, i64)],
        cases: &HashMap<i64, Compared>,
    ) -> Result<(), Failure> {
        for (a, b) in pairs {
            let (a, b) = (get(cases, *a)?, get(cases, *b)?);
            if self.is_full() || (!exact && a.shingles.resemblance(&b.shingles) < ALIKE) {
                continue;
            }
            let (a, b) = if a.split <= b.split { (a, b) } else { (b, a) };
            self.found.push(NearDuplicate {
                a: (a.split, a.id.clone()),
                b: (b.split, b.id.clone()),
            });
        }
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MOST_REPORTED
    }

    /// Whether nothing more is to be looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.is_full() || self.left == 0
    }

    pub(crate) fn found(self) -> Vec<NearDuplicate> {
        self.found
    }
}

fn get(cases: &HashMap<i64, Compared>, row: i64) -> Result<&Compared, Failure> {
    cases
        .get(&row)
        .ok_or_else(|| Failure::corrupt(format!("a case without a body: row {row}")))
}
