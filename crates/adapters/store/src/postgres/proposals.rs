//! What was asked of proposers and what they answered, by task.

use async_trait::async_trait;
use fapo_domain::TaskId;
use fapo_domain::model::task::Fence;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Proposals;
use serde_json::Value;

use crate::codec::{pack_json, unpack_json};
use crate::postgres::fence::check_fence;
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::PgStore;

#[async_trait]
impl Proposals for PgStore {
    async fn record_proposal(&self, fence: Fence, body: Value) -> Result<(), StoreError> {
        self.run("record a proposal", || async {
            let packed = pack_json(&body)?;
            let mut tx = self.begin().await?;
            check_fence(&mut tx, Some(fence)).await?;
            args()
                .hash(&fence.task.0)
                .bytes(packed)
                .int(self.now().0)
                .query(
                    "INSERT INTO proposals (task, body, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                )
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        })
        .await
    }

    async fn proposal(&self, task: TaskId) -> Result<Option<Value>, StoreError> {
        self.run("read a proposal", || async {
            let row = args()
                .hash(&task.0)
                .query("SELECT body FROM proposals WHERE task = $1")
                .fetch_optional(self.pool())
                .await?;
            row.map(|row| unpack_json(row.column(0)?)).transpose()
        })
        .await
    }
}
