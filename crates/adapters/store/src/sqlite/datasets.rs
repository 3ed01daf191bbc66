//! Dataset versions.

mod across;
mod groups;
mod import;
mod incoming;

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::datasets::{
    Dataset, Datasets, DuplicateCase, ImportId, IncomingCase, NearDuplicate,
};
use fapo_domain::{CaseId, DatasetId};
use sqlx::sqlite::SqliteConnection;

pub(crate) use self::import::Imports;
use crate::cases::{in_order, read_body, split_number, to_split};
use crate::codec::from_json;
use crate::error::Failure;
use crate::sqlite::sql::{Columns, args, number_list};
use crate::sqlite::store::SqliteStore;

#[async_trait]
impl Datasets for SqliteStore {
    async fn begin_import(&self, project: &str) -> Result<ImportId, StoreError> {
        self.run("begin an import", import::begin(self, project))
            .await
    }

    async fn import_cases(
        &self,
        import: ImportId,
        cases: Vec<IncomingCase>,
    ) -> Result<Vec<DuplicateCase>, StoreError> {
        self.run("import cases", import::add(self, import, cases))
            .await
    }

    async fn split_import(
        &self,
        import: ImportId,
        fraction: f64,
        seed: u64,
    ) -> Result<(), StoreError> {
        self.run(
            "split an import",
            import::split(self, import, fraction, seed),
        )
        .await
    }

    async fn commit_import(&self, import: ImportId) -> Result<Dataset, StoreError> {
        self.run("commit an import", import::commit(self, import))
            .await
    }

    async fn abort_import(&self, import: ImportId) -> Result<(), StoreError> {
        self.run("abort an import", import::abort(self, import))
            .await
    }

    async fn get_dataset(&self, id: DatasetId) -> Result<Dataset, StoreError> {
        self.run("read a dataset", async {
            let mut connection = self.reader().await;
            let row = args()
                .hash(&id.0)
                .query("SELECT id, near_duplicates FROM datasets WHERE hash = ?")
                .fetch_optional(&mut *connection)
                .await?
                .ok_or_else(|| Failure::not_found("dataset", id))?;
            let near_duplicates: Option<&str> = row.column(1)?;
            let near_duplicates: Option<Vec<NearDuplicate>> = near_duplicates
                .map(|text| from_json(text.as_bytes()))
                .transpose()?;
            Ok(Dataset {
                id,
                cases: counts(&mut connection, row.column(0)?).await?,
                near_duplicates: near_duplicates.unwrap_or_default(),
            })
        })
        .await
    }

    async fn cases(
        &self,
        id: DatasetId,
        split: Split,
        ordinals: &[u64],
    ) -> Result<Vec<Case>, StoreError> {
        self.run("read cases", async {
            let rows = args()
                .hash(&id.0)
                .int(split_number(split))
                .text(number_list(ordinals.iter().copied()))
                .query(
                    "SELECT ordinal, case_id, body FROM cases JOIN case_bodies USING (seq) \
                     WHERE dataset = (SELECT id FROM datasets WHERE hash = ?1) AND split = ?2 \
                     AND ordinal IN (SELECT value FROM json_each(?3))",
                )
                .fetch_all(&mut *self.reader().await)
                .await?;
            let mut found = HashMap::with_capacity(rows.len());
            for row in &rows {
                found.insert(row.number(0)?, read_body(row.column(1)?, row.column(2)?)?);
            }
            in_order(&found, id, split, ordinals)
        })
        .await
    }

    async fn page(
        &self,
        id: DatasetId,
        split: Split,
        from: u64,
        limit: u32,
    ) -> Result<Vec<Case>, StoreError> {
        self.run("read cases", async {
            let rows = args()
                .hash(&id.0)
                .int(split_number(split))
                .number(from)
                .number(u64::from(limit))
                .query(
                    "SELECT case_id, body FROM cases JOIN case_bodies USING (seq) \
                     WHERE dataset = (SELECT id FROM datasets WHERE hash = ?1) AND split = ?2 AND ordinal >= ?3 \
                     ORDER BY ordinal LIMIT ?4",
                )
                .fetch_all(&mut *self.reader().await)
                .await?;
            rows.iter()
                .map(|row| read_body(row.column(0)?, row.column(1)?))
                .collect()
        })
        .await
    }

    async fn find_case(
        &self,
        id: DatasetId,
        case: &CaseId,
    ) -> Result<Option<(Split, u64)>, StoreError> {
        self.run("find a case", async {
            let row = args()
                .hash(&id.0)
                .text(case.as_str())
                .query(
                    "SELECT split, ordinal FROM cases \
                     WHERE dataset = (SELECT id FROM datasets WHERE hash = ?1) AND case_id = ?2",
                )
                .fetch_optional(&mut *self.reader().await)
                .await?;
            row.map(|row| Ok((to_split(row.column(0)?)?, row.number(1)?)))
                .transpose()
        })
        .await
    }
}

/// Cases per split; splits without cases are left out.
async fn counts(
    connection: &mut SqliteConnection,
    dataset: i64,
) -> Result<BTreeMap<Split, u64>, Failure> {
    let mut counts = BTreeMap::new();
    for split in Split::ALL {
        // ordinals are dense, so the last one tells the number without counting
        let row = args()
            .int(dataset)
            .int(split_number(split))
            .query(
                "SELECT coalesce(max(ordinal) + 1, 0) FROM cases WHERE dataset = ? AND split = ?",
            )
            .fetch_one(&mut *connection)
            .await?;
        let count = row.number(0)?;
        if count > 0 {
            counts.insert(split, count);
        }
    }
    Ok(counts)
}
