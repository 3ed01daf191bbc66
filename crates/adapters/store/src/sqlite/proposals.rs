//! What was asked of proposers and what they answered, by task.

use async_trait::async_trait;
use fapo_domain::TaskId;
use fapo_domain::model::task::Fence;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Proposals;
use serde_json::Value;

use crate::codec::{pack_json, unpack_json};
use crate::sqlite::sql::{Columns, args};
use crate::sqlite::store::SqliteStore;
use crate::sqlite::writer::check_fence;

#[async_trait]
impl Proposals for SqliteStore {
    async fn record_proposal(&self, fence: Fence, body: Value) -> Result<(), StoreError> {
        self.run("record a proposal", async {
            let packed = pack_json(&body)?;
            let mut writer = self.writer().await;
            let mut tx = writer.begin().await?;
            check_fence(&mut tx, Some(fence)).await?;
            args()
                .hash(&fence.task.0)
                .bytes(packed)
                .int(self.now().0)
                .query("INSERT OR IGNORE INTO proposals (task, body, created_at) VALUES (?, ?, ?)")
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        })
        .await
    }

    async fn proposal(&self, task: TaskId) -> Result<Option<Value>, StoreError> {
        self.run("read a proposal", async {
            let row = args()
                .hash(&task.0)
                .query("SELECT body FROM proposals WHERE task = ?")
                .fetch_optional(&mut *self.reader().await)
                .await?;
            row.map(|row| unpack_json(row.column(0)?)).transpose()
        })
        .await
    }
}
