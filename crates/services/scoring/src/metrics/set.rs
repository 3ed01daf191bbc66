//! `set_precision`, `set_recall`, `set_f1`, `all_gold`: metrics over sets of names, such as titles of documents.
//!
//! Members are compared in a normal form: composed characters, lower case, single spaces. Repeats count once.
//!
//! Where a set is empty: both empty is 1 for every metric. Nothing expected and something given: recall and all-gold
//! are 1 (nothing is missing), precision and F1 are 0. Something expected and nothing given: all are 0.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Mark, kind};
use crate::text::{fold_member, quote_list};

/// Which of the set metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetMetric {
    /// Share of what was given that is expected.
    Precision,
    /// Share of what is expected that was given.
    Recall,
    /// Harmonic mean of both.
    F1,
    /// 1 if everything expected was given, else 0 (Jiang et al. 2020, HoVer).
    AllGold,
}

/// The expected members: a list of texts or numbers (which may be empty), or one text or number. Empty texts are none.
pub fn expected_members(expected: &Value) -> Result<Vec<String>, String> {
    match expected {
        Value::Array(items) => items.iter().map(member).collect(),
        other => Ok(vec![member(other)?]),
    }
}

fn member(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(format!(
            "it must be a list of texts or numbers, and holds {}",
            kind(value)
        )),
    }
}

/// The members an output names: those of a JSON list (as the whole output, as the only list among an object's values,
/// or between the first `[` and the last `]`), else its lines without bullets and numbering, else, on a single line,
/// what stands between commas or semicolons.
pub fn members_of(output: &str) -> Vec<String> {
    let text = output.trim();
    if text.starts_with(['[', '{'])
        && let Ok(value) = serde_json::from_str::<Value>(text)
        && let Some(members) = members_of_json(&value)
    {
        return members;
    }
    if let (Some(open), Some(close)) = (text.find('['), text.rfind(']'))
        && open < close
        && let Ok(value) = serde_json::from_str::<Value>(&text[open..=close])
        && let Some(members) = members_of_json(&value)
    {
        return members;
    }
    let lines: Vec<&str> = text
        .lines()
        .map(without_bullet)
        .filter(|line| !line.is_empty())
        .collect();
    let parts: Vec<&str> = match lines[..] {
        [line] => line.split([',', ';']).map(str::trim).collect(),
        _ => lines,
    };
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| part.trim_matches(['"', '\'', '`']).to_owned())
        .collect()
}

/// The members of a JSON list, or of the only list among an object's values; `None` where there is no such list.
pub fn members_of_json(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => Some(
            items
                .iter()
                .map(|item| match item {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
                .collect(),
        ),
        Value::Object(map) => {
            let mut lists = map.values().filter(|value| value.is_array());
            match (lists.next(), lists.next()) {
                (Some(list), None) => members_of_json(list),
                _ => None,
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// A line without `- `, `* `, `• `, `1. ` or `1) ` before it.
fn without_bullet(line: &str) -> &str {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix('•') {
        return rest.trim();
    }
    // `-5` is a number, and `*a*` is `a` in italics
    if let Some(rest) = line.strip_prefix(['-', '*'])
        && (rest.is_empty() || rest.starts_with(char::is_whitespace))
    {
        return rest.trim();
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    if (1..=3).contains(&digits)
        && let Some(rest) = line[digits..].strip_prefix(['.', ')'])
        && rest.starts_with(' ')
    {
        return rest.trim();
    }
    line
}

/// The set of members in their normal form. What is empty in it is no member.
fn members<T: AsRef<str>>(texts: &[T]) -> BTreeSet<String> {
    texts
        .iter()
        .map(|text| fold_member(text.as_ref()))
        .filter(|text| !text.is_empty())
        .collect()
}

/// Scores a set of given members against the expected ones.
pub fn score_set<G, E>(given: &[G], expected: &[E], metric: SetMetric) -> Mark
where
    G: AsRef<str>,
    E: AsRef<str>,
{
    let fold = |text: &str| fold_member(text);
    let got = members(given);
    let want = members(expected);
    let common = got.intersection(&want).count();
    let share = |of: usize, empty: f64| {
        if of == 0 {
            empty
        } else {
            common as f64 / of as f64
        }
    };
    let precision = share(got.len(), if want.is_empty() { 1.0 } else { 0.0 });
    let recall = share(want.len(), 1.0);
    let value = match metric {
        SetMetric::Precision => precision,
        SetMetric::Recall => recall,
        SetMetric::F1 if precision + recall == 0.0 => 0.0,
        SetMetric::F1 => 2.0 * precision * recall / (precision + recall),
        SetMetric::AllGold if common == want.len() => 1.0,
        SetMetric::AllGold => 0.0,
    };
    Mark::partial(value, || {
        let mut parts = Vec::new();
        if metric != SetMetric::Precision && common < want.len() {
            // quoted as the case spells them
            let missing = expected
                .iter()
                .map(AsRef::as_ref)
                .filter(|text| !fold(text).is_empty() && !got.contains(&fold(text)));
            let count = want.len();
            parts.push(format!(
                "expected {count}, missing: {}",
                quote_list(missing)
            ));
        }
        if matches!(metric, SetMetric::Precision | SetMetric::F1) && common < got.len() {
            let extra = got.difference(&want).map(String::as_str);
            parts.push(format!(
                "{} of {} given are not expected: {}",
                got.len() - common,
                got.len(),
                quote_list(extra)
            ));
        }
        if got.is_empty() {
            parts.push("nothing was given".to_owned());
        }
        parts.join("; ")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_four_metrics_agree_with_their_definitions() {
        let list =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        // given, expected, precision, recall, f1, all gold
        let table = [
            ("a b", "a b", 1.0, 1.0, 1.0, 1.0),
            ("A b b", "a B", 1.0, 1.0, 1.0, 1.0),
            ("a b c d", "a b", 0.5, 1.0, 2.0 / 3.0, 1.0),
            ("a", "a b", 1.0, 0.5, 2.0 / 3.0, 0.0),
            ("c", "a b", 0.0, 0.0, 0.0, 0.0),
            ("", "a", 0.0, 0.0, 0.0, 0.0),
            ("a", "", 0.0, 1.0, 0.0, 1.0),
            ("", "", 1.0, 1.0, 1.0, 1.0),
        ];
        for (given, expected, precision, recall, f1, all_gold) in table {
            let (given, expected) = (list(given), list(expected));
            for (metric, value) in [
                (SetMetric::Precision, precision),
                (SetMetric::Recall, recall),
                (SetMetric::F1, f1),
                (SetMetric::AllGold, all_gold),
            ] {
                let mark = score_set(&given, &expected, metric);
                assert!(
                    (mark.value - value).abs() < 1e-12,
                    "{given:?} {expected:?} {metric:?} {mark:?}"
                );
                assert_eq!(mark.feedback.is_empty(), value == 1.0, "{mark:?}");
            }
        }
    }

    #[test]
    fn feedback_names_what_is_missing_and_what_is_too_much() {
        let mark = score_set(&["Rome", "x"], &["Rome", "Paris", "Oslo"], SetMetric::F1);
        assert_eq!(
            mark.feedback,
            "expected 3, missing: `Paris`, `Oslo`; 1 of 2 given are not expected: `x`"
        );
        let none: [&str; 0] = [];
        assert!(
            score_set(&none, &["x"], SetMetric::AllGold)
                .feedback
                .contains("nothing was given")
        );
    }

    #[test]
    fn members_are_read_from_lists_of_all_forms() {
        let table: [(&str, &[&str]); 18] = [
            (r#"["a", "b, c", 3]"#, &["a", "b, c", "3"]),
            (r#"{"titles": ["a"], "why": "x"}"#, &["a"]),
            ("Titles: [\"a\", \"b\"] as asked", &["a", "b"]),
            ("a, b; c", &["a", "b", "c"]),
            ("- a, b\n- c", &["a, b", "c"]),
            ("1. a\n2) b\n\n", &["a", "b"]),
            ("\"a\", 'b'", &["a", "b"]),
            ("1984", &["1984"]),
            ("-5", &["-5"]),
            ("-5\n-7", &["-5", "-7"]),
            ("- -5\n-\t7", &["-5", "7"]),
            ("-5, -7", &["-5", "-7"]),
            ("*a*\n**b**", &["*a*", "**b**"]),
            ("•a\n• b", &["a", "b"]),
            ("-\n*", &[]),
            ("[1] a\n[2] b", &["[1] a", "[2] b"]),
            ("", &[]),
            ("[]", &[]),
        ];
        for (text, members) in table {
            assert_eq!(members_of(text), members, "{text:?}");
        }
    }

    #[test]
    fn empty_members_are_neither_expected_nor_given() {
        let metrics = [
            SetMetric::Precision,
            SetMetric::Recall,
            SetMetric::F1,
            SetMetric::AllGold,
        ];
        let none: [&str; 0] = [];
        for metric in metrics {
            assert_eq!(score_set(&[""], &["", "a"], metric).value, 0.0);
            assert_eq!(score_set(&["a"], &["", "a"], metric), Mark::right());
            assert_eq!(score_set(&none, &[" "], metric), Mark::right());
            assert_eq!(
                score_set(&["a"], &[""], metric).value,
                score_set(&["a"], &none, metric).value
            );
        }
        let missing = score_set(&none, &["", "a"], SetMetric::Recall);
        assert!(missing.feedback.starts_with("expected 1, missing: `a`"));
    }

    #[test]
    fn expected_members_are_texts_or_numbers() {
        assert_eq!(expected_members(&json!(["a", 1])).unwrap(), ["a", "1"]);
        assert_eq!(expected_members(&json!("a")).unwrap(), ["a"]);
        assert!(expected_members(&json!([])).unwrap().is_empty());
        assert!(expected_members(&json!([["a"]])).is_err());
        assert!(expected_members(&json!(null)).is_err());
    }
}
