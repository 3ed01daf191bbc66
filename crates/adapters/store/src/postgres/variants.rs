//! Variants: a row for the tree, one per file, and the files' contents as blobs.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::VariantId;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::variants::Variants;

use crate::blob::prepare;
use crate::codec::unpack;
use crate::error::Failure;
use crate::postgres::blobs;
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::PgStore;

#[async_trait]
impl Variants for PgStore {
    async fn put_variant(&self, tree: &VariantTree) -> Result<VariantId, StoreError> {
        let id = tree.id();
        let contents = tree
            .iter()
            .map(|(_, content)| Arc::clone(content))
            .collect();
        let (hashes, new_blobs) = self.once("store a variant", prepare(contents)).await?;
        let paths: Vec<String> = tree.iter().map(|(path, _)| path.to_owned()).collect();
        self.run("store a variant", || async {
            let mut tx = self.begin().await?;
            blobs::insert(&mut tx, &new_blobs, self.now()).await?;
            args()
                .hash(&id.0)
                .int(self.now().0)
                .query(
                    "INSERT INTO variants (id, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                )
                .execute(&mut *tx)
                .await?;
            args()
                .hash(&id.0)
                .texts(paths.clone())
                .hashes(&hashes)
                .query(
                    "INSERT INTO variant_files (variant, path, blob) \
                     SELECT $1, path, blob FROM UNNEST($2::text[], $3::bytea[]) AS f (path, blob) ON CONFLICT DO NOTHING",
                )
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        })
        .await?;
        Ok(id)
    }

    async fn get_variant(&self, id: VariantId) -> Result<VariantTree, StoreError> {
        self.run("read a variant", || async {
            let rows = args()
                .hash(&id.0)
                .query(
                    "SELECT path, body FROM variants LEFT JOIN variant_files ON variant = variants.id \
                     LEFT JOIN blobs ON hash = blob WHERE variants.id = $1",
                )
                .fetch_all(self.pool())
                .await?;
            if rows.is_empty() {
                return Err(Failure::not_found("variant", id));
            }
            let mut tree = VariantTree::new();
            for row in &rows {
                // a tree without files has one row without a path
                if let Some(path) = row.column::<Option<String>>(0)? {
                    tree.insert(path, unpack(row.column(1)?)?);
                }
            }
            if tree.id() != id {
                return Err(Failure::corrupt(format!("variant {id} has other files")));
            }
            Ok(tree)
        })
        .await
    }
}
