//! Dataset versions.

mod across;
mod groups;
mod import;

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::ports::StoreError;
use fapo_domain::ports::datasets::{
    Dataset, Datasets, DuplicateCase, ImportId, IncomingCase, NearDuplicate,
};
use fapo_domain::{CaseId, DatasetId};
use sqlx::postgres::PgConnection;

pub(crate) use self::import::drop_abandoned;
use crate::cases::incoming::prepare;
use crate::cases::{in_order, read_body, split_number, to_split};
use crate::codec::from_json;
use crate::error::Failure;
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::PgStore;
use crate::runs::blocking;

#[async_trait]
impl Datasets for PgStore {
    async fn begin_import(&self, project: &str) -> Result<ImportId, StoreError> {
        self.run("begin an import", || import::begin(self, project))
            .await
    }

    async fn import_cases(
        &self,
        import: ImportId,
        cases: Vec<IncomingCase>,
    ) -> Result<Vec<DuplicateCase>, StoreError> {
        let prepared = self
            .once("import cases", async {
                blocking(move || {
                    cases
                        .into_iter()
                        .map(prepare)
                        .collect::<Result<Vec<_>, _>>()
                })
                .await
                .flatten()
            })
            .await?;
        self.run("import cases", || import::add(self, import, &prepared))
            .await
    }

    async fn split_import(
        &self,
        import: ImportId,
        fraction: f64,
        seed: u64,
    ) -> Result<(), StoreError> {
        self.run("split an import", || {
            import::split(self, import, fraction, seed)
        })
        .await
    }

    async fn commit_import(&self, import: ImportId) -> Result<Dataset, StoreError> {
        self.run("commit an import", || import::commit(self, import))
            .await
    }

    async fn abort_import(&self, import: ImportId) -> Result<(), StoreError> {
        self.run("abort an import", || import::abort(self, import))
            .await
    }

    async fn get_dataset(&self, id: DatasetId) -> Result<Dataset, StoreError> {
        self.run("read a dataset", || async {
            let mut connection = self.connection().await?;
            get(&mut connection, id).await
        })
        .await
    }

    async fn cases(
        &self,
        id: DatasetId,
        split: Split,
        ordinals: &[u64],
    ) -> Result<Vec<Case>, StoreError> {
        self.run("read cases", || async {
            let rows = args()
                .hash(&id.0)
                .int(split_number(split))
                .numbers(ordinals.iter().copied())
                .query(
                    "SELECT ordinal, case_id, body FROM cases JOIN case_bodies USING (dataset, seq) \
                     WHERE dataset = (SELECT id FROM datasets WHERE hash = $1) AND split = $2 AND ordinal = ANY($3)",
                )
                .fetch_all(self.pool())
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
        self.run("read cases", || async {
            let rows = args()
                .hash(&id.0)
                .int(split_number(split))
                .number(from)
                .int(i64::from(limit))
                .query(
                    "SELECT case_id, body FROM cases JOIN case_bodies USING (dataset, seq) \
                     WHERE dataset = (SELECT id FROM datasets WHERE hash = $1) AND split = $2 AND ordinal >= $3 \
                     ORDER BY ordinal LIMIT $4",
                )
                .fetch_all(self.pool())
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
        self.run("find a case", || async {
            let row = args()
                .hash(&id.0)
                .text(case.as_str())
                .query(
                    "SELECT split, ordinal FROM cases \
                     WHERE dataset = (SELECT id FROM datasets WHERE hash = $1) AND case_id = $2",
                )
                .fetch_optional(self.pool())
                .await?;
            row.map(|row| Ok((to_split(row.column(0)?)?, row.number(1)?)))
                .transpose()
        })
        .await
    }
}

/// A committed version.
async fn get(connection: &mut PgConnection, id: DatasetId) -> Result<Dataset, Failure> {
    let row = args()
        .hash(&id.0)
        .query("SELECT id, near_duplicates FROM datasets WHERE hash = $1")
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| Failure::not_found("dataset", id))?;
    let near_duplicates: Option<&str> = row.column(1)?;
    let near_duplicates: Option<Vec<NearDuplicate>> = near_duplicates
        .map(|text| from_json(text.as_bytes()))
        .transpose()?;
    Ok(Dataset {
        id,
        cases: counts(connection, row.column(0)?).await?,
        near_duplicates: near_duplicates.unwrap_or_default(),
    })
}

/// Cases per split; splits without cases are left out.
async fn counts(
    connection: &mut PgConnection,
    dataset: i64,
) -> Result<BTreeMap<Split, u64>, Failure> {
    // ordinals are dense, so the last one tells the number without counting
    let row = args()
        .int(dataset)
        .query(
            "SELECT (SELECT coalesce(max(ordinal) + 1, 0) FROM cases WHERE dataset = $1 AND split = 0), \
             (SELECT coalesce(max(ordinal) + 1, 0) FROM cases WHERE dataset = $1 AND split = 1), \
             (SELECT coalesce(max(ordinal) + 1, 0) FROM cases WHERE dataset = $1 AND split = 2)",
        )
        .fetch_one(connection)
        .await?;
    let mut counts = BTreeMap::new();
    for (n, split) in Split::ALL.into_iter().enumerate() {
        let count = row.number(n)?;
        if count > 0 {
            counts.insert(split, count);
        }
    }
    Ok(counts)
}
