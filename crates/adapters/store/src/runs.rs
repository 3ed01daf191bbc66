//! What both back ends make of run records: rows ready to be inserted, and records put together from rows.

use std::collections::{BTreeMap, HashMap, HashSet};

use fapo_domain::hash::ContentHash;
use fapo_domain::model::trace::{RunRecord, RunStatus, StepRecord};
use fapo_domain::{EvaluationId, Spend};
use serde::de::DeserializeOwned;

use crate::codec::{
    Cell, SMALL, blob_cell, from_json, pack, read_cell, to_json, unpack, unpack_json,
};
use crate::error::Failure;
use crate::values;

/// Runs ready to be inserted, and what they refer to.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) evaluations: BTreeMap<EvaluationId, Vec<PreparedRun>>,
    /// Long values by hash, not packed yet: most of a repeated evaluation's are stored already.
    pub(crate) contents: HashMap<ContentHash, Vec<u8>>,
}

/// A run, serialized. `output_text`, `output_json` and its steps' `input` and `output` are cells.
pub(crate) struct PreparedRun {
    pub(crate) ordinal: u64,
    pub(crate) case_id: String,
    pub(crate) status: RunStatus,
    pub(crate) reason: Option<String>,
    pub(crate) output_text: Option<Vec<u8>>,
    pub(crate) output_json: Option<Vec<u8>>,
    pub(crate) spend: Spend,
    pub(crate) full_spend: Option<String>,
    pub(crate) full_cost: u64,
    pub(crate) cached: bool,
    pub(crate) started_at: i64,
    pub(crate) duration_ms: u32,
    pub(crate) full_duration_ms: u32,
    pub(crate) steps: Vec<PreparedStep>,
}

/// A step, serialized.
pub(crate) struct PreparedStep {
    pub(crate) full_spend: Option<String>,
    /// Without `input` and `output`.
    pub(crate) record: StepRecord,
    pub(crate) input: Option<Vec<u8>>,
    pub(crate) output: Option<Vec<u8>>,
}

/// Serializes runs. Of two with one identity the first final one stays.
pub(crate) fn prepare(runs: &[RunRecord]) -> Result<Prepared, Failure> {
    let mut prepared = Prepared::default();
    let mut chosen: BTreeMap<(EvaluationId, u64), &RunRecord> = BTreeMap::new();
    for run in runs {
        let place = chosen.entry((run.evaluation, run.ordinal)).or_insert(run);
        if place.status == RunStatus::Missing {
            *place = run;
        }
    }
    for ((evaluation, _), run) in chosen {
        let row = prepared.run(run)?;
        prepared
            .evaluations
            .entry(evaluation)
            .or_default()
            .push(row);
    }
    Ok(prepared)
}

impl Prepared {
    fn run(&mut self, run: &RunRecord) -> Result<PreparedRun, Failure> {
        Ok(PreparedRun {
            ordinal: run.ordinal,
            case_id: run.case_id.as_str().to_owned(),
            status: run.status,
            reason: run.reason.clone(),
            output_text: run
                .output_text
                .as_ref()
                .map(|text| self.cell(text.as_bytes().to_vec())),
            output_json: self.json_cell(run.output_json.as_ref())?,
            spend: run.spend,
            full_spend: values::full_spend(&run.full_spend, &run.spend)?,
            full_cost: run.full_spend.cost.0,
            cached: run.steps.iter().any(|step| step.cache_hit),
            started_at: run.started_at.0,
            duration_ms: run.duration_ms,
            full_duration_ms: run.full_duration_ms,
            steps: run
                .steps
                .iter()
                .map(|step| self.step(step))
                .collect::<Result<_, _>>()?,
        })
    }

    fn step(&mut self, step: &StepRecord) -> Result<PreparedStep, Failure> {
        Ok(PreparedStep {
            full_spend: values::full_spend(&step.full_spend, &step.spend)?,
            input: self.json_cell(step.input.as_ref())?,
            output: self.json_cell(step.output.as_ref())?,
            record: StepRecord {
                input: None,
                output: None,
                step: step.step.clone(),
                kind: step.kind.clone(),
                error_kind: step.error_kind.clone(),
                error: step.error.clone(),
                ..*step
            },
        })
    }

    fn json_cell<T: serde::Serialize>(
        &mut self,
        value: Option<&T>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        value
            .map(|value| Ok(self.cell(to_json(value)?)))
            .transpose()
    }

    fn cell(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if bytes.len() <= SMALL {
            return pack(&bytes);
        }
        let hash = ContentHash::of(&bytes);
        self.contents.entry(hash).or_insert(bytes);
        blob_cell(&hash)
    }
}

/// The blobs that cells refer to, loaded.
pub(crate) struct Bodies(pub(crate) HashMap<ContentHash, Vec<u8>>);

impl Bodies {
    /// Reads a cell that holds JSON.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        cell: Option<&[u8]>,
    ) -> Result<Option<T>, Failure> {
        cell.map(|cell| match read_cell(cell)? {
            Cell::Packed(packed) => unpack_json(packed),
            Cell::Blob(hash) => from_json(self.blob(&hash)?),
        })
        .transpose()
    }

    /// Reads a cell that holds a text.
    pub(crate) fn text(&self, cell: Option<&[u8]>) -> Result<Option<String>, Failure> {
        cell.map(|cell| {
            let bytes = match read_cell(cell)? {
                Cell::Packed(packed) => unpack(packed)?,
                Cell::Blob(hash) => self.blob(&hash)?.to_vec(),
            };
            String::from_utf8(bytes).map_err(|error| Failure::Corrupt(Box::new(error)))
        })
        .transpose()
    }

    fn blob(&self, hash: &ContentHash) -> Result<&[u8], Failure> {
        self.0
            .get(hash)
            .map(Vec::as_slice)
            .ok_or_else(|| Failure::corrupt(format!("blob {hash} is gone")))
    }
}

/// Notes the blob that a cell refers to.
pub(crate) fn note_blob(
    cell: Option<&[u8]>,
    wanted: &mut HashSet<ContentHash>,
) -> Result<(), Failure> {
    if let Some(cell) = cell
        && let Cell::Blob(hash) = read_cell(cell)?
    {
        wanted.insert(hash);
    }
    Ok(())
}

/// The runs in the order asked for, each as often as it was asked for; absent ones are left out.
pub(crate) fn in_order(mut runs: HashMap<u64, RunRecord>, ordinals: &[u64]) -> Vec<RunRecord> {
    let mut ordered = Vec::with_capacity(runs.len());
    let mut asked = HashMap::new();
    for ordinal in ordinals {
        *asked.entry(*ordinal).or_insert(0u32) += 1;
    }
    for ordinal in ordinals {
        let again = asked.get_mut(ordinal).map_or(0, |count| {
            *count -= 1;
            *count
        });
        let run = if again > 0 {
            runs.get(ordinal).cloned()
        } else {
            runs.remove(ordinal)
        };
        ordered.extend(run);
    }
    ordered
}

/// Runs `work` on a thread where it holds nobody up: a block's serialization takes milliseconds.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::Io(std::io::Error::other(error)))
}
