//! `numeric`: the last number in the output equals the expected one.
//!
//! What is read as a number: [`reading`].
//!
//! A percentage may be meant as the number before the sign or as its hundredth; either reading may be right.

pub mod reading;

use serde_json::Value;

use super::{Mark, kind};
use crate::text::quote;
use reading::{Number, last_number, numbers, sole_number};

/// How far from the expected value is still right.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tolerance {
    /// Largest difference.
    pub value: f64,
    /// Whether `value` is a share of the expected value.
    pub relative: bool,
}

impl Tolerance {
    /// Differences of this share are always allowed where a fraction is compared: they come from writing and reading
    /// decimals of fifteen digits, which a 64-bit float keeps.
    const ROUNDING: f64 = 1e-14;

    /// Whether whole numbers must be the same to the last digit.
    pub fn is_exact(self) -> bool {
        self.value == 0.0
    }

    /// Whether `given` is near enough to `expected`.
    pub fn allows(self, given: f64, expected: f64) -> bool {
        let scale = expected.abs();
        let allowed = if self.relative {
            self.value * scale
        } else {
            self.value
        };
        // whole numbers are not rounded, only the share of one that is allowed is
        let rounded = if given.fract() == 0.0 && expected.fract() == 0.0 {
            allowed
        } else {
            scale + allowed
        };
        // the rounding share also lets 0.1 + 0.2 be within 0.3 of 0
        (given - expected).abs() <= allowed + Self::ROUNDING * rounded
    }
}

impl Number {
    fn of_json(number: &serde_json::Number) -> Option<Self> {
        Some(Self {
            value: number.as_f64()?,
            whole: number
                .as_i64()
                .map(i128::from)
                .or_else(|| number.as_u64().map(i128::from)),
            percent: false,
        })
    }

    /// The values it can mean beside a number that is a percentage or not.
    fn readings(self, other: Self) -> [f64; 2] {
        if self.percent && !other.percent {
            [self.value, self.value / 100.0]
        } else {
            [self.value, self.value]
        }
    }

    fn equals(self, other: Self, tolerance: Tolerance) -> bool {
        if let (Some(given), Some(wanted)) = (self.whole, other.whole)
            && tolerance.is_exact()
            && self.percent == other.percent
        {
            return given == wanted;
        }
        let wanted = other.readings(self);
        self.readings(other)
            .iter()
            .any(|given| wanted.iter().any(|want| tolerance.allows(*given, *want)))
    }
}

/// The right answers as numbers: a number, a text that is one but for words and units ([`sole_number`]), or a list of such.
pub fn expected_numbers(expected: &Value) -> Result<Vec<Number>, String> {
    let one = |value: &Value| match value {
        Value::Number(number) => {
            Number::of_json(number).ok_or_else(|| format!("{number} is out of range"))
        }
        Value::String(text) => sole_number(text).ok_or_else(|| {
            format!(
                "{} is not one number, with or without a unit: write the right answer as a number",
                quote(text)
            )
        }),
        other => Err(format!("it must hold a number, and holds {}", kind(other))),
    };
    match expected {
        Value::Array(items) if items.is_empty() => {
            Err("the list of right answers is empty".to_owned())
        }
        Value::Array(items) => items.iter().map(one).collect(),
        other => one(other).map(|number| vec![number]),
    }
}

/// 1 if the last number in the output equals one of the expected ones within the tolerance, else 0.
pub fn numeric(output: &str, expected: &[Number], tolerance: Tolerance) -> Mark {
    let right = |number: Number| {
        expected
            .iter()
            .any(|wanted| number.equals(*wanted, tolerance))
    };
    let wanted = expected
        .iter()
        .map(|number| shown(*number))
        .collect::<Vec<_>>()
        .join(" or ");
    match last_number(output) {
        Some(number) if right(number) => Mark::right(),
        Some(number) if numbers(output).any(right) => Mark::wrong(format!(
            "expected {wanted}; it is in the output, but the last number there is {}",
            shown(number)
        )),
        Some(number) => Mark::wrong(format!("expected {wanted}, got {}", shown(number))),
        None if output.trim().is_empty() => {
            Mark::wrong(format!("expected {wanted}; the output is empty"))
        }
        None => Mark::wrong(format!(
            "expected {wanted}; there is no number in the output {}",
            quote(output)
        )),
    }
}

fn shown(number: Number) -> String {
    let sign = if number.percent { "%" } else { "" };
    match number.whole {
        Some(whole) => format!("{whole}{sign}"),
        None => format!("{}{sign}", number.value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tolerance_is_absolute_or_a_share_of_the_expected_value() {
        let within = |value, relative| Tolerance { value, relative };
        let table = [
            ("0.30000000000000004", json!(0.3), within(0.0, false), 1.0),
            ("2.22", json!(2.22159), within(0.0, false), 0.0),
            ("2.22", json!(2.22159), within(0.01, false), 1.0),
            ("95", json!(100), within(0.05, true), 1.0),
            ("94", json!(100), within(0.05, true), 0.0),
            ("-95", json!(-100), within(0.05, true), 1.0),
            ("50%", json!(0.5), within(0.0, false), 1.0),
            ("50%", json!(50), within(0.0, false), 1.0),
            ("0.5", json!("50%"), within(0.0, false), 1.0),
            ("50%", json!("50%"), within(0.0, false), 1.0),
            ("0.5%", json!("50%"), within(0.0, false), 0.0),
            ("7", json!([6, "7"]), within(0.0, false), 1.0),
            ("0", json!(0), within(0.0, true), 1.0),
            ("18", json!("so 9 + 9 #### 18"), within(0.0, false), 1.0),
            // a part of a fraction, of a date or of a time is not the answer
            ("3/2", json!("1/2"), within(0.0, false), 0.0),
            ("1/2", json!("1/2"), within(0.0, false), 1.0),
            ("0.5", json!("1/2"), within(0.0, false), 1.0),
            ("50%", json!("1/2"), within(0.0, false), 1.0),
            ("2", json!("\\frac{5}{2}"), within(0.0, false), 0.0),
            (
                "so \\boxed{\\frac{5}{2}}",
                json!(2),
                within(0.0, false),
                0.0,
            ),
            (
                "so \\boxed{\\frac{5}{2}}",
                json!(2.5),
                within(0.0, false),
                1.0,
            ),
            ("1,000,000", json!("10^6"), within(0.0, false), 1.0),
            ("10^5", json!("10^6"), within(0.0, false), 0.0),
            ("2024-01-05", json!(5), within(0.0, false), 0.0),
            ("12:30", json!(30), within(0.0, false), 0.0),
            ("1234567890", json!(1234567891), within(0.0, false), 0.0),
            ("1234567891", json!(1234567891), within(0.0, true), 1.0),
            (
                "1,234,567,891.00",
                json!("1234567891"),
                within(0.0, false),
                1.0,
            ),
            (
                "1e12",
                json!(1_000_000_000_001_i64),
                within(0.0, false),
                0.0,
            ),
            (
                "1e12",
                json!(1_000_000_000_000_i64),
                within(0.0, false),
                1.0,
            ),
            // more digits than a float has
            (
                "9007199254740993",
                json!(9007199254740992_i64),
                within(0.0, false),
                0.0,
            ),
            (
                "-9007199254740993",
                json!("-9007199254740993"),
                within(0.0, false),
                1.0,
            ),
            (
                "18446744073709551615",
                json!(u64::MAX),
                within(0.0, false),
                1.0,
            ),
            (
                "1000000000002",
                json!(1_000_000_000_000_i64),
                within(1.0, false),
                0.0,
            ),
            (
                "1000000000001",
                json!(1_000_000_000_000_i64),
                within(1.0, false),
                1.0,
            ),
            // 0.29 * 100 is a little less than 29
            ("71", json!(100), within(0.29, true), 1.0),
            (
                "0.333333333333333",
                json!(1.0 / 3.0),
                within(0.0, false),
                1.0,
            ),
            ("0.33333", json!(1.0 / 3.0), within(0.0, false), 0.0),
        ];
        for (output, expected, tolerance, value) in table {
            let wanted = expected_numbers(&expected).unwrap();
            let mark = numeric(output, &wanted, tolerance);
            assert_eq!(mark.value, value, "{output:?} {expected}");
            assert_eq!(mark.feedback.is_empty(), value == 1.0);
        }
    }

    #[test]
    fn feedback_tells_a_wrong_number_from_none_and_from_one_too_many() {
        let wanted = expected_numbers(&json!(42)).unwrap();
        let say = |output| numeric(output, &wanted, Tolerance::default()).feedback;
        assert_eq!(say("41"), "expected 42, got 41");
        assert_eq!(say("9007199254740993"), "expected 42, got 9007199254740993");
        assert!(say("42 (see page 7)").contains("the last number there is 7"));
        assert!(say("many").contains("no number"));
        assert!(say(" ").contains("empty"));
    }

    #[test]
    fn an_expected_value_without_a_number_is_refused() {
        for value in [json!("none"), json!(null), json!([]), json!([true])] {
            assert!(expected_numbers(&value).is_err(), "{value}");
        }
        for value in ["2023-07-05", "09:30", "1,5", "5-7"] {
            let problem = expected_numbers(&json!(value)).unwrap_err();
            assert!(
                problem.contains(value) && problem.contains("not one number"),
                "{problem}"
            );
        }
    }
}
