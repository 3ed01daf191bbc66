//! What every [`fapo_domain::ports::variants::Variants`] must do.

use anyhow::{Result, ensure};
use fapo_domain::VariantId;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::StoreError;

use super::Ports;
use crate::sample;

/// Any bytes, any depth, and no file at all.
pub async fn a_tree_comes_back_byte_for_byte(ports: &Ports) -> Result<()> {
    let mut tree = sample::variant_tree("Say ü.");
    tree.insert("deep/er/file.bin", vec![0u8, 255, 10, 13]);
    tree.insert("empty.txt", Vec::new());
    tree.insert("long.md", "a long prompt ".repeat(500).into_bytes());
    let id = ports.variants.put_variant(&tree).await?;
    ensure!(id == tree.id());
    ensure!(ports.variants.get_variant(id).await? == tree);
    let empty = VariantTree::new();
    let id = ports.variants.put_variant(&empty).await?;
    ensure!(ports.variants.get_variant(id).await? == empty);
    Ok(())
}

/// Files shared by trees do not get in each other's way.
pub async fn storing_again_gives_the_same_id(ports: &Ports) -> Result<()> {
    let (one, two) = (sample::variant_tree("one"), sample::variant_tree("two"));
    let first = ports.variants.put_variant(&one).await?;
    let other = ports.variants.put_variant(&two).await?;
    ensure!(first != other);
    ensure!(ports.variants.put_variant(&one).await? == first);
    ensure!(ports.variants.get_variant(first).await? == one);
    ensure!(ports.variants.get_variant(other).await? == two);
    Ok(())
}

/// An id nobody stored.
pub async fn an_absent_variant_is_not_found(ports: &Ports) -> Result<()> {
    let error = ports
        .variants
        .get_variant(VariantId(sample::hash("absent")))
        .await;
    ensure!(matches!(error, Err(StoreError::NotFound { .. })));
    Ok(())
}
