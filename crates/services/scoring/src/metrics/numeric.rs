//! `numeric`: the last number in the output equals the expected one.
//!
//! What is read as a number: an optional sign (`-`, `+`, `−`), an optional currency sign, digits with optional thousands
//! separators (comma or a kind of no-break space, each before exactly three digits), a decimal point, an exponent
//! (`1.5e3`, `1.5 × 10^3`), a percent sign. A comma elsewhere ends a number: `1,5` is a list of two. `\boxed{...}` wins
//! over anything outside it. Digits that end a name (`H2`, `GPT-4`) count only where there is no other number.
//!
//! A percentage may be meant as the number before the sign or as its hundredth; either reading may be right.

use serde_json::Value;

use super::{Mark, kind};
use crate::text::quote;

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

/// A number as it stands in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    /// Its value, without regard to a percent sign.
    pub value: f64,
    /// The same to the last digit, for a whole number that is written as one.
    pub whole: Option<i128>,
    /// Whether a percent sign follows.
    pub percent: bool,
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

/// The right answers as numbers: a number, a text with a number in it (the last one counts), or a list of such.
pub fn expected_numbers(expected: &Value) -> Result<Vec<Number>, String> {
    let one = |value: &Value| match value {
        Value::Number(number) => {
            Number::of_json(number).ok_or_else(|| format!("{number} is out of range"))
        }
        Value::String(text) => {
            last_number(text).ok_or_else(|| format!("there is no number in {}", quote(text)))
        }
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
        Some(number) if numbers(output).iter().any(|found| right(found.number)) => {
            Mark::wrong(format!(
                "expected {wanted}; it is in the output, but the last number there is {}",
                shown(number)
            ))
        }
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

/// The number a text ends up with: the last one inside its last `\boxed{...}`, else the last one that stands by itself,
/// else the last one at all.
pub fn last_number(text: &str) -> Option<Number> {
    if let Some(inner) = boxed(text) {
        let plain = inner
            .replace("{,}", ",")
            .replace("\\!", "")
            .replace("\\,", "")
            .replace(['\\', '$'], "");
        if let Some(found) = numbers(&plain).pop() {
            return Some(found.number);
        }
    }
    let found = numbers(text);
    found
        .iter()
        .rev()
        .find(|found| !found.in_name)
        .or_else(|| found.last())
        .map(|found| found.number)
}

/// What stands inside the last `\boxed{...}` with balanced braces.
pub fn boxed(text: &str) -> Option<&str> {
    const OPEN: &str = "\\boxed{";
    let start = text.rfind(OPEN)? + OPEN.len();
    let mut depth = 1u32;
    for (offset, byte) in text[start..].bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[start..start + offset]);
        }
    }
    None
}

#[derive(Debug, Clone, Copy)]
struct Found {
    number: Number,
    in_name: bool,
}

fn numbers(text: &str) -> Vec<Found> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let leading_point = bytes[at] == b'.' && digit(at + 1) && (at == 0 || !digit(at - 1));
        if !digit(at) && !leading_point {
            at += 1;
            continue;
        }
        let (negative, in_name) = before(&text[..at]);
        let (magnitude, end) = magnitude(text, at);
        let (percent, end) = percent_after(text, end);
        if let Some((value, whole)) = magnitude {
            found.push(Found {
                number: Number {
                    value: if negative { -value } else { value },
                    whole: whole.map(|whole| if negative { -whole } else { whole }),
                    percent,
                },
                in_name,
            });
        }
        at = end.max(at + 1);
    }
    found
}

/// Reads digits from `start` on; returns the magnitude, also as a whole number where it is written as one, and where it
/// ends.
fn magnitude(text: &str, start: usize) -> (Option<(f64, Option<i128>)>, usize) {
    let bytes = text.as_bytes();
    let digits_from = |at: usize| {
        bytes[at.min(bytes.len())..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut plain = String::new();
    let first = digits_from(start);
    let mut end = start + first;
    plain.push_str(&text[start..end]);
    if (1..=3).contains(&first) {
        while let Some(width) = separator(&text[end..])
            && digits_from(end + width) == 3
        {
            plain.push_str(&text[end + width..end + width + 3]);
            end += width + 3;
        }
    }
    if bytes.get(end) == Some(&b'.') && digits_from(end + 1) > 0 {
        let fraction = end + 1 + digits_from(end + 1);
        plain.push_str(&text[end..fraction]);
        end = fraction;
    }
    if let Some((exponent, width)) = exponent(&text[end..]) {
        plain.push('e');
        plain.push_str(&exponent.to_string());
        end += width;
    }
    let value = plain.parse::<f64>().ok().filter(|value| value.is_finite());
    let digits = match plain.split_once('.') {
        Some((digits, zeros)) if zeros.bytes().all(|byte| byte == b'0') => digits,
        _ => &plain,
    };
    (value.map(|value| (value, digits.parse().ok())), end)
}

/// The width of a thousands separator at the beginning of `rest`.
fn separator(rest: &str) -> Option<usize> {
    rest.chars()
        .next()
        .filter(|character| matches!(character, ',' | '\u{a0}' | '\u{202f}' | '\u{2009}'))
        .map(char::len_utf8)
}

/// An exponent at the beginning of `rest`: its value and width.
fn exponent(rest: &str) -> Option<(i32, usize)> {
    let after = if let Some(after) = rest.strip_prefix(['e', 'E']) {
        after
    } else {
        let trimmed = rest.trim_start_matches(' ');
        let times = ["\\times", "\\cdot", "times", "×", "x", "X", "*", "·"]
            .iter()
            .find_map(|sign| trimmed.strip_prefix(sign))?;
        let power = times.trim_start_matches(' ').strip_prefix("10^")?;
        power.strip_prefix('{').unwrap_or(power)
    };
    let (negative, digits) = match after.strip_prefix(['-', '−']) {
        Some(digits) => (true, digits),
        None => (false, after.strip_prefix('+').unwrap_or(after)),
    };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=3).contains(&count) || digits[count..].starts_with(char::is_alphanumeric) {
        return None;
    }
    let value: i32 = digits[..count].parse().ok()?;
    let mut end = rest.len() - digits.len() + count;
    if rest[end..].starts_with('}') {
        end += 1;
    }
    Some((if negative { -value } else { value }, end))
}

fn percent_after(text: &str, end: usize) -> (bool, usize) {
    let rest = &text[end..];
    for sign in ["%", " %", "\\%", " percent", "\u{a0}%"] {
        if rest.starts_with(sign) {
            return (true, end + sign.len());
        }
    }
    (false, end)
}

/// What stands before a number: whether it is negative, and whether its digits end a name.
fn before(text: &str) -> (bool, bool) {
    let is_currency = |character: char| matches!(character, '$' | '€' | '£' | '¥' | '₹');
    let bare = text.strip_suffix(is_currency).unwrap_or(text);
    let bare = bare.strip_suffix('\\').unwrap_or(bare);
    let last = bare.chars().next_back();
    if let Some(character) = last
        && matches!(character, '-' | '−' | '–')
    {
        let head = &bare[..bare.len() - character.len_utf8()];
        let joins = head
            .chars()
            .next_back()
            .is_some_and(|before| before.is_alphanumeric() || matches!(before, ')' | '%'));
        let in_name = head.ends_with(char::is_alphabetic);
        return (!joins, in_name);
    }
    let letters = bare
        .bytes()
        .rev()
        .take_while(u8::is_ascii_alphabetic)
        .count();
    // a currency code is no name
    let code = letters == 3
        && bare[bare.len() - 3..]
            .bytes()
            .all(|byte| byte.is_ascii_uppercase());
    let in_name = !code && last.is_some_and(|before| before.is_alphabetic() || before == '_');
    (false, in_name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_number_is_read_in_all_its_spellings() {
        let table = [
            ("42", 42.0),
            ("The answer is 42.", 42.0),
            ("first 1, then 2", 2.0),
            ("1,234,567.5 dollars", 1_234_567.5),
            ("1\u{202f}234", 1234.0),
            ("12,34", 34.0),
            ("1,2345", 2345.0),
            ("-3", -3.0),
            ("x = −3.5", -3.5),
            ("from 10-5", 5.0),
            ("10 - 5", 5.0),
            ("(-5)", -5.0),
            ("-$1,200.50", -1200.5),
            ("$-7", -7.0),
            ("costs $.5", 0.5),
            ("€ 12", 12.0),
            ("USD42 for 3 items is USD42", 42.0),
            ("1.5e3", 1500.0),
            ("1.5E-3", 0.0015),
            ("1.5 × 10^3", 1500.0),
            ("2 \\times 10^{-2}", 0.02),
            ("3x10^2 m", 300.0),
            ("3 x 4", 4.0),
            ("37 %", 37.0),
            ("5kg of H2", 5.0),
            ("42, says GPT-4", 42.0),
            ("H2", 2.0),
            ("so \\boxed{1{,}234} and then 5", 1234.0),
            ("\\boxed{x = \\$17}. Checked 3 times", 17.0),
            ("\\boxed{none} but 5", 5.0),
            ("version 1.2.3", 3.0),
            ("in 1999.", 1999.0),
            ("+8", 8.0),
            ("#### 18", 18.0),
        ];
        for (text, value) in table {
            assert_eq!(last_number(text).map(|n| n.value), Some(value), "{text:?}");
        }
        for text in ["", "none", ". , -", "½", "\\boxed{"] {
            assert_eq!(last_number(text), None, "{text:?}");
        }
    }

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
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_scanned(text: String) {
            let _ = last_number(&text);
        }

        #[test]
        fn printed_numbers_are_read_back(value in -1e12f64..1e12) {
            proptest::prop_assert_eq!(last_number(&format!("it is {value}")).map(|n| n.value), Some(value));
        }
    }
}
