//! Numbers as people read them. Scores are shown as percentages, differences of scores as points of a percentage.

use std::time::Duration;

use fapo_domain::MicroUsd;
use fapo_domain::clock::Timestamp;
pub use fapo_domain::text::one_line;

/// A share in `[0, 1]` as `71.0 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A difference of two shares as `+29.0` or `−4.5`, in points.
pub fn points(difference: f64) -> String {
    let value = difference * 100.0;
    // a rounded zero has no sign
    if value.abs() < 0.05 {
        return "0.0".to_owned();
    }
    let sign = if value < 0.0 { '−' } else { '+' };
    format!("{sign}{:.1}", value.abs())
}

/// An interval of shares as `33.1 to 52.0 %`.
pub fn percent_interval(low: f64, high: f64) -> String {
    format!("{:.1} to {:.1} %", low * 100.0, high * 100.0)
}

/// An interval of differences as `+21.0 to +37.0`.
pub fn points_interval(low: f64, high: f64) -> String {
    format!("{} to {}", points(low), points(high))
}

/// A p-value as `p = 0.012` or `p < 0.001`.
pub fn p_value(p: f64) -> String {
    if p < 0.001 {
        "p < 0.001".to_owned()
    } else if p < 0.1 {
        format!("p = {p:.3}")
    } else {
        format!("p = {p:.2}")
    }
}

/// A whole number with a thin separator between groups of three digits: `12 345`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 case`, `12 cases`: a number with its noun, which takes an `s` in the plural.
pub fn counted(value: u64, noun: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(value))
}

/// A size as `512 B`, `1.5 kB` or `20.3 MB`, in powers of a thousand.
pub fn bytes(size: u64) -> String {
    match size {
        0..1_000 => format!("{size} B"),
        1_000..1_000_000 => format!("{:.1} kB", size as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size as f64 / 1e6),
        _ => format!("{:.1} GB", size as f64 / 1e9),
    }
}

/// A duration as `0.4 s`, `12 s`, `3 min 05 s` or `2 h 07 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if time < Duration::from_millis(1000) {
        format!("{} ms", time.as_millis())
    } else if seconds < 10 {
        format!("{:.1} s", time.as_secs_f64())
    } else if seconds < 60 {
        format!("{seconds} s")
    } else if seconds < 3600 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60)
    }
}

/// A moment as `2026-11-22 19:48 UTC`.
pub fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(
        |_| "unknown time".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

/// A mean number of things per case as `1.5`.
pub fn per_case(value: f64) -> String {
    format!("{value:.1}")
}

/// Dollars as `$0.42`, or with all digits where they are less than a cent.
pub fn usd(value: f64) -> String {
    MicroUsd::from_usd(value).to_string()
}

/// A factor as `1.24×`.
pub fn ratio(value: f64) -> String {
    format!("{value:.2}×")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_like_numbers() {
        assert_eq!(percent(0.7104), "71.0 %");
        assert_eq!(
            (bytes(999), bytes(1_500)),
            ("999 B".to_owned(), "1.5 kB".to_owned())
        );
        assert_eq!(bytes(20_300_000), "20.3 MB");
        assert_eq!(points(0.29), "+29.0");
        assert_eq!(points(-0.045), "−4.5");
        assert_eq!(points(-0.0001), "0.0");
        assert_eq!(p_value(0.0004), "p < 0.001");
        assert_eq!(p_value(0.0123), "p = 0.012");
        assert_eq!(p_value(0.4), "p = 0.40");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(counted(1, "case"), "1 case");
        assert_eq!(counted(0, "case"), "0 cases");
    }

    #[test]
    fn durations_use_the_two_largest_units() {
        assert_eq!(duration(Duration::from_millis(420)), "420 ms");
        assert_eq!(duration(Duration::from_millis(4_200)), "4.2 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(duration(Duration::from_secs(7_620)), "2 h 07 min");
    }

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(moment(Timestamp(0)), "1970-01-01 00:00 UTC");
    }
}
