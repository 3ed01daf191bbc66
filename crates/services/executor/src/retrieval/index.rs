//! The inverted index and its search.
//!
//! Weights are BM25F (Robertson, Zaragoza & Taylor 2004, "Simple BM25 extension to multiple weighted fields"; Robertson
//! & Zaragoza 2009, "The Probabilistic Relevance Framework", 3.6): title and text are one stream in which the title
//! counts [`TITLE_WEIGHT`] times, scored by BM25 with `k1 = 1.2`, `b = 0.75` and the inverse document frequency
//! `ln(1 + (N - n + 0.5) / (n + 0.5))` that Lucene uses, which is never negative. A query's terms count once each.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use fapo_domain::model::case::Document;
use fapo_domain::model::pipeline::DocumentField;

use super::tokens::for_each_term;

const K1: f32 = 1.2;
const B: f32 = 0.75;

/// How many times a title's terms count where both fields are searched.
pub const TITLE_WEIGHT: f32 = 2.0;

/// Which fields an index covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FieldSet {
    /// The title.
    pub title: bool,
    /// The text.
    pub text: bool,
}

impl FieldSet {
    /// Title and text.
    pub const BOTH: Self = Self {
        title: true,
        text: true,
    };

    /// From the list in a pipeline; an empty list is both.
    pub fn of(fields: &[DocumentField]) -> Self {
        if fields.is_empty() {
            return Self::BOTH;
        }
        Self {
            title: fields.contains(&DocumentField::Title),
            text: fields.contains(&DocumentField::Text),
        }
    }

    fn title_weight(self) -> f32 {
        if self == Self::BOTH {
            TITLE_WEIGHT
        } else {
            1.0
        }
    }
}

/// A document found: its position in the corpus and its score, comparable within one ranking only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Position in [`Index::documents`].
    pub document: u32,
    /// The higher the better.
    pub score: f32,
}

impl Eq for Hit {}

impl Ord for Hit {
    /// Best first: by falling score, then by position.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .score
            .total_cmp(&self.score)
            .then(self.document.cmp(&other.document))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Hits, best first.
pub type Ranking = Vec<Hit>;

/// An inverted index over some fields of a corpus.
pub struct Index {
    documents: Arc<Vec<Document>>,
    terms: HashMap<Box<str>, u32>,
    /// Postings of term `t` are `starts[t]..starts[t + 1]`.
    starts: Vec<usize>,
    /// Per posting: the document, and what the term adds to its score.
    postings: Vec<(u32, f32)>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("documents", &self.documents.len())
            .field("terms", &self.terms.len())
            .field("postings", &self.postings.len())
            .finish()
    }
}

impl Index {
    /// Builds the index over `fields` of `documents`. More than `u32::MAX` documents are not supported; those past
    /// that are not searched.
    pub fn build(documents: Arc<Vec<Document>>, fields: FieldSet) -> Self {
        let count = u32::try_from(documents.len()).unwrap_or(u32::MAX);
        let mut vocabulary = Vocabulary::default();
        let mut occurrences: Vec<Occurrence> = Vec::new();
        let mut lengths: Vec<f32> = Vec::with_capacity(documents.len());
        let mut one: Vec<(u32, f32)> = Vec::new();
        let mut buffer = String::new();
        for (document, number) in documents.iter().zip(0..count) {
            one.clear();
            let mut length = 0.0;
            let parts = [
                (fields.title, &document.title, fields.title_weight()),
                (fields.text, &document.text, 1.0),
            ];
            for (_, text, weight) in parts.into_iter().filter(|(wanted, ..)| *wanted) {
                for_each_term(text, &mut buffer, |term| {
                    one.push((vocabulary.intern(term), weight));
                    length += weight;
                });
            }
            lengths.push(length);
            one.sort_unstable_by_key(|(term, _)| *term);
            for group in one.chunk_by(|(a, _), (b, _)| a == b) {
                occurrences.push(Occurrence {
                    term: group[0].0,
                    document: number,
                    frequency: group.iter().map(|(_, weight)| weight).sum(),
                });
            }
        }
        let starts = vocabulary.starts(&occurrences);
        let postings = weigh(&occurrences, &starts, &lengths);
        Self {
            documents,
            terms: vocabulary.terms,
            starts,
            postings,
        }
    }

    /// The documents, in the order of the corpus.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The documents, shared.
    pub fn shared_documents(&self) -> Arc<Vec<Document>> {
        Arc::clone(&self.documents)
    }

    /// The `k` best documents for `query`. Fewer where fewer share a term with it.
    pub fn search(&self, query: &str, k: usize) -> Ranking {
        if k == 0 {
            return Ranking::new();
        }
        let mut wanted: Vec<u32> = Vec::new();
        for_each_term(query, &mut String::new(), |term| {
            if let Some(&id) = self.terms.get(term)
                && !wanted.contains(&id)
            {
                wanted.push(id);
            }
        });
        let mut scores = vec![0.0f32; self.documents.len()];
        for &term in &wanted {
            let term = term as usize;
            for &(document, weight) in &self.postings[self.starts[term]..self.starts[term + 1]] {
                scores[document as usize] += weight;
            }
        }
        best(&scores, k)
    }
}

/// The `k` best positive scores, by a heap whose top is the worst of those kept.
fn best(scores: &[f32], k: usize) -> Ranking {
    let mut kept: BinaryHeap<Hit> = BinaryHeap::with_capacity(k.min(scores.len()) + 1);
    let mut bar = 0.0f32;
    for (&score, document) in scores.iter().zip(0u32..) {
        // At an equal score the earlier document stays, so only a higher one gets in once the heap is full.
        if score <= bar {
            continue;
        }
        kept.push(Hit { document, score });
        if kept.len() > k {
            kept.pop();
        }
        if kept.len() == k {
            bar = kept.peek().map_or(0.0, |worst| worst.score);
        }
    }
    kept.into_sorted_vec()
}

struct Occurrence {
    term: u32,
    document: u32,
    frequency: f32,
}

#[derive(Default)]
struct Vocabulary {
    terms: HashMap<Box<str>, u32>,
}

impl Vocabulary {
    fn intern(&mut self, term: &str) -> u32 {
        if let Some(&id) = self.terms.get(term) {
            return id;
        }
        let id = u32::try_from(self.terms.len()).unwrap_or(u32::MAX);
        self.terms.insert(term.into(), id);
        id
    }

    fn starts(&self, occurrences: &[Occurrence]) -> Vec<usize> {
        let mut starts = vec![0usize; self.terms.len() + 1];
        for occurrence in occurrences {
            starts[occurrence.term as usize + 1] += 1;
        }
        for position in 1..starts.len() {
            starts[position] += starts[position - 1];
        }
        starts
    }
}

/// Scatters occurrences into posting lists (each in document order) and weighs them.
fn weigh(occurrences: &[Occurrence], starts: &[usize], lengths: &[f32]) -> Vec<(u32, f32)> {
    let count = lengths.len() as f64;
    let total: f64 = lengths.iter().map(|length| f64::from(*length)).sum();
    let average = if total > 0.0 { total / count } else { 1.0 } as f32;
    let mut next = starts.to_vec();
    let mut postings = vec![(0u32, 0.0f32); occurrences.len()];
    for occurrence in occurrences {
        let term = occurrence.term as usize;
        let containing = (starts[term + 1] - starts[term]) as f64;
        let idf = (1.0 + (count - containing + 0.5) / (containing + 0.5)).ln() as f32;
        let length = lengths[occurrence.document as usize];
        let frequency = occurrence.frequency;
        let saturated =
            frequency * (K1 + 1.0) / (frequency + K1 * (1.0 - B + B * length / average));
        postings[next[term]] = (occurrence.document, idf * saturated);
        next[term] += 1;
    }
    postings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(id: usize, title: &str, text: &str) -> Document {
        Document {
            doc_id: format!("d{id}"),
            title: title.to_owned(),
            text: text.to_owned(),
        }
    }

    fn index(texts: &[(&str, &str)], fields: FieldSet) -> Index {
        let documents = texts
            .iter()
            .enumerate()
            .map(|(id, (title, text))| document(id, title, text))
            .collect();
        Index::build(Arc::new(documents), fields)
    }

    fn found(index: &Index, query: &str, k: usize) -> Vec<u32> {
        index
            .search(query, k)
            .iter()
            .map(|hit| hit.document)
            .collect()
    }

    #[test]
    fn the_weight_of_a_term_is_the_formula_worked_by_hand() {
        // two documents of 1 and 3 terms, average 2; `owl` is in one of them
        let index = index(&[("", "owl"), ("", "cat dog elk")], FieldSet::BOTH);
        let idf = (1.0f64 + 1.5 / 1.5).ln();
        let expected = idf * 2.2 / (1.0 + 1.2 * (0.25 + 0.75 * 0.5));
        let hits = index.search("owl", 5);
        assert_eq!(hits.len(), 1);
        assert!((f64::from(hits[0].score) - expected).abs() < 1e-6);
    }

    #[test]
    fn fields_are_searched_as_asked_and_titles_count_more() {
        let texts = [("zebra", "x y"), ("x y", "zebra"), ("zebra zebra", "zebra")];
        assert_eq!(
            found(&index(&texts[..2], FieldSet::BOTH), "zebra", 2),
            [0, 1]
        );
        let title = FieldSet::of(&[DocumentField::Title]);
        assert_eq!(found(&index(&texts, title), "zebra", 9), [2, 0]);
        let text = FieldSet::of(&[DocumentField::Text]);
        assert_eq!(found(&index(&texts, text), "ZEBRAS!", 9), [1, 2]);
        assert_eq!(FieldSet::of(&[]), FieldSet::BOTH);
    }

    #[test]
    fn ties_go_to_the_earlier_document_at_every_k() {
        let texts = vec![("", "same words"); 9];
        let index = index(&texts, FieldSet::BOTH);
        for k in 0..=10 {
            let expected: Vec<u32> = (0..9).take(k).collect();
            assert_eq!(found(&index, "words", k), expected);
        }
    }

    #[test]
    fn empty_corpora_documents_and_queries_find_nothing() {
        assert!(index(&[], FieldSet::BOTH).search("a", 3).is_empty());
        assert!(index(&[("", "")], FieldSet::BOTH).search("a", 3).is_empty());
        let index = index(&[("a", "b")], FieldSet::BOTH);
        assert!(index.search("", 3).is_empty());
        assert!(index.search("...", 3).is_empty());
        assert!(index.search("unheard", 3).is_empty());
    }

    proptest! {
        #[test]
        fn the_heap_finds_what_a_full_sort_finds(
            texts in prop::collection::vec("[abc ]{0,12}", 0..40),
            query in "[abcd ]{0,8}",
            k in 1usize..12,
        ) {
            let pairs: Vec<(&str, &str)> = texts.iter().map(|text| ("", text.as_str())).collect();
            let index = index(&pairs, FieldSet::BOTH);
            let all = index.search(&query, usize::MAX >> 8);
            prop_assert!(all.is_sorted());
            let few = index.search(&query, k);
            prop_assert_eq!(&few[..], &all[..k.min(all.len())]);
        }
    }
}
