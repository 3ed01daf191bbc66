//! Numbers as they stand in texts.
//!
//! What is read as a number: an optional sign (`-`, `+`, `−`), an optional currency sign, digits with optional thousands
//! separators (comma or a kind of no-break space, each before exactly three digits), a decimal point, an exponent
//! (`1.5e3`, `1.5 × 10^3`) or a power (`10^6`, `2^{10}`, `2^(10)`, `10⁶`), a percent sign. A comma elsewhere ends a
//! number: `1,5` is a list of two. Two numbers around a slash, and `\frac{a}{b}`, are a fraction, also after a whole number
//! (`1 1/2`); ` × 10^n` after one multiplies the whole of it. A raised `\circ` or ending (`7^{th}`) is no power.
//! `\boxed{...}` wins over anything outside it. Digits that end a name (`H2`, `GPT-4`) or stand over or under one (`m^2`)
//! count only where there is no other number.
//!
//! A date, a clock time, a ratio or a version (`2024-01-05`, `09:30`, `3:1`, `1.2.3`) is no number, and neither is a part
//! of it.

mod latex;
mod scan;
#[cfg(test)]
mod tests;

use latex::{UNREADABLE, boxed, plain, unescaped};
use scan::{Found, scan};

/// A number as it stands in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    /// Its value, without regard to a percent sign.
    pub value: f64,
    /// The same to the last digit, for a whole number.
    pub whole: Option<i128>,
    /// Whether a percent sign follows.
    pub percent: bool,
}

impl Number {
    fn finite(value: f64, whole: Option<i128>) -> Option<Self> {
        value.is_finite().then_some(Self {
            value,
            whole,
            percent: false,
        })
    }

    fn negated_if(self, negative: bool) -> Self {
        if negative {
            Self {
                value: -self.value,
                whole: self.whole.map(|whole| -whole),
                ..self
            }
        } else {
            self
        }
    }

    /// To the power of `exponent`.
    fn power(self, exponent: f64) -> Option<Self> {
        let whole_exponent =
            (exponent.fract() == 0.0 && exponent.abs() < 1000.0).then_some(exponent as i32);
        let whole = whole_exponent
            .and_then(|exponent| u32::try_from(exponent).ok())
            .and_then(|exponent| self.whole?.checked_pow(exponent));
        let value = match (whole, whole_exponent) {
            (Some(whole), _) => whole as f64,
            // as near as a decimal is read
            (None, Some(exponent)) if self.whole == Some(10) => {
                format!("1e{exponent}").parse().ok()?
            }
            (None, _) => self.value.powf(exponent),
        };
        Self::finite(value, whole)
    }

    /// Divided by another; `None` by zero.
    fn over(self, under: Self) -> Option<Self> {
        let whole = self.whole.zip(under.whole).and_then(|(over, under)| {
            (over.checked_rem(under)? == 0).then(|| over.checked_div(under))?
        });
        Self::finite(self.value / under.value, whole)
    }

    /// Times ten to the power of `exponent`, as near as a decimal is read.
    fn scaled(self, exponent: Option<i32>) -> Option<Self> {
        let Some(exponent) = exponent else {
            return Some(self);
        };
        let value = format!("{}e{exponent}", self.value).parse().ok()?;
        let number = Self::finite(value, None)?;
        Some(Self {
            percent: self.percent,
            ..number
        })
    }

    /// A whole number and the fraction after it, as in `1 1/2`.
    fn and(self, part: Self) -> Self {
        let value = self.value.abs() + part.value;
        Self {
            value: value.copysign(self.value),
            whole: None,
            percent: part.percent,
        }
    }
}

/// The number a text ends up with: the last one inside its last `\boxed{...}`, else the last one that stands by itself,
/// else the last one at all. A box with digits that are no number, such as a date, has none.
pub fn last_number(text: &str) -> Option<Number> {
    if let Some(inner) = boxed(text) {
        let found = last(&scan(&unescaped(inner)));
        if found.is_some() || inner.bytes().any(|byte| byte.is_ascii_digit()) {
            return found;
        }
    }
    last(&scan(&plain(text)))
}

fn last(found: &[Found]) -> Option<Number> {
    let free = found.iter().rev().filter(|found| !found.in_name);
    free.chain(found.iter().rev())
        .find_map(|found| found.number)
}

/// The number that a text is, whatever words, names and units stand around it; `None` where there is none or another one
/// beside it, or digits that are no number. Of a worked solution only what follows the last `####` counts, or what stands
/// in the last `\boxed{...}`.
pub fn sole_number(text: &str) -> Option<Number> {
    let text = match (boxed(text), text.rsplit_once("####")) {
        (Some(inner), _) => unescaped(inner),
        (None, Some((_, answer))) => plain(answer),
        (None, None) => plain(text),
    };
    if text.contains(UNREADABLE) {
        return None;
    }
    let found = scan(&text);
    let mut free = found.iter().filter(|found| !found.in_name);
    match (free.next(), free.next()) {
        (Some(one), None) => one.number,
        (None, _) => match found[..] {
            [one] => one.number,
            _ => None,
        },
        (Some(_), Some(_)) => None,
    }
}

/// All numbers of a text, in order.
pub fn numbers(text: &str) -> impl Iterator<Item = Number> {
    scan(&plain(text))
        .into_iter()
        .filter_map(|found| found.number)
}
