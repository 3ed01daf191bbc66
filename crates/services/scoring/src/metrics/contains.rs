//! `contains`: the expected text is somewhere in the output.

use super::Mark;
use crate::text::{quote, quote_expected};

/// 1 if one of the right answers (trimmed) is a part of the output, else 0.
pub fn contains<S: AsRef<str>>(output: &str, expected: &[S], ignore_case: bool) -> Mark {
    let lower = |text: &str| -> String {
        if ignore_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    };
    let given = lower(output);
    if expected
        .iter()
        .any(|text| given.contains(&lower(text.as_ref().trim())))
    {
        return Mark::right();
    }
    let wanted = quote_expected(expected);
    if output.trim().is_empty() {
        return Mark::wrong(format!("{wanted} is not in the output, which is empty"));
    }
    let hidden = !ignore_case
        && expected.iter().any(|text| {
            output
                .to_lowercase()
                .contains(&text.as_ref().trim().to_lowercase())
        });
    Mark::wrong(if hidden {
        format!("{wanted} is in the output, but in another case")
    } else {
        format!("{wanted} is not in the output {}", quote(output))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_answer_anywhere_is_enough() {
        let table: [(&str, &[&str], bool, f64); 6] = [
            ("It is Paris.", &["Paris"], false, 1.0),
            ("It is paris.", &["Paris"], false, 0.0),
            ("It is paris.", &["Paris"], true, 1.0),
            ("It is Rome.", &["Paris", " Rome "], false, 1.0),
            ("", &["Paris"], false, 0.0),
            ("London", &["Paris"], true, 0.0),
        ];
        for (output, expected, ignore_case, value) in table {
            let mark = contains(output, expected, ignore_case);
            assert_eq!(mark.value, value, "{output:?}");
            assert_eq!(mark.feedback.is_empty(), value == 1.0);
        }
        assert!(
            contains("paris", &["Paris"], false)
                .feedback
                .contains("another case")
        );
    }
}
