//! Boxes, fractions and raised digits, as plain text.

/// What stands inside the last `\boxed{...}` with balanced braces.
pub(super) fn boxed(text: &str) -> Option<&str> {
    const OPEN: &str = "\\boxed{";
    let start = text.rfind(OPEN)? + OPEN.len();
    braced(&text[start..]).map(|(inner, _)| inner)
}

/// What stands before the brace that closes one opened before `text`, and what after it.
pub(super) fn braced(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1u32;
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
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
            match (part(over), part(under)) {
                (Some(over), Some(under)) => {
                    out.push_str(over);
                    out.push('/');
                    out.push_str(under);
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
    if let Some(inner) = text.strip_prefix('{') {
        let (part, _) = braced(head(inner))?;
        return Some((part, &inner[part.len() + 1..]));
    }
    text.starts_with(|first: char| first.is_ascii_digit())
        .then(|| text.split_at(1))
}

/// The beginning of a text: what is longer is no number.
pub(super) fn head(text: &str) -> &str {
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
