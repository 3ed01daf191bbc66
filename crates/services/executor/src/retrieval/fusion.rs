//! Reciprocal rank fusion (Cormack, Clarke & Büttcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual
//! rank learning methods", SIGIR): a document's score is the sum over rankings of `1 / (60 + rank)`, ranks from 1.

use std::collections::HashMap;

use super::index::{Hit, Ranking};

const K: f32 = 60.0;

/// How deep each ranking is read. Fixed, so that what is returned does not depend on how far diagnosis looks.
pub const FUSION_DEPTH: usize = 1000;

/// Joins rankings into one. A single ranking keeps its own scores. Ties go to the earlier document.
pub fn fuse(mut rankings: Vec<Ranking>) -> Ranking {
    if rankings.len() <= 1 {
        return rankings.pop().unwrap_or_default();
    }
    let mut scores: HashMap<u32, f32> = HashMap::new();
    for ranking in &rankings {
        for (rank, hit) in ranking.iter().enumerate() {
            *scores.entry(hit.document).or_default() += 1.0 / (K + 1.0 + rank as f32);
        }
    }
    let mut fused: Ranking = scores
        .into_iter()
        .map(|(document, score)| Hit { document, score })
        .collect();
    fused.sort_unstable();
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(documents: &[u32]) -> Ranking {
        documents
            .iter()
            .zip(0u16..)
            .map(|(&document, rank)| Hit {
                document,
                score: 10.0 - f32::from(rank),
            })
            .collect()
    }

    fn order(fused: &Ranking) -> Vec<u32> {
        fused.iter().map(|hit| hit.document).collect()
    }

    #[test]
    fn a_document_found_by_both_beats_the_firsts_of_each() {
        let fused = fuse(vec![ranking(&[1, 2, 3]), ranking(&[4, 2, 5])]);
        assert_eq!(order(&fused), [2, 1, 4, 3, 5]);
        assert!((fused[0].score - 2.0 / 62.0).abs() < 1e-6);
    }

    #[test]
    fn one_ranking_is_left_as_it_is_and_none_is_empty() {
        assert_eq!(fuse(vec![ranking(&[7, 3])]), ranking(&[7, 3]));
        assert!(fuse(Vec::new()).is_empty());
    }
}
