//! Cases on their way in: prepared, and checked against the ids in use.

use std::collections::HashMap;

use fapo_domain::CaseId;
use fapo_domain::hash::{ContentHash, Hasher, canonical_json};
use fapo_domain::model::case::Split;
use fapo_domain::ports::datasets::{DuplicateCase, IncomingCase};
use serde_json::Value;

use super::likeness::Likeness;
use crate::codec::pack_json;
use crate::error::Failure;

/// A case ready to be inserted.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) split: Split,
    pub(crate) case_id: CaseId,
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) body: Vec<u8>,
    pub(crate) digest: ContentHash,
    pub(crate) likeness: Likeness,
}

/// Everything about a case that needs no transaction.
pub(crate) fn prepare(incoming: IncomingCase) -> Result<Prepared, Failure> {
    let IncomingCase {
        split,
        case,
        file,
        line,
    } = incoming;
    let body = pack_json(&(&case.input, &case.expected, &case.metadata))?;
    let likeness = Likeness::of(&case.input);
    let mut hasher = Hasher::new("case/v1");
    hasher.part(case.case_id.as_str().as_bytes());
    for map in [case.input, case.expected, case.metadata] {
        hasher.part(canonical_json(&Value::Object(map)).as_bytes());
    }
    Ok(Prepared {
        split,
        case_id: case.case_id,
        file,
        line,
        body,
        digest: hasher.finish(),
        likeness,
    })
}

/// Parts cases whose ids are new from those whose ids are used: by the cases of `used`, each with its file and line, or by one
/// before them.
pub(crate) fn part_duplicates(
    cases: Vec<Prepared>,
    mut used: HashMap<CaseId, (String, u64)>,
) -> (Vec<Prepared>, Vec<DuplicateCase>) {
    let mut fresh = Vec::with_capacity(cases.len());
    let mut duplicates = Vec::new();
    for case in cases {
        match used.get(&case.case_id) {
            Some(first) => duplicates.push(DuplicateCase {
                first: first.clone(),
                second: (case.file, case.line),
                case_id: case.case_id,
            }),
            None => {
                used.insert(case.case_id.clone(), (case.file.clone(), case.line));
                fresh.push(case);
            }
        }
    }
    (fresh, duplicates)
}
