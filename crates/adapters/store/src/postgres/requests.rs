//! Which job a submission became.

use async_trait::async_trait;
use fapo_domain::JobId;
use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::access::Requests;

use crate::error::Failure;
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::PgStore;

#[async_trait]
impl Requests for PgStore {
    async fn bind_request(
        &self,
        project: &str,
        key: &str,
        fingerprint: ContentHash,
        job: JobId,
        at: Timestamp,
    ) -> Result<JobId, StoreError> {
        self.run("bind a request", || async {
            let mut tx = self.begin().await?;
            // waits for another caller who is binding the same key, and then finds it bound
            let made = args()
                .text(project)
                .text(key)
                .hash(&fingerprint)
                .job(job)
                .int(at.0)
                .query(
                    "INSERT INTO requests (project, key, fingerprint, job, created_at) VALUES ($1, $2, $3, $4, $5) \
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
                .query("SELECT fingerprint, job FROM requests WHERE project = $1 AND key = $2")
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
