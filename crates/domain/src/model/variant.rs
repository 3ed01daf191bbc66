//! A variant: the content-addressed tree of `pipeline/`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hash::{ContentHash, Hasher};
use crate::ids::VariantId;
use crate::model::level::{Level, Technique};

/// The files of one variant, by path relative to `pipeline/` with `/` between the parts. Immutable once stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VariantTree(BTreeMap<String, Arc<[u8]>>);

impl VariantTree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a file.
    pub fn insert(&mut self, path: impl Into<String>, content: impl Into<Arc<[u8]>>) {
        self.0.insert(path.into(), content.into());
    }

    /// Removes a file.
    pub fn remove(&mut self, path: &str) -> Option<Arc<[u8]>> {
        self.0.remove(path)
    }

    /// A file's content.
    pub fn get(&self, path: &str) -> Option<&Arc<[u8]>> {
        self.0.get(path)
    }

    /// A file's content as text; `None` where it is absent or not UTF-8.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.0
            .get(path)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Files in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<[u8]>)> {
        self.0
            .iter()
            .map(|(path, content)| (path.as_str(), content))
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id: SHA-256 over each path and content hash in path order. Independent of how the tree was made.
    pub fn id(&self) -> VariantId {
        let mut hasher = Hasher::new("variant/v1");
        for (path, content) in &self.0 {
            hasher.part(path.as_bytes()).hash(&ContentHash::of(content));
        }
        VariantId(hasher.finish())
    }
}

impl FromIterator<(String, Arc<[u8]>)> for VariantTree {
    fn from_iter<I: IntoIterator<Item = (String, Arc<[u8]>)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

/// How a variant came to be. The baseline has no parents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// The variant.
    pub child: VariantId,
    /// What it was made from.
    pub parents: Vec<VariantId>,
    /// In which iteration of the job; 0 is the baseline.
    pub iteration: u32,
    /// The level of its difference from its first parent, decided from the diff.
    pub level: Option<Level>,
    /// What the proposer tried.
    pub technique: Option<Technique>,
    /// What the proposer expected and why.
    pub hypothesis: String,
    /// Lines added and removed.
    pub diff: DiffStats,
}

/// The size of a difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffStats {
    /// Files that differ.
    pub files: u32,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}
