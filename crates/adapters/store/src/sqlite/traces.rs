//! Runs and their steps: a block in one transaction.

mod read;
mod rows;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use fapo_domain::EvaluationId;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::{RunRecord, RunStatus};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::traces::{StepsOf, Traces};
use sqlx::sqlite::SqliteConnection;

use crate::blob::pack_all;
use crate::error::Failure;
use crate::runs::{PreparedRun, blocking, prepare};
use crate::sqlite::blobs::{self, NewBlob};
use crate::sqlite::sql::{self, Columns, args, number_list};
use crate::sqlite::store::SqliteStore;
use crate::sqlite::writer::check_fence;

/// The row id of an evaluation, made if need be.
pub(crate) async fn intern(
    tx: &mut SqliteConnection,
    evaluation: EvaluationId,
) -> Result<i64, Failure> {
    if let Some(id) = find(tx, evaluation).await? {
        return Ok(id);
    }
    let row = args()
        .hash(&evaluation.0)
        .query("INSERT INTO evaluations (hash) VALUES (?) RETURNING id")
        .fetch_one(tx)
        .await?;
    row.column(0)
}

/// The row id of an evaluation, if it has rows at all.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    evaluation: EvaluationId,
) -> Result<Option<i64>, Failure> {
    let row = args()
        .hash(&evaluation.0)
        .query("SELECT id FROM evaluations WHERE hash = ?")
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.column(0)).transpose()
}

#[async_trait]
impl Traces for SqliteStore {
    async fn record_runs(
        &self,
        fence: Option<Fence>,
        runs: Vec<RunRecord>,
    ) -> Result<(), StoreError> {
        self.run("record runs", async {
            // everything that needs no lock is done before taking it
            let prepared = blocking(move || prepare(&runs)).await??;
            let blobs = self.prepare_blobs(prepared.contents).await?;
            let mut writer = self.writer().await;
            let mut tx = writer.begin().await?;
            check_fence(&mut tx, fence).await?;
            blobs::insert(&mut tx, blobs, self.now()).await?;
            for (evaluation, runs) in prepared.evaluations {
                let id = intern(&mut tx, evaluation).await?;
                let runs = without_finished(&mut tx, id, runs).await?;
                rows::insert(&mut tx, id, runs).await?;
            }
            tx.commit().await
        })
        .await
    }

    async fn finished_ordinals(
        &self,
        evaluation: EvaluationId,
        ordinals: &[u64],
    ) -> Result<Vec<u64>, StoreError> {
        self.run("list finished runs", async {
            let rows = args()
                .hash(&evaluation.0)
                .text(number_list(ordinals.iter().copied()))
                .query(
                    "SELECT ordinal FROM runs WHERE evaluation = (SELECT id FROM evaluations WHERE hash = ?1) \
                     AND ordinal IN (SELECT value FROM json_each(?2)) AND status <> 'missing' ORDER BY ordinal",
                )
                .fetch_all(&mut *self.reader().await)
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
        self.run("read runs", async {
            let mut connection = self.reader().await;
            let raw = read::fetch(&mut connection, evaluation, ordinals, steps).await?;
            drop(connection);
            let ordinals = ordinals.to_vec();
            blocking(move || read::assemble(evaluation, raw, &ordinals)).await?
        })
        .await
    }
}

impl SqliteStore {
    /// Packs the contents that are not stored yet, or must be touched.
    async fn prepare_blobs(
        &self,
        mut contents: HashMap<ContentHash, Vec<u8>>,
    ) -> Result<Vec<NewBlob>, Failure> {
        if contents.is_empty() {
            return Ok(Vec::new());
        }
        let present =
            blobs::present(&mut *self.reader().await, contents.keys(), self.now()).await?;
        contents.retain(|hash, _| !present.contains(hash));
        pack_all(contents).await
    }
}

/// Leaves out runs that are stored with a final status; removes stored `missing` ones to make place.
async fn without_finished(
    tx: &mut SqliteConnection,
    evaluation: i64,
    mut runs: Vec<PreparedRun>,
) -> Result<Vec<PreparedRun>, Failure> {
    let ordinals = number_list(runs.iter().map(|run| run.ordinal));
    let rows = args()
        .int(evaluation)
        .text(ordinals)
        .query(
            "SELECT ordinal, status FROM runs WHERE evaluation = ? \
             AND ordinal IN (SELECT value FROM json_each(?))",
        )
        .fetch_all(&mut *tx)
        .await?;
    let mut finished = HashSet::new();
    let mut missing = Vec::new();
    for row in &rows {
        if sql::to_run_status(row.column(1)?)? == RunStatus::Missing {
            missing.push(row.number(0)?);
        } else {
            finished.insert(row.number(0)?);
        }
    }
    if !missing.is_empty() {
        let missing = number_list(missing);
        for statement in [
            "DELETE FROM steps WHERE evaluation = ? AND ordinal IN (SELECT value FROM json_each(?))",
            "DELETE FROM runs WHERE evaluation = ? AND ordinal IN (SELECT value FROM json_each(?))",
        ] {
            args()
                .int(evaluation)
                .text(missing.clone())
                .query(statement)
                .execute(&mut *tx)
                .await?;
        }
    }
    runs.retain(|run| !finished.contains(&run.ordinal));
    Ok(runs)
}
