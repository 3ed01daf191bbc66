//! Tokens, by the hash of their text.

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::access::TokenRecord;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::access::Tokens;
use sqlx::postgres::PgRow;

use crate::error::Failure;
use crate::postgres::sql::{self, Columns, args};
use crate::postgres::store::PgStore;

fn record(row: &PgRow) -> Result<TokenRecord, Failure> {
    Ok(TokenRecord {
        id: row.column(0)?,
        hash: None,
        name: row.column(1)?,
        project: row.column(2)?,
        role: sql::to_role(row.column(3)?)?,
        created_at: Timestamp(row.column(4)?),
        expires_at: row.column::<Option<i64>>(5)?.map(Timestamp),
        revoked_at: row.column::<Option<i64>>(6)?.map(Timestamp),
    })
}

#[async_trait]
impl Tokens for PgStore {
    async fn create_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        self.run("store a token", || async {
            let hash = sql::token_hash(&token)?;
            let mut tx = self.begin().await?;
            let made = args()
                .text(token.id.as_str())
                .hash(&hash)
                .text(token.name.as_str())
                .opt_text(token.project.as_deref())
                .text(token.role.as_str())
                .int(token.created_at.0)
                .opt_int(token.expires_at.map(|at| at.0))
                .opt_int(token.revoked_at.map(|at| at.0))
                .query(
                    "INSERT INTO tokens (id, hash, name, project, role, created_at, expires_at, revoked_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
                )
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if made == 0 {
                return Err(Failure::exists("token", &token.id));
            }
            tx.commit().await
        })
        .await
    }

    async fn find_token(&self, hash: ContentHash) -> Result<Option<TokenRecord>, StoreError> {
        self.run("look up a token", || async {
            let row = args()
                .hash(&hash)
                .query(
                    "SELECT id, name, project, role, created_at, expires_at, revoked_at FROM tokens WHERE hash = $1",
                )
                .fetch_optional(self.pool())
                .await?;
            let found = row.as_ref().map(record).transpose()?;
            Ok(found.map(|token| TokenRecord {
                hash: Some(hash),
                ..token
            }))
        })
        .await
    }

    async fn tokens(&self, project: Option<&str>) -> Result<Vec<TokenRecord>, StoreError> {
        self.run("list tokens", || async {
            let rows = args()
                .opt_text(project)
                .query(
                    "SELECT id, name, project, role, created_at, expires_at, revoked_at FROM tokens \
                     WHERE $1::text IS NULL OR project = $1 ORDER BY seq",
                )
                .fetch_all(self.pool())
                .await?;
            rows.iter().map(record).collect()
        })
        .await
    }

    async fn revoke_token(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        self.run("revoke a token", || async {
            let mut tx = self.begin().await?;
            let found = args()
                .text(id)
                .int(at.0)
                .query("UPDATE tokens SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1")
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if found == 0 {
                return Err(Failure::not_found("token", id));
            }
            tx.commit().await
        })
        .await
    }
}
