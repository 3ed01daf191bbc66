//! The bootstrap of a mean of paired differences (Efron & Tibshirani 1993, ch. 13; Davison & Hinkley 1997, 4.2 and 5.3).
//!
//! Differences are whole millionths, so sums are exact: the result depends neither on rounding nor on how a sum was cut,
//! and a resample that comes out at zero is at zero.
//!
//! A resample is drawn in one of two ways that have the same distribution. With few distinct differences (a yes-or-no
//! metric has three), how often each of them is drawn is multinomial, and is drawn as a chain of binomials: the time does
//! not grow with the number of cases. Otherwise each of the `n` places draws an index.
//!
//! A bootstrap knows only the differences it has seen: after a single gain it is certain. Its p-value is therefore never below
//! that of the exact test that flips signs (Fisher 1935, *The Design of Experiments*, 21): of the `2^m` ways to sign the `m`
//! differences that are not zero, one at least is as good as what was seen.
//!
//! Comparing the second with the first instead of the first with the second mirrors the result: both ways of drawing turn
//! equal randomness into sums of opposite sign. (Few distinct differences that are their own mirror, each as often as its
//! opposite, are the same question in both directions, and get the same answer.)

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Binomial, Distribution};

/// Resamples where the number of cases does not forbid it.
pub const RESAMPLES: u32 = 5_000;
/// Fewest resamples.
const LEAST_RESAMPLES: u32 = 500;
/// Most index draws of one bootstrap.
const MOST_DRAWS: u64 = 200_000_000;
/// Up to so many distinct differences are drawn by their counts.
const FEW_VALUES: usize = 32;

/// What a bootstrap says about a mean difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    /// Percentile interval of the mean.
    pub interval: (f64, f64),
    /// `(1 + resamples whose mean is at or below zero) / (1 + resamples)`, and at least `2^-m` with `m` differences that are
    /// not zero: one-sided, for "no gain".
    pub p_value: f64,
    /// Resamples drawn.
    pub resamples: u32,
}

/// How many resamples are drawn over `n` differences by index: [`RESAMPLES`], fewer where that would be more than 200
/// million draws, but never fewer than 500.
pub fn resamples_for(n: usize) -> u32 {
    let affordable = MOST_DRAWS / (n as u64).max(1);
    u32::try_from(affordable)
        .unwrap_or(u32::MAX)
        .clamp(LEAST_RESAMPLES, RESAMPLES)
}

/// Bootstraps the mean of `differences` (in millionths), second minus first. The same arguments give the same result.
/// Without differences, or with none but zeros, the p-value is 1.
pub fn paired_bootstrap(differences: &[i32], confidence: f64, seed: u64) -> Bootstrap {
    bootstrap(differences, confidence, seed, RESAMPLES)
}

fn bootstrap(differences: &[i32], confidence: f64, seed: u64, most: u32) -> Bootstrap {
    let n = differences.len();
    if n == 0 {
        return Bootstrap {
            interval: (0.0, 0.0),
            p_value: 1.0,
            resamples: 0,
        };
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut sums = match few_values(differences) {
        Some(counts) => by_counts(&counts, n as u64, most, &mut random),
        None => by_index(differences, resamples_for(n).min(most), &mut random),
    };
    let resamples = sums.len() as u32;
    let not_above = sums.iter().filter(|sum| **sum <= 0).count();
    sums.sort_unstable();
    let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
    let scale = n as f64 * 1e6;
    let at = |q: f64| quantile(&sums, q) / scale;
    Bootstrap {
        interval: (at(tail), at(1.0 - tail)),
        p_value: ((1 + not_above) as f64 / (1 + sums.len()) as f64)
            .max(sign_flip_floor(differences)),
        resamples,
    }
}

/// The least p-value of a test that flips the signs of these differences.
fn sign_flip_floor(differences: &[i32]) -> f64 {
    let signed = differences.iter().filter(|difference| **difference != 0);
    // beyond that it is far below what any number of resamples can say
    0.5f64.powi(signed.take(60).count() as i32)
}

/// The `q` quantile as the `(B + 1) q`-th smallest of `B` values, between two of them in proportion.
fn quantile(sorted: &[i64], q: f64) -> f64 {
    let last = sorted.len() - 1;
    let position = ((sorted.len() + 1) as f64 * q - 1.0).clamp(0.0, last as f64);
    let (below, share) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(last);
    sorted[below] as f64 * (1.0 - share) + sorted[above] as f64 * share
}

/// The distinct differences and how often each occurs, the most frequent first; `None` where there are many.
fn few_values(differences: &[i32]) -> Option<Vec<(i32, u64)>> {
    let mut counts: Vec<(i32, u64)> = Vec::with_capacity(FEW_VALUES);
    for difference in differences {
        if let Some((_, count)) = counts.iter_mut().find(|(value, _)| value == difference) {
            *count += 1;
        } else if counts.len() < FEW_VALUES {
            counts.push((*difference, 1));
        } else {
            return None;
        }
    }
    // an order of their own, so that the result does not depend on the order of the cases
    sort_counts(&mut counts);
    Some(counts)
}

/// The same counts of the opposite differences, in their own order.
fn mirrored(counts: &[(i32, u64)]) -> Vec<(i32, u64)> {
    let mut mirrored: Vec<_> = counts
        .iter()
        .map(|(value, count)| (-value, *count))
        .collect();
    sort_counts(&mut mirrored);
    mirrored
}

fn sort_counts(counts: &mut [(i32, u64)]) {
    counts.sort_unstable_by_key(|(value, count)| (std::cmp::Reverse(*count), *value));
}

fn by_counts(counts: &[(i32, u64)], n: u64, resamples: u32, random: &mut ChaCha8Rng) -> Vec<i64> {
    // of the two directions of a comparison one is drawn, and the other is its mirror
    let mirror = mirrored(counts);
    let (counts, sign) = if *counts <= *mirror {
        (counts, 1)
    } else {
        (&*mirror, -1)
    };
    (0..resamples)
        .map(|_| {
            let (mut places, mut mass, mut sum) = (n, n, 0i64);
            for (value, count) in counts {
                // of the places left, each has this value with its share of the values left
                let drawn = if *count == mass {
                    places
                } else {
                    Binomial::new(places, *count as f64 / mass as f64)
                        .map_or(0, |binomial| binomial.sample(random))
                };
                sum += drawn as i64 * i64::from(*value);
                places -= drawn;
                mass -= count;
            }
            sign * sum
        })
        .collect()
}

fn by_index(differences: &[i32], resamples: u32, random: &mut ChaCha8Rng) -> Vec<i64> {
    // Lemire's multiply-shift without rejection: its bias is below n / 2^32, far below what resampling itself leaves open
    let n = differences.len() as u64;
    let pick = |bits: u32| i64::from(differences[((u64::from(bits) * n) >> 32) as usize]);
    (0..resamples)
        .map(|_| {
            let mut sum = 0i64;
            for _ in 0..n / 2 {
                let bits = random.next_u64();
                sum += pick(bits as u32) + pick((bits >> 32) as u32);
            }
            if n % 2 == 1 {
                sum += pick(random.next_u32());
            }
            sum
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: i32 = 1_000_000;

    /// Differences of two yes-or-no scores with the same chance of being right.
    fn null_case(n: usize, seed: u64, distinct: bool) -> Vec<i32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..n)
            .map(|_| {
                if distinct {
                    (random.next_u32() % 2_000_001) as i32 - ONE
                } else {
                    let (a, b) = (random.next_u32() % 2, random.next_u32() % 2);
                    (b as i32 - a as i32) * ONE
                }
            })
            .collect()
    }

    #[test]
    fn without_a_gain_one_in_twenty_is_called_one() {
        // binomial(600, 0.05): the band is four standard deviations wide to each side, plus one point for the bootstrap's
        // own small-sample error
        let rejected = (0..600)
            .filter(|seed| bootstrap(&null_case(80, *seed, false), 0.9, *seed, 999).p_value <= 0.05)
            .count() as f64
            / 600.0;
        assert!((0.015..=0.095).contains(&rejected), "{rejected}");
    }

    #[test]
    fn without_a_gain_the_index_path_rejects_as_rarely() {
        let rejected = (0..400)
            .filter(|seed| {
                let differences = null_case(60, *seed, true);
                assert!(few_values(&differences).is_none());
                let mut random = ChaCha8Rng::seed_from_u64(*seed);
                let sums = by_index(&differences, 400, &mut random);
                let not_above = sums.iter().filter(|sum| **sum <= 0).count();
                (1 + not_above) as f64 / 401.0 <= 0.05
            })
            .count() as f64
            / 400.0;
        assert!((0.01..=0.105).contains(&rejected), "{rejected}");
    }

    #[test]
    fn both_ways_of_drawing_agree() {
        let differences: Vec<i32> = (0..90)
            .map(|at| match at % 9 {
                0 | 1 => -ONE,
                2..=5 => 0,
                6 => ONE / 2,
                _ => ONE,
            })
            .collect();
        let counts = few_values(&differences).unwrap();
        let moments = |sums: &[i64]| {
            let values: Vec<f64> = sums.iter().map(|sum| *sum as f64 / 1e6).collect();
            let mean = super::super::mean(&values).unwrap();
            let squares: Vec<f64> = values.iter().map(|value| (value - mean).powi(2)).collect();
            (mean, super::super::mean(&squares).unwrap())
        };
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let (mean_a, variance_a) = moments(&by_counts(&counts, 90, 20_000, &mut random));
        let (mean_b, variance_b) = moments(&by_index(&differences, 20_000, &mut random));
        // n times the variance of one difference
        let (mean, variance) = {
            let exact: Vec<i64> = differences.iter().map(|value| i64::from(*value)).collect();
            let (mean, variance) = moments(&exact);
            (mean * 90.0, variance * 90.0)
        };
        // four standard errors of a mean and of a variance over 20,000 draws
        for (got_mean, got_variance) in [(mean_a, variance_a), (mean_b, variance_b)] {
            assert!((got_mean - mean).abs() < 4.0 * (variance / 20_000.0).sqrt());
            assert!((got_variance / variance - 1.0).abs() < 4.0 * (2.0f64 / 20_000.0).sqrt());
        }
    }

    #[test]
    fn the_interval_covers_a_true_gain_about_as_often_as_it_says() {
        // the second is right where the first is not with chance 0.3, the reverse with chance 0.1: a gain of 0.2
        let covered = (0..400)
            .filter(|seed| {
                let mut random = ChaCha8Rng::seed_from_u64(1_000 + *seed);
                let differences: Vec<i32> = (0..120)
                    .map(|_| match random.next_u32() % 10 {
                        0..=2 => ONE,
                        3 => -ONE,
                        _ => 0,
                    })
                    .collect();
                let (low, high) = bootstrap(&differences, 0.9, *seed, 999).interval;
                low <= 0.2 && 0.2 <= high
            })
            .count() as f64
            / 400.0;
        assert!((0.83..=0.96).contains(&covered), "{covered}");
    }

    #[test]
    fn nothing_and_equal_pairs_are_no_evidence() {
        assert_eq!(paired_bootstrap(&[], 0.9, 1).p_value, 1.0);
        let equal = paired_bootstrap(&[0; 50], 0.9, 1);
        assert_eq!((equal.p_value, equal.interval), (1.0, (0.0, 0.0)));
        let better = paired_bootstrap(&[ONE; 50], 0.9, 1);
        assert_eq!(better.interval, (1.0, 1.0));
        assert_eq!(better.p_value, 1.0 / 5001.0);
    }

    #[test]
    fn few_pairs_prove_little_however_good_they_are() {
        for (pairs, least) in [(1, 0.5), (2, 0.25), (4, 0.0625), (5, 0.03125)] {
            let all_won = vec![ONE; pairs];
            assert_eq!(paired_bootstrap(&all_won, 0.9, 1).p_value, least);
        }
        // pairs without a difference prove nothing
        let ties = [vec![0; 96], vec![ONE; 4]].concat();
        assert_eq!(paired_bootstrap(&ties, 0.9, 1).p_value, 0.0625);
    }

    #[test]
    fn resamples_shrink_with_the_number_of_cases() {
        assert_eq!(resamples_for(100), 5_000);
        assert_eq!(resamples_for(40_000), 5_000);
        assert_eq!(resamples_for(100_000), 2_000);
        assert_eq!(resamples_for(1_000_000), 500);
    }

    #[test]
    fn a_million_yes_or_no_cases_take_no_longer_than_a_hundred() {
        let differences: Vec<i32> = (0..1_000_000)
            .map(|at| match at % 100 {
                0..=10 => ONE,
                11..=20 => -ONE,
                _ => 0,
            })
            .collect();
        let result = paired_bootstrap(&differences, 0.9, 3);
        assert_eq!(result.resamples, RESAMPLES);
        // a gain of 0.01 with a standard error of 0.00046
        assert!(
            result.interval.0 > 0.009 && result.interval.1 < 0.011,
            "{result:?}"
        );
    }

    #[test]
    fn differences_that_are_their_own_mirror_get_one_answer() {
        let values = [-ONE, -ONE, 0, ONE, ONE];
        let swapped: Vec<i32> = values.iter().map(|v| -v).collect();
        for seed in 0..20 {
            let here = bootstrap(&values, 0.95, seed, 999);
            assert_eq!(here, bootstrap(&swapped, 0.95, seed, 999));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn the_interval_holds_the_mean_and_swapping_sides_mirrors_it(
            values in prop::collection::vec(prop_oneof![Just(-ONE), Just(0), Just(ONE), -ONE..ONE], 5..90),
            seed: u64,
        ) {
            let here = bootstrap(&values, 0.95, seed, 999);
            prop_assert_eq!(&here, &bootstrap(&values, 0.95, seed, 999));
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64 / 1e6;
            prop_assert!(here.interval.0 <= mean + 1e-12 && mean <= here.interval.1 + 1e-12, "{:?} {}", here, mean);
            let swapped: Vec<i32> = values.iter().map(|v| -v).collect();
            let there = bootstrap(&swapped, 0.95, seed, 999);
            let own_mirror = few_values(&values).is_some_and(|counts| counts == mirrored(&counts));
            if own_mirror {
                prop_assert_eq!(&here, &there);
                return Ok(());
            }
            prop_assert!((here.interval.0 + there.interval.1).abs() <= 1e-9, "{:?} {:?}", here, there);
            prop_assert!((here.interval.1 + there.interval.0).abs() <= 1e-9, "{:?} {:?}", here, there);
            // every resample is at or below zero on one side at least, and those at zero on both
            prop_assert!(here.p_value + there.p_value > 1.0, "{:?} {:?}", here, there);
        }
    }
}
