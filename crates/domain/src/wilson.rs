//! The Wilson score interval for a share (Wilson 1927), and the normal quantile it needs.

/// Interval for the share behind `successes` of `trials` at a two-sided `confidence`. `successes` may be fractional (a sum
/// of scores in `[0, 1]`): the interval is then conservative, because a score varies no more than a yes-or-no does.
/// Without trials it is `(0, 1)`.
pub fn wilson(successes: f64, trials: u64, confidence: f64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let n = trials as f64;
    let share = (successes / n).clamp(0.0, 1.0);
    let z = normal_quantile(0.5 + confidence.clamp(0.0, 1.0 - 1e-12) / 2.0);
    let z2 = z * z;
    let center = share + z2 / (2.0 * n);
    let spread = z * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    (
        ((center - spread) / scale).clamp(0.0, share),
        ((center + spread) / scale).clamp(share, 1.0),
    )
}

/// The value below which a standard normal variable falls with probability `p`, by bisection on the distribution
/// function; exact to about 1e-7, which is that of [`normal_cdf`]. Infinite at 0 and 1.
pub fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (-9.0, 9.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if normal_cdf(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// The distribution function of the standard normal: the series of Marsaglia ("Evaluating the Normal Distribution", 2004)
/// for the middle, and the continued fraction of the tail beyond 6.
pub fn normal_cdf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        let tail =
            (-x * x / 2.0).exp() / (std::f64::consts::TAU.sqrt() * (x.abs() + 1.0 / x.abs()));
        return if x > 0.0 { 1.0 - tail } else { tail };
    }
    let (mut sum, mut term, mut power) = (x, x, 1.0);
    loop {
        power += 2.0;
        term *= x * x / power;
        let next = sum + term;
        if next == sum {
            break;
        }
        sum = next;
    }
    0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_985),
            (0.95, 1.644_853_627),
            (0.005, -2.575_829_304),
            (0.999_9, 3.719_016_485),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-6, "{p}");
        }
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
    }

    #[test]
    fn the_intervals_are_those_of_the_formula() {
        // worked by hand: p = 0.5, n = 10, z = 1.96 gives center 0.5 and half width 0.2634
        let (low, high) = wilson(5.0, 10, 0.95);
        assert!(
            (low - 0.2366).abs() < 1e-4 && (high - 0.7634).abs() < 1e-4,
            "{low} {high}"
        );
        let (low, high) = wilson(0.0, 10, 0.95);
        assert!(low == 0.0 && (high - 0.2775).abs() < 1e-4, "{high}");
        assert_eq!(wilson(0.0, 0, 0.95), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn an_interval_contains_its_share_and_shrinks_with_trials(hits in 0u64..200, extra in 1u64..200, confidence in 0.5f64..0.999) {
            let trials = hits + extra;
            let (low, high) = wilson(hits as f64, trials, confidence);
            let share = hits as f64 / trials as f64;
            prop_assert!(0.0 <= low && low <= share && share <= high && high <= 1.0);
            let (low4, high4) = wilson(4.0 * hits as f64, 4 * trials, confidence);
            prop_assert!(high4 - low4 < high - low);
        }
    }
}
