//! Corpora as the job names them: loaded from blobs, indexed once, shared by all blocks.

use std::sync::{Arc, Mutex, PoisonError};

use fapo_domain::ContentHash;
use fapo_domain::model::case::Document;
use fapo_domain::model::job::CorpusRef;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::blobs::Blobs;
use tokio::sync::OnceCell;

use super::index::{FieldSet, Index};
use crate::recent::Recent;

/// How many chunks (of at most 4 MiB) are fetched at once.
const FETCHED: usize = 8;

/// A corpus that cannot be searched.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// Its blobs cannot be read.
    #[error("the corpus {} cannot be loaded", hash.short())]
    Store {
        /// The corpus.
        hash: ContentHash,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A line is no document.
    #[error("document {number} of corpus {} cannot be read", hash.short())]
    Unreadable {
        /// The corpus.
        hash: ContentHash,
        /// Position of the document, from 1.
        number: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The blobs hold another number of documents than the job says.
    #[error("corpus {} has {found} documents where the job says {expected}", hash.short())]
    Count {
        /// The corpus.
        hash: ContentHash,
        /// What the blobs hold.
        found: u64,
        /// What the job says.
        expected: u64,
    },
    /// Indexing was cut short by shutdown.
    #[error("indexing the corpus {} was interrupted", hash.short())]
    Interrupted {
        /// The corpus.
        hash: ContentHash,
    },
}

/// Made by the first who asks; the others wait for it.
type Cell<T> = Arc<OnceCell<Arc<T>>>;
type Cells<K, T> = Mutex<Recent<K, Cell<T>>>;

/// The indices of the corpora in use. Each is loaded and built once, however many blocks ask for it at the same time; a
/// failure is not remembered.
pub struct Corpora {
    blobs: Arc<dyn Blobs>,
    indices: Cells<(ContentHash, FieldSet), Index>,
    documents: Cells<ContentHash, Vec<Document>>,
}

impl Corpora {
    /// Reads corpora from `blobs`.
    pub fn new(blobs: Arc<dyn Blobs>) -> Self {
        Self {
            blobs,
            indices: Mutex::new(Recent::default()),
            documents: Mutex::new(Recent::default()),
        }
    }

    /// The index over `fields` of `corpus`.
    pub async fn index(
        &self,
        corpus: &CorpusRef,
        fields: FieldSet,
    ) -> Result<Arc<Index>, CorpusError> {
        let cell = cell_of(&self.indices, (corpus.hash, fields));
        cell.get_or_try_init(async || {
            let documents = cell_of(&self.documents, corpus.hash)
                .get_or_try_init(async || self.load(corpus).await.map(Arc::new))
                .await
                .map(Arc::clone)?;
            // Up to a second of pure computation: not on a thread that serves other blocks.
            tokio::task::spawn_blocking(move || Arc::new(Index::build(documents, fields)))
                .await
                .map_err(|_| CorpusError::Interrupted { hash: corpus.hash })
        })
        .await
        .map(Arc::clone)
    }

    async fn load(&self, corpus: &CorpusRef) -> Result<Vec<Document>, CorpusError> {
        let hash = corpus.hash;
        let mut documents = Vec::with_capacity(usize::try_from(corpus.documents).unwrap_or(0));
        for hashes in corpus.chunks.chunks(FETCHED) {
            let chunks = self
                .blobs
                .get_blobs(hashes)
                .await
                .map_err(|source| CorpusError::Store { hash, source })?;
            for chunk in chunks {
                read_lines(hash, &chunk, &mut documents)?;
            }
        }
        let found = documents.len() as u64;
        if found != corpus.documents {
            return Err(CorpusError::Count {
                hash,
                found,
                expected: corpus.documents,
            });
        }
        Ok(documents)
    }
}

impl std::fmt::Debug for Corpora {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Corpora").finish_non_exhaustive()
    }
}

fn read_lines(
    hash: ContentHash,
    chunk: &[u8],
    documents: &mut Vec<Document>,
) -> Result<(), CorpusError> {
    for line in chunk.split(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let document = serde_json::from_slice(line).map_err(|source| CorpusError::Unreadable {
            hash,
            number: documents.len() as u64 + 1,
            source,
        })?;
        documents.push(document);
    }
    Ok(())
}

fn cell_of<K: PartialEq, T>(recent: &Cells<K, T>, key: K) -> Cell<T> {
    recent
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_with(key, || Arc::new(OnceCell::new()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;

    /// Holds blobs and counts how often they are asked for.
    #[derive(Default)]
    struct CountingBlobs {
        contents: Vec<(ContentHash, Arc<[u8]>)>,
        reads: AtomicUsize,
    }

    #[async_trait]
    impl Blobs for CountingBlobs {
        async fn put_blobs(&self, _: Vec<Arc<[u8]>>) -> Result<Vec<ContentHash>, StoreError> {
            Ok(Vec::new())
        }

        async fn get_blobs(&self, hashes: &[ContentHash]) -> Result<Vec<Arc<[u8]>>, StoreError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            hashes
                .iter()
                .map(|hash| {
                    self.contents
                        .iter()
                        .find(|(known, _)| known == hash)
                        .map(|(_, content)| Arc::clone(content))
                        .ok_or_else(|| StoreError::NotFound {
                            kind: "blob",
                            id: hash.to_string(),
                        })
                })
                .collect()
        }
    }

    fn corpus(texts: &[&str], documents: u64) -> (CountingBlobs, CorpusRef) {
        let mut blobs = CountingBlobs::default();
        for text in texts {
            blobs
                .contents
                .push((ContentHash::of(text.as_bytes()), Arc::from(text.as_bytes())));
        }
        let reference = CorpusRef {
            hash: ContentHash::of(texts.concat().as_bytes()),
            chunks: blobs.contents.iter().map(|(hash, _)| *hash).collect(),
            documents,
        };
        (blobs, reference)
    }

    const A: &str = "{\"doc_id\":\"a\",\"title\":\"Owls\",\"text\":\"night\"}\n";
    const B: &str = "{\"doc_id\":\"b\",\"text\":\"owls by day\",\"extra\":1}";

    #[tokio::test]
    async fn a_corpus_is_loaded_once_however_many_ask() {
        let (blobs, reference) = corpus(&[A, B], 2);
        let blobs = Arc::new(blobs);
        let corpora = Corpora::new(Arc::clone(&blobs) as Arc<dyn Blobs>);
        let text = FieldSet {
            title: false,
            text: true,
        };
        let (one, two, three) = futures::join!(
            corpora.index(&reference, FieldSet::BOTH),
            corpora.index(&reference, FieldSet::BOTH),
            corpora.index(&reference, text),
        );
        let (one, two, three) = (one.unwrap(), two.unwrap(), three.unwrap());
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(one.search("owl", 5).len(), 2);
        assert_eq!(three.search("owl", 5).len(), 1);
        assert_eq!(blobs.reads.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn damage_is_told_with_the_place() {
        let (blobs, reference) = corpus(&[A, "{broken"], 2);
        let error = Corpora::new(Arc::new(blobs))
            .index(&reference, FieldSet::BOTH)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("document 2"), "{error}");
        let (blobs, reference) = corpus(&[A], 2);
        let error = Corpora::new(Arc::new(blobs))
            .index(&reference, FieldSet::BOTH)
            .await
            .unwrap_err();
        assert!(matches!(error, CorpusError::Count { found: 1, .. }));
        let (_, reference) = corpus(&[A], 1);
        let error = Corpora::new(Arc::new(CountingBlobs::default()))
            .index(&reference, FieldSet::BOTH)
            .await
            .unwrap_err();
        assert!(matches!(error, CorpusError::Store { .. }));
    }
}
