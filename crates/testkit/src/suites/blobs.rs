//! What every [`fapo_domain::ports::blobs::Blobs`] must do.

use std::sync::Arc;

use anyhow::{Result, ensure};
use fapo_domain::hash::ContentHash;
use fapo_domain::ports::StoreError;

use super::Ports;
use crate::sample;

fn bytes(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

/// Order and repetition of the question are those of the answer.
pub async fn bytes_come_back_in_the_order_asked_for(ports: &Ports) -> Result<()> {
    let (a, b) = (bytes("a"), bytes("b"));
    let hashes = ports
        .blobs
        .put_blobs(vec![Arc::clone(&a), Arc::clone(&b), Arc::clone(&a)])
        .await?;
    ensure!(hashes == [ContentHash::of(b"a"), ContentHash::of(b"b"), hashes[0]]);
    let got = ports
        .blobs
        .get_blobs(&[hashes[1], hashes[0], hashes[1]])
        .await?;
    ensure!(got == [Arc::clone(&b), a, b]);
    Ok(())
}

/// Content decides the id, so a second write is the first.
pub async fn storing_again_is_harmless(ports: &Ports) -> Result<()> {
    let first = ports.blobs.put_blobs(vec![bytes("a")]).await?;
    let again = ports.blobs.put_blobs(vec![bytes("b"), bytes("a")]).await?;
    ensure!(again[1] == first[0]);
    ensure!(ports.blobs.get_blobs(&first).await? == [bytes("a")]);
    Ok(())
}

/// The first absent one is named.
pub async fn an_absent_blob_is_not_found(ports: &Ports) -> Result<()> {
    let there = ports.blobs.put_blobs(vec![bytes("a")]).await?;
    let absent = sample::hash("absent");
    let error = ports.blobs.get_blobs(&[there[0], absent]).await;
    ensure!(matches!(error, Err(StoreError::NotFound { id, .. }) if id == absent.to_string()));
    Ok(())
}

/// Compression must not show.
pub async fn large_and_empty_blobs_are_kept_exactly(ports: &Ports) -> Result<()> {
    let text: Arc<[u8]> = "{\"doc_id\": \"d\", \"text\": \"words\"}\n"
        .repeat(60_000)
        .into_bytes()
        .into();
    // no compressor makes this smaller
    let noise: Arc<[u8]> = (0..20_000u32)
        .flat_map(|n| *ContentHash::of(&n.to_le_bytes()).as_bytes())
        .collect();
    let contents = vec![text, noise, bytes("")];
    let hashes = ports.blobs.put_blobs(contents.clone()).await?;
    ensure!(ports.blobs.get_blobs(&hashes).await? == contents);
    Ok(())
}

/// A client uploads only these.
pub async fn absent_blobs_are_told_in_the_order_asked_for(ports: &Ports) -> Result<()> {
    let there = ports.blobs.put_blobs(vec![bytes("a")]).await?;
    let (x, y) = (sample::hash("x"), sample::hash("y"));
    let absent = ports.blobs.absent_blobs(&[y, there[0], x]).await?;
    ensure!(absent == [y, x], "{absent:?}");
    ensure!(ports.blobs.absent_blobs(&[]).await?.is_empty());
    Ok(())
}
