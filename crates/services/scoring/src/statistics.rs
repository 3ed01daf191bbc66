//! Statistics of scores: pure and deterministic.

pub mod bootstrap;

/// The arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The nearest-rank percentile: the smallest value such that at least `share` of all are at or below it. Sorts in place;
/// `None` of nothing.
pub fn nearest_rank(values: &mut [u32], share: f64) -> Option<u32> {
    let count = values.len();
    let rank = (share.clamp(0.0, 1.0) * count as f64 - 1e-9)
        .ceil()
        .max(1.0) as usize;
    let at = rank.checked_sub(1).filter(|at| *at < count)?;
    Some(*values.select_nth_unstable(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_nothing_is_nothing() {
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[1.0, 0.0, 0.5]), Some(0.5));
    }

    #[test]
    fn percentiles_are_values_that_occur() {
        assert_eq!(nearest_rank(&mut [], 0.95), None);
        assert_eq!(nearest_rank(&mut [7], 0.95), Some(7));
        let mut hundred: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(nearest_rank(&mut hundred, 0.95), Some(95));
        assert_eq!(nearest_rank(&mut hundred, 0.0), Some(1));
        assert_eq!(nearest_rank(&mut hundred, 1.0), Some(100));
        let mut twenty: Vec<u32> = (1..=20).collect();
        assert_eq!(nearest_rank(&mut twenty, 0.95), Some(19));
    }
}
