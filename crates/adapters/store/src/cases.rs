//! What both back ends' datasets share.
//!
//! A version's id is a hash over the splits in order (train, val, test), of each split's number of cases and its cases
//! in order, each by its id and the canonical JSON of its input, expected output and metadata. Ordinals of a split are
//! dense from 0 and in the order of the import.

pub(crate) mod across;
pub(crate) mod groups;
pub(crate) mod incoming;
pub(crate) mod likeness;

use std::collections::HashMap;

use fapo_domain::model::case::{Case, Split};
use fapo_domain::{CaseId, DatasetId};
use serde_json::{Map, Value};

use crate::codec::unpack_json;
use crate::error::Failure;

/// Most duplicates told of, over a whole import.
pub(crate) const MOST_DUPLICATES: u64 = 100;

/// A case's body: input, expected output, metadata.
type Body = (Map<String, Value>, Map<String, Value>, Map<String, Value>);

/// Reads a case.
pub(crate) fn read_body(case_id: &str, packed: &[u8]) -> Result<Case, Failure> {
    let (input, expected, metadata): Body = unpack_json(packed)?;
    Ok(Case {
        case_id: CaseId::new(case_id),
        input,
        expected,
        metadata,
    })
}

/// A split, as it stands in a column.
pub(crate) const fn split_number(split: Split) -> i64 {
    match split {
        Split::Train => 0,
        Split::Val => 1,
        Split::Test => 2,
    }
}

/// Reads one.
pub(crate) fn to_split(number: i64) -> Result<Split, Failure> {
    usize::try_from(number)
        .ok()
        .and_then(|number| Split::ALL.get(number).copied())
        .ok_or_else(|| Failure::corrupt(format!("split number {number}")))
}

/// The cases in the order asked for; one that is not there is told.
pub(crate) fn in_order(
    found: &HashMap<u64, Case>,
    id: DatasetId,
    split: Split,
    ordinals: &[u64],
) -> Result<Vec<Case>, Failure> {
    ordinals
        .iter()
        .map(|ordinal| {
            found.get(ordinal).cloned().ok_or_else(|| {
                Failure::not_found("case", format!("{ordinal} of {split} in {}", id.short()))
            })
        })
        .collect()
}

/// The share of train cases that a split moves.
pub(crate) fn check_fraction(fraction: f64) -> Result<(), Failure> {
    if fraction > 0.0 && fraction < 1.0 {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "the share of cases to split off is {fraction}: it must lie between 0 and 1"
    )))
}

/// How many of the train cases there are; more than can be split are refused.
pub(crate) fn check_train(train: Option<&u64>) -> Result<u32, Failure> {
    let train = train.copied().unwrap_or(0);
    u32::try_from(train)
        .map_err(|_| Failure::invalid(format!("{train} cases are too many to be split")))
}

/// Refuses an import in which ids were used twice.
pub(crate) fn check_duplicates(duplicates: u64) -> Result<(), Failure> {
    if duplicates == 0 {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "{duplicates} cases have an id that another case has: give every case an id of its own"
    )))
}
