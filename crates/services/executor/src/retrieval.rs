//! Lexical retrieval: BM25 over a corpus of documents, and reciprocal rank fusion of several queries.
//!
//! An [`Index`] is immutable and shared. It is built once per corpus and set of fields (see [`corpus::Corpora`]),
//! and searching it is pure: equal queries give equal results, ties go to the earlier document.

pub mod corpus;
pub mod fusion;
pub mod index;
pub mod tokens;

pub use corpus::{Corpora, CorpusError};
pub use fusion::{FUSION_DEPTH, fuse};
pub use index::{FieldSet, Hit, Index, Ranking};

/// Names the whole method (tokens, weights, fusion). It is part of the key of every step that retrieves, so it must
/// change whenever equal queries could give other results.
pub const RETRIEVER_VERSION: &str = "bm25f/1";
