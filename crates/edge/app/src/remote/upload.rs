//! Uploading a project: only what the server does not have.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use fapo_domain::ContentHash;
use fapo_domain::hash::Hasher;
use fapo_domain::ports::optimizer::{Manifest, OptimizerError};

use super::Remote;
use crate::output::{Output, format};

/// Hashes asked for at once.
const HASHES: usize = 10_000;
/// Bytes sent at once, where no file is longer by itself.
const BATCH: usize = 4 << 20;

/// A project's files, named by their contents.
#[derive(Debug)]
pub struct Upload {
    manifest: Manifest,
    contents: BTreeMap<ContentHash, Arc<[u8]>>,
}

impl Upload {
    /// Hashes the files.
    pub fn new(files: BTreeMap<String, Arc<[u8]>>) -> Self {
        let mut contents = BTreeMap::new();
        let mut manifest = Manifest::default();
        for (path, content) in files {
            let hash = ContentHash::of(&content);
            manifest.0.insert(path, hash);
            contents.insert(hash, content);
        }
        Self { manifest, contents }
    }

    /// The files, by path.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Sends what the server does not have. Repeating it is harmless, and sends only what is missing then.
    ///
    /// # Errors
    /// The server's.
    pub async fn send(&self, remote: &Remote, output: &Output) -> Result<(), OptimizerError> {
        let wanted: Vec<ContentHash> = self.contents.keys().copied().collect();
        let mut missing = Vec::new();
        for hashes in wanted.chunks(HASHES) {
            let ask = async || remote.optimizer.missing_blobs(&remote.caller, hashes).await;
            missing.extend(remote.patiently(output, ask).await?);
        }
        // a server may only ask for what was offered
        let contents: Vec<Arc<[u8]>> = missing
            .iter()
            .filter_map(|hash| self.contents.get(hash).cloned())
            .collect();
        if contents.is_empty() {
            return Ok(());
        }
        output.note(&format!(
            "uploading {} ({})",
            format::counted(contents.len() as u64, "file"),
            format::bytes(contents.iter().map(|content| content.len() as u64).sum())
        ));
        for batch in batches(contents) {
            let send = async || {
                let caller = &remote.caller;
                remote.optimizer.upload_blobs(caller, batch.clone()).await
            };
            remote.patiently(output, send).await?;
        }
        Ok(())
    }
}

/// Cuts contents into pieces of about [`BATCH`] bytes; a longer one is a piece by itself.
fn batches(contents: Vec<Arc<[u8]>>) -> Vec<Vec<Arc<[u8]>>> {
    let mut batches: Vec<Vec<Arc<[u8]>>> = Vec::new();
    let mut room = 0;
    for content in contents {
        match batches.last_mut() {
            Some(batch) if content.len() <= room => {
                room -= content.len();
                batch.push(content);
            }
            _ => {
                room = BATCH.saturating_sub(content.len());
                batches.push(vec![content]);
            }
        }
    }
    batches
}

/// A new request id for a project: the beginning of its hash, and something random, so that the same files can be submitted twice
/// as two jobs.
pub fn request_id(manifest: &Manifest) -> String {
    let mut hasher = Hasher::new("request/v1");
    for (path, content) in &manifest.0 {
        hasher.part(path.as_bytes()).hash(content);
    }
    // the standard library seeds each RandomState from the system's randomness
    let random = RandomState::new().hash_one(0u8);
    format!("{}-{random:016x}", hasher.finish().short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_sent_in_pieces_that_are_not_too_large() {
        let of = |sizes: &[usize]| -> Vec<Vec<usize>> {
            let contents = sizes.iter().map(|size| vec![0u8; *size].into()).collect();
            batches(contents)
                .iter()
                .map(|batch| batch.iter().map(|content| content.len()).collect())
                .collect()
        };
        let (half, whole) = (BATCH / 2, BATCH);
        assert_eq!(of(&[half, half, 1]), [vec![half, half], vec![1]]);
        assert_eq!(of(&[1, whole * 2, 1]), [vec![1], vec![whole * 2], vec![1]]);
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn a_request_id_is_new_each_time_and_begins_with_the_contents() {
        let upload = Upload::new([("a".to_owned(), Arc::from(b"x".as_slice()))].into());
        let (one, two) = (request_id(upload.manifest()), request_id(upload.manifest()));
        assert_ne!(one, two);
        assert_eq!(one[..12], two[..12]);
        assert!(one.len() <= 64);
    }
}
