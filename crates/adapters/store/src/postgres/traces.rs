//! Runs and their steps: a block in one transaction.
//!
//! The hot path of a cluster. What needs no lock is done before the transaction: serializing, hashing and packing values, looking
//! which of them are stored, and writing the steps' rows as the server reads them. In it a block takes one statement for its
//! blobs, one for its runs, and one binary COPY for its steps, straight into their partition. (Steps by `UNNEST` took the server as
//! long as COPY, arrays and all beside it; COPY needs neither the arrays nor their copies.)
//!
//! The rows of runs decide between two processes that write one block: each run is inserted, or replaces a missing one, by the
//! first, and the second waits for it and then inserts nothing. Steps are written for the runs that were.

mod copy;
mod read;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::EvaluationId;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::traces::{StepsOf, Traces};

use crate::blob::{NewBlob, pack_all};
use crate::error::Failure;
use crate::postgres::blobs;
use crate::postgres::evaluations::{find, intern};
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::PgStore;
use crate::runs::{PreparedRun, blocking, prepare};
use write::Block;

const RECORD: &str = "record runs";

#[async_trait]
impl Traces for PgStore {
    async fn record_runs(
        &self,
        fence: Option<Fence>,
        runs: Vec<RunRecord>,
    ) -> Result<(), StoreError> {
        let prepared = self
            .once(RECORD, async {
                blocking(move || prepare(&runs)).await.flatten()
            })
            .await?;
        let blobs = self
            .once(RECORD, prepare_blobs(self, prepared.contents))
            .await?;
        let evaluations: Arc<[(EvaluationId, Vec<PreparedRun>)]> =
            prepared.evaluations.into_iter().collect();
        loop {
            let blocks = self.run(RECORD, || place(self, &evaluations)).await?;
            let stored = self
                .run(RECORD, || write::store(self, fence, &blobs, &blocks))
                .await?;
            // else an evaluation was thrown away in between: it is given a new place
            if stored {
                return Ok(());
            }
        }
    }

    async fn finished_ordinals(
        &self,
        evaluation: EvaluationId,
        ordinals: &[u64],
    ) -> Result<Vec<u64>, StoreError> {
        self.run("list finished runs", || async {
            let mut connection = self.connection().await?;
            let Some(place) = find(&mut connection, evaluation).await? else {
                return Ok(Vec::new());
            };
            let rows = args()
                .int(place.part)
                .int(place.id)
                .numbers(ordinals.iter().copied())
                .query(
                    "SELECT ordinal FROM runs WHERE part = $1 AND evaluation = $2 AND ordinal = ANY($3) \
                     AND status <> 'missing' ORDER BY ordinal",
                )
                .fetch_all(&mut *connection)
                .await?;
            rows.iter().map(|row| row.number(0)).collect()
        })
        .await
    }

    async fn runs(
        &self,
        evaluation: EvaluationId,
        ordinals: &[u64],
        steps: StepsOf,
    ) -> Result<Vec<RunRecord>, StoreError> {
        let raw = self
            .run("read runs", || async {
                let mut connection = self.connection().await?;
                read::fetch(&mut connection, evaluation, ordinals, steps).await
            })
            .await?;
        let ordinals = ordinals.to_vec();
        self.once("read runs", async {
            blocking(move || read::assemble(evaluation, raw, &ordinals))
                .await
                .flatten()
        })
        .await
    }
}

/// Packs the contents that are not stored yet, or must be touched.
async fn prepare_blobs(
    store: &PgStore,
    mut contents: HashMap<ContentHash, Vec<u8>>,
) -> Result<Vec<NewBlob>, Failure> {
    if contents.is_empty() {
        return Ok(Vec::new());
    }
    let mut connection = store.connection().await?;
    let present = blobs::present(&mut connection, contents.keys(), store.now()).await?;
    drop(connection);
    contents.retain(|hash, _| !present.contains(hash));
    pack_all(contents).await
}

/// Gives each evaluation its place, and makes rows of its runs.
async fn place(
    store: &PgStore,
    evaluations: &Arc<[(EvaluationId, Vec<PreparedRun>)]>,
) -> Result<Vec<Block>, Failure> {
    let mut places = Vec::with_capacity(evaluations.len());
    for (evaluation, _) in evaluations.iter() {
        places.push(intern(store, *evaluation).await?);
    }
    let evaluations = Arc::clone(evaluations);
    blocking(move || {
        evaluations
            .iter()
            .zip(places)
            .map(|((_, runs), place)| Block::new(place, runs))
            .collect()
    })
    .await
}
