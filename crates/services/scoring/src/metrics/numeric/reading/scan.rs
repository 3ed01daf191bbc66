//! From a text to its numbers.

use super::Number;
use super::latex::{bracketed, mark};

/// Digits of a text, and what they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// None where digits are no number.
    pub number: Option<Number>,
    /// Whether they end a name, or stand over or under one.
    pub in_name: bool,
    /// Whether they are nothing but digits.
    simple: bool,
    end: usize,
}

/// All digits of a text, in order, each number with what belongs to it.
pub(super) fn scan(text: &str) -> Vec<Found> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut found: Vec<Found> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let leading_point = bytes[at] == b'.' && digit(at + 1) && (at == 0 || !digit(at - 1));
        if !digit(at) && !leading_point {
            at += 1;
            continue;
        }
        let (negative, in_name) = before(&text[..at]);
        if let Some(end) = joined(bytes, at) {
            found.push(Found {
                number: None,
                in_name,
                simple: false,
                end,
            });
            at = end;
            continue;
        }
        let Fraction {
            number,
            is_fraction,
            scale,
            end,
        } = fraction(text, at);
        let (percent, past) = percent_after(text, end);
        let number = number.map(|number| Number { percent, ..number });
        // `1 1/2`
        if is_fraction
            && let Some(part) = number
            && part.value < 1.0
            && let Some(before) = found.last_mut()
            && before.simple
            && !before.in_name
            && before.end + 1 == at
            && bytes[before.end] == b' '
            && let Some(whole) = before.number
        {
            before.number = whole.and(part).scaled(scale);
            before.simple = false;
            before.end = past;
        } else {
            found.push(Found {
                number: number.and_then(|number| number.negated_if(negative).scaled(scale)),
                in_name,
                simple: bytes[at..past].iter().all(u8::is_ascii_digit),
                end: past,
            });
        }
        at = past.max(at + 1);
    }
    found
}

/// Where a date, a clock time, a ratio or a version ends that begins at `start`: digits joined by a colon, or three times
/// and more by the same sign, or a year and a month.
fn joined(bytes: &[u8], start: usize) -> Option<usize> {
    let first = digits_from(bytes, start);
    let mut end = start + first;
    let (mut joints, mut last, mut is_joined, mut month) = (0, 0, false, false);
    while let Some(joint @ (b':' | b'-' | b'/' | b'.')) = bytes.get(end).copied()
        && digits_from(bytes, end + 1) > 0
    {
        let digits = &bytes[end + 1..][..digits_from(bytes, end + 1)];
        joints += 1;
        is_joined |= joint == b':' || joint == last;
        month = joints == 1
            && joint == b'-'
            && first == 4
            && matches!(digits, [b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2']);
        last = joint;
        end += 1 + digits.len();
    }
    // `1.234.567,89`
    if is_joined && last == b'.' && bytes.get(end) == Some(&b',') {
        end += 1 + digits_from(bytes, end + 1);
    }
    (is_joined || month).then_some(end)
}

fn digits_from(bytes: &[u8], at: usize) -> usize {
    bytes[at.min(bytes.len())..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

/// A number, or two around a slash.
struct Fraction {
    /// Before it is scaled; `None` where it is no number.
    number: Option<Number>,
    is_fraction: bool,
    /// The `n` of ` × 10^n` after it.
    scale: Option<i32>,
    end: usize,
}

/// Reads what begins at `start` and what it is divided by.
fn fraction(text: &str, start: usize) -> Fraction {
    let (over, end) = term(text, start);
    let (over_scale, end) = scale(text, end);
    let Some((negative, start)) = slash(text, end) else {
        return Fraction {
            number: over,
            is_fraction: false,
            scale: over_scale,
            end,
        };
    };
    let (under, end) = term(text, start);
    let (after, mut end) = scale(text, end);
    // `1/2 × 10^3` is a half of a thousand, but `6 × 10^5 / 2 × 10^3` two numbers in scientific notation
    let (under_scale, whole_scale) = if over_scale.is_some() {
        (after, None)
    } else {
        (None, after)
    };
    let over = over.and_then(|over| over.scaled(over_scale));
    let under = under.and_then(|under| under.negated_if(negative).scaled(under_scale));
    let mut number = over.zip(under).and_then(|(over, under)| over.over(under));
    while let Some((_, start)) = slash(text, end) {
        number = None;
        let past = term(text, start).1;
        end = scale(text, past).1;
    }
    Fraction {
        number,
        is_fraction: true,
        scale: whole_scale,
        end,
    }
}

/// The `n` of ` × 10^n` at `end`, and where that ends.
fn scale(text: &str, end: usize) -> (Option<i32>, usize) {
    match power_of_ten(&text[end..]) {
        Some((exponent, width)) => (Some(exponent), end + width),
        None => (None, end),
    }
}

/// Where the digits after a slash at `end` begin, and whether a minus sign stands before them.
fn slash(text: &str, end: usize) -> Option<(bool, usize)> {
    let one_space = |text: &'_ str| text.strip_prefix(' ').map_or(0, |_| 1);
    let mut at = end + one_space(&text[end..]);
    let sign = text[at..]
        .chars()
        .next()
        .filter(|sign| matches!(sign, '/' | '⁄'))?;
    at += sign.len_utf8();
    at += one_space(&text[at..]);
    let minus = text[at..]
        .chars()
        .next()
        .filter(|sign| matches!(sign, '-' | '−'));
    at += minus.map_or(0, char::len_utf8);
    (digits_from(text.as_bytes(), at) > 0).then_some((minus.is_some(), at))
}

/// Reads a magnitude from `start` on, and the power it is raised to; and where it ends.
fn term(text: &str, start: usize) -> (Option<Number>, usize) {
    let (base, end) = magnitude(text, start);
    let Some(raised) = text[end..].strip_prefix('^').filter(|raised| {
        raised.starts_with(|next: char| {
            next.is_alphanumeric() || matches!(next, '{' | '(' | '\\' | '-' | '−' | '+' | '°' | '∘')
        })
    }) else {
        return (base, end);
    };
    let is_braced = raised.starts_with(['{', '(']);
    let (inner, rest) = match bracketed(raised) {
        Some(parts) => parts,
        None if is_braced => return (None, end + 1),
        None => (raised, ""),
    };
    let past = |width: usize| {
        if is_braced {
            text.len() - rest.len()
        } else {
            text.len() - raised.len() + width
        }
    };
    if let Some(width) = mark(inner).filter(|width| !is_braced || *width == inner.len()) {
        return (base, past(width));
    }
    let sign = inner
        .chars()
        .next()
        .filter(|sign| matches!(sign, '-' | '−' | '+'));
    let width = sign.map_or(0, char::len_utf8);
    let bytes = inner.as_bytes();
    let mut digits = digits_from(bytes, width);
    if digits > 0 && bytes.get(width + digits) == Some(&b'.') {
        let decimals = digits_from(bytes, width + digits + 1);
        digits += if decimals > 0 { decimals + 1 } else { 0 };
    }
    let exponent: Option<f64> = inner[width..width + digits].parse().ok();
    let is_all = !is_braced || width + digits == inner.len();
    let raised = base
        .zip(exponent.filter(|_| is_all))
        .and_then(|(base, exponent)| {
            base.power(if matches!(sign, Some('-' | '−')) {
                -exponent
            } else {
                exponent
            })
        });
    (raised, past(width + digits))
}

/// Reads digits from `start` on; returns the magnitude and where it ends.
fn magnitude(text: &str, start: usize) -> (Option<Number>, usize) {
    let bytes = text.as_bytes();
    let digits_from = |at: usize| digits_from(bytes, at);
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
    let digits = match plain.split_once('.') {
        Some((digits, zeros)) if zeros.bytes().all(|byte| byte == b'0') => digits,
        _ => &plain,
    };
    let value = plain.parse::<f64>().ok();
    let whole = digits.parse().ok();
    (value.and_then(|value| Number::finite(value, whole)), end)
}

/// The width of a thousands separator at the beginning of `rest`.
fn separator(rest: &str) -> Option<usize> {
    rest.chars()
        .next()
        .filter(|character| matches!(character, ',' | '\u{a0}' | '\u{202f}' | '\u{2009}'))
        .map(char::len_utf8)
}

/// The exponent of an `e` at the beginning of `rest`, and its width.
fn exponent(rest: &str) -> Option<(i32, usize)> {
    let (value, after) = signed(rest.strip_prefix(['e', 'E'])?)?;
    Some((value, rest.len() - after.len()))
}

/// The `n` of ` × 10^n` at the beginning of `rest`, and its width.
fn power_of_ten(rest: &str) -> Option<(i32, usize)> {
    // in a box the backslashes are gone
    let times = [
        "\\times", "\\cdot", "times", "cdot", "×", "x", "X", "*", "·",
    ]
    .iter()
    .find_map(|sign| rest.trim_start_matches(' ').strip_prefix(sign))?;
    let power = times.trim_start_matches(' ').strip_prefix("10^")?;
    let (value, after) = if power.starts_with(['{', '(']) {
        let (inner, after) = bracketed(power)?;
        let (value, left) = signed(inner)?;
        (left.is_empty().then_some(value)?, after)
    } else {
        signed(power)?
    };
    Some((value, rest.len() - after.len()))
}

/// A whole number of up to three digits at the beginning of `text`, and what follows.
fn signed(text: &str) -> Option<(i32, &str)> {
    let (negative, digits) = match text.strip_prefix(['-', '−']) {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=3).contains(&count) || digits[count..].starts_with(char::is_alphanumeric) {
        return None;
    }
    let value: i32 = digits[..count].parse().ok()?;
    Some((if negative { -value } else { value }, &digits[count..]))
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
    // raised or lowered, as in `m^2` and `x_{1}`
    let script = text.trim_end_matches(['-', '−', '+']);
    if script
        .strip_suffix(['{', '('])
        .unwrap_or(script)
        .ends_with(['^', '_'])
    {
        return (false, true);
    }
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
