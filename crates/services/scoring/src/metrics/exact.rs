//! `exact_match`: equal texts, apart from white space around them.

use super::{Mark, explain_miss};

/// 1 if the output equals one of the right answers after trimming (and, with `ignore_case`, in lower case), else 0.
pub fn exact_match<S: AsRef<str>>(output: &str, expected: &[S], ignore_case: bool) -> Mark {
    let given = output.trim();
    let equal =
        |text: &str| text == given || (ignore_case && text.to_lowercase() == given.to_lowercase());
    if expected.iter().any(|text| equal(text.as_ref().trim())) {
        Mark::right()
    } else {
        Mark::wrong(explain_miss(given, expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_trimmed_and_otherwise_compared_as_they_are() {
        let table: [(&str, &[&str], bool, f64); 9] = [
            (" Paris\n", &["Paris"], false, 1.0),
            ("paris", &["Paris"], false, 0.0),
            ("paris", &["Paris"], true, 1.0),
            ("ÉTÉ", &["été"], true, 1.0),
            ("Paris.", &["Paris"], true, 0.0),
            ("Rome", &["Paris", "Rome"], false, 1.0),
            ("", &[""], false, 1.0),
            ("", &["x"], false, 0.0),
            ("a  b", &["a b"], false, 0.0),
        ];
        for (output, expected, ignore_case, value) in table {
            let mark = exact_match(output, expected, ignore_case);
            assert_eq!(mark.value, value, "{output:?} {expected:?}");
            assert_eq!(mark.feedback.is_empty(), value == 1.0);
        }
    }
}
