//! `regex`: the output matches a pattern; and taking a part of the output by a pattern before another metric scores it.

use regex::Regex;

use super::Mark;
use crate::text::quote;

/// 1 if the pattern matches anywhere in the output (anchors make it the whole), else 0.
pub fn matches(output: &str, pattern: &Regex) -> Mark {
    if pattern.is_match(output) {
        Mark::right()
    } else if output.trim().is_empty() {
        Mark::wrong(format!(
            "the output is empty and does not match {}",
            quote(pattern.as_str())
        ))
    } else {
        Mark::wrong(format!(
            "the output {} does not match {}",
            quote(output),
            quote(pattern.as_str())
        ))
    }
}

/// The first group of the first match (the whole match where the pattern has no group, or it took no part), or `None`
/// without a match.
pub fn extract<'t>(output: &'t str, pattern: &Regex) -> Option<&'t str> {
    let found = pattern.captures(output)?;
    found
        .get(1)
        .or_else(|| found.get(0))
        .map(|part| part.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_anywhere_unless_anchored() {
        let table = [
            (r"\d{4}", "in 1999", 1.0),
            (r"^\d{4}$", "in 1999", 0.0),
            (r"^\d{4}$", "1999", 1.0),
            (r"x", "", 0.0),
        ];
        for (pattern, output, value) in table {
            let mark = matches(output, &Regex::new(pattern).unwrap());
            assert_eq!(mark.value, value, "{pattern} {output:?}");
            assert_eq!(mark.feedback.is_empty(), value == 1.0);
        }
    }

    #[test]
    fn the_first_group_is_taken_else_the_whole_match() {
        let group = Regex::new(r"Answer:\s*(\w+)").unwrap();
        assert_eq!(extract("So. Answer: Paris.", &group), Some("Paris"));
        assert_eq!(extract("no answer", &group), None);
        let whole = Regex::new(r"\d+").unwrap();
        assert_eq!(extract("a 12 b 13", &whole), Some("12"));
        let optional = Regex::new(r"x(y)?").unwrap();
        assert_eq!(extract("xz", &optional), Some("x"));
    }
}
