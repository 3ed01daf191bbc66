//! Variants: immutable trees, stored once.

use async_trait::async_trait;

use super::StoreError;
use crate::ids::VariantId;
use crate::model::variant::VariantTree;

/// Stores and reads variants.
#[async_trait]
pub trait Variants: Send + Sync {
    /// Stores a tree; its id is its content's hash. Atomic; repeating is harmless.
    async fn put_variant(&self, tree: &VariantTree) -> Result<VariantId, StoreError>;

    /// The whole tree of a variant.
    async fn get_variant(&self, id: VariantId) -> Result<VariantTree, StoreError>;
}
