//! Variants: a row for the tree, one per file, and the files' contents as blobs.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::VariantId;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::variants::Variants;

use crate::codec::unpack;
use crate::error::Failure;
use crate::sqlite::blobs;
use crate::sqlite::sql::{Args, Columns, Insert, args};
use crate::sqlite::store::SqliteStore;

static INSERT_FILES: Insert = Insert::new(
    "INSERT OR IGNORE INTO variant_files (variant, path, blob) VALUES",
    3,
    "",
);

fn bind_file((variant, path, blob): (VariantId, String, ContentHash), arguments: &mut Args) {
    arguments.hash(&variant.0).text(path).hash(&blob);
}

#[async_trait]
impl Variants for SqliteStore {
    async fn put_variant(&self, tree: &VariantTree) -> Result<VariantId, StoreError> {
        self.run("store a variant", async {
            let id = tree.id();
            let contents = tree
                .iter()
                .map(|(_, content)| Arc::clone(content))
                .collect();
            let (hashes, new_blobs) = blobs::prepare(contents).await?;
            let files = tree
                .iter()
                .zip(hashes)
                .map(|((path, _), hash)| (id, path.to_owned(), hash))
                .collect();
            let mut writer = self.writer().await;
            let mut tx = writer.begin().await?;
            blobs::insert(&mut tx, new_blobs, self.now()).await?;
            args()
                .hash(&id.0)
                .int(self.now().0)
                .query("INSERT OR IGNORE INTO variants (id, created_at) VALUES (?, ?)")
                .execute(&mut *tx)
                .await?;
            INSERT_FILES.run(&mut tx, files, bind_file).await?;
            tx.commit().await?;
            Ok(id)
        })
        .await
    }

    async fn get_variant(&self, id: VariantId) -> Result<VariantTree, StoreError> {
        self.run("read a variant", async {
            let rows = args()
                .hash(&id.0)
                .query(
                    "SELECT path, body FROM variants LEFT JOIN variant_files ON variant = variants.id \
                     LEFT JOIN blobs ON hash = blob WHERE variants.id = ?",
                )
                .fetch_all(&mut *self.reader().await)
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
