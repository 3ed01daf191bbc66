//! Which job a submission became.

use async_trait::async_trait;
use fapo_domain::JobId;
use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::access::Requests;

use crate::error::Failure;
use crate::sqlite::sql::{Columns, args};
use crate::sqlite::store::SqliteStore;

#[async_trait]
impl Requests for SqliteStore {
    async fn bind_request(
        &self,
        project: &str,
        key: &str,
        fingerprint: ContentHash,
        job: JobId,
        at: Timestamp,
    ) -> Result<JobId, StoreError> {
        self.run("bind a request", async {
            let mut writer = self.writer().await;
            let mut tx = writer.begin().await?;
            let made = args()
                .text(project)
                .text(key)
                .hash(&fingerprint)
                .job(job)
                .int(at.0)
                .query(
                    "INSERT INTO requests (project, key, fingerprint, job, created_at) VALUES (?, ?, ?, ?, ?) \
                     ON CONFLICT DO NOTHING",
                )
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if made > 0 {
                tx.commit().await?;
                return Ok(job);
            }
            let row = args()
                .text(project)
                .text(key)
                .query("SELECT fingerprint, job FROM requests WHERE project = ? AND key = ?")
                .fetch_one(&mut *tx)
                .await?;
            if row.hash(0)? == fingerprint {
                row.job(1)
            } else {
                Err(Failure::exists("request", key))
            }
        })
        .await
    }
}
