//! Boxes, fractions and raised digits, as plain text.

/// What stands inside the last `\boxed{...}` with balanced braces.
pub(super) fn boxed(text: &str) -> Option<&str> {
    const OPEN: &str = "\\boxed{";
    let start = text.rfind(OPEN)? + OPEN.len();
    closed(&text[start..], b'{', b'}').map(|(inner, _)| inner)
}

/// What stands in the braces or round brackets at the beginning of `text`, and what follows.
pub(super) fn bracketed(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix(['{', '('])?;
    let (part, _) = if text.starts_with('{') {
        closed(head(inner), b'{', b'}')?
    } else {
        closed(head(inner), b'(', b')')?
    };
    Some((part, &inner[part.len() + 1..]))
}

/// What stands before the bracket that closes one opened before `text`, and what after it.
fn closed(text: &str, open: u8, close: u8) -> Option<(&str, &str)> {
    let mut depth = 1u32;
    for (offset, byte) in text.bytes().enumerate() {
        if byte == open {
            depth += 1;
        } else if byte == close {
            depth -= 1;
        }
        if depth == 0 {
            return Some((&text[..offset], &text[offset + 1..]));
        }
    }
    None
}

/// What stands in a box, without what LaTeX needs around a number.
pub(super) fn unescaped(inner: &str) -> String {
    plain(inner)
        .replace("{,}", ",")
        .replace("\\!", "")
        .replace("\\,", "")
        .replace(['\\', '$'], "")
}

/// Stands for a fraction of something else than numbers.
pub(super) const UNREADABLE: char = '\u{fffc}';
/// Longest part of a fraction, in bytes.
const MAX_PART: usize = 64;

/// A text with `\frac{a}{b}` as `a/b` and raised digits after a 10 as `10^n`.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹', '⁻'])
    {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((over, under, after)) = latex_fraction(rest) {
            if out.ends_with(char::is_alphanumeric) {
                out.push(' ');
            }
            // written as `a/b` it would raise the lower part alone
            let (over, under, after) = match power(after) {
                Some((power, after)) => (raised(over, &power), raised(under, &power), after),
                None => (
                    part(over).map(str::to_owned),
                    part(under).map(str::to_owned),
                    after,
                ),
            };
            match (over, under) {
                (Some(over), Some(under)) => {
                    out.push_str(&over);
                    out.push('/');
                    out.push_str(&under);
                }
                _ => out.push(UNREADABLE),
            }
            if after.starts_with(char::is_alphanumeric) {
                out.push(' ');
            }
            rest = after;
            continue;
        }
        let ten = out.ends_with("10")
            && !out[..out.len() - 2].ends_with(|c: char| c.is_ascii_digit() || c == '.');
        let raised: String = rest.chars().map_while(lowered).collect();
        if ten && !raised.is_empty() {
            out.push('^');
            out.push_str(&raised);
            let width: usize = rest.chars().take(raised.len()).map(char::len_utf8).sum();
            rest = &rest[width..];
        } else {
            let width = rest.chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[..width]);
            rest = &rest[width..];
        }
    }
    out.push_str(rest);
    out
}

/// A raised digit or minus sign as a plain one.
fn lowered(raised: char) -> Option<char> {
    const RAISED: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻";
    RAISED
        .chars()
        .zip("0123456789-".chars())
        .find_map(|(from, to)| (from == raised).then_some(to))
}

/// The two parts of a `\frac` at the beginning of `text`, and what follows.
fn latex_fraction(text: &str) -> Option<(&str, &str, &str)> {
    let arguments = ["\\frac", "\\dfrac", "\\tfrac", "\\cfrac"]
        .iter()
        .find_map(|name| text.strip_prefix(name))?;
    let (over, rest) = argument(arguments)?;
    let (under, rest) = argument(rest)?;
    Some((over, under, rest))
}

/// What stands in braces, or a single digit; and what follows.
fn argument(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    if text.starts_with('{') {
        return bracketed(text);
    }
    text.starts_with(|first: char| first.is_ascii_digit())
        .then(|| text.split_at(1))
}

/// The beginning of a text: what is longer is no number.
fn head(text: &str) -> &str {
    let mut end = text.len().min(MAX_PART);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A part of a fraction that is nothing but a number.
fn part(text: &str) -> Option<&str> {
    let text = text.trim();
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    let only = |character: char| {
        character.is_ascii_digit()
            || matches!(character, '.' | ',' | '+' | '-' | '−' | '^' | '{' | '}')
    };
    (digits && text.chars().all(only)).then_some(text)
}

/// The power at the beginning of `text`, and what follows.
fn power(text: &str) -> Option<(String, &str)> {
    let digits: String = text.chars().map_while(lowered).collect();
    if !digits.is_empty() {
        let width: usize = text.chars().take(digits.len()).map(char::len_utf8).sum();
        return Some((digits, &text[width..]));
    }
    let power = text.strip_prefix('^')?;
    let inner = power.strip_prefix(['{', '(']).unwrap_or(power);
    if mark(inner).is_some() {
        return None;
    }
    if inner.len() < power.len() {
        return bracketed(power).map(|(inner, rest)| (inner.to_owned(), rest));
    }
    let digits = power.strip_prefix(['-', '−', '+']).unwrap_or(power);
    let rest = digits.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let is_power =
        rest.len() < digits.len() || rest.starts_with(|c: char| c == '\\' || c.is_alphabetic());
    is_power.then(|| (power[..power.len() - rest.len()].to_owned(), rest))
}

/// A part of a fraction to a power; `None` where a sign or a power of its own would make that another number.
fn raised(text: &str, power: &str) -> Option<String> {
    let base = part(text)?;
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let exponent = part(power)?;
    let digits = exponent.strip_prefix(['-', '−', '+']).unwrap_or(exponent);
    (plain(base) && plain(digits)).then(|| format!("{base}^{{{exponent}}}"))
}

/// The width of a raised sign that is no power at the beginning of `text`: a degree sign, or the ending of an ordinal.
pub(super) fn mark(text: &str) -> Option<usize> {
    // in a box the backslashes are gone
    let bare = text.strip_prefix('\\').unwrap_or(text);
    if let Some(rest) = ["circ", "°", "∘"]
        .iter()
        .find_map(|sign| bare.strip_prefix(sign))
    {
        return Some(text.len() - rest.len());
    }
    let wrapped = ["text{", "textrm{", "mathrm{"]
        .iter()
        .find_map(|name| bare.strip_prefix(name));
    let rest = ["th", "st", "nd", "rd"]
        .iter()
        .find_map(|ending| wrapped.unwrap_or(bare).strip_prefix(ending))?;
    let rest = match wrapped {
        Some(_) => rest.strip_prefix('}')?,
        None => Some(rest).filter(|rest| !rest.starts_with(char::is_alphanumeric))?,
    };
    Some(text.len() - rest.len())
}
