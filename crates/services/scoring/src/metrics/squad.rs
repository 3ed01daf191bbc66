//! `normalized_exact_match` and `f1`: the metrics of the SQuAD evaluation script (Rajpurkar et al. 2016; edge cases as in
//! version 2.0), with the one rule that the HotpotQA script (Yang et al. 2018) adds to F1: where output or answer is
//! `yes`, `no` or `noanswer`, anything but equality earns nothing, so that `yes` inside a sentence is no half success.

use std::collections::HashMap;

use super::{Mark, explain_miss};
use crate::text::{quote_expected, quote_list, squad_normalize};

/// 1 if the output equals one of the right answers after SQuAD normalization, else 0.
pub fn normalized_exact_match<S: AsRef<str>>(output: &str, expected: &[S]) -> Mark {
    let given = squad_normalize(output);
    if expected
        .iter()
        .any(|text| squad_normalize(text.as_ref()) == given)
    {
        Mark::right()
    } else {
        Mark::wrong(explain_miss(output, expected))
    }
}

/// The best token F1 over the right answers. Both empty is 1; one empty is 0.
pub fn f1<S: AsRef<str>>(output: &str, expected: &[S]) -> Mark {
    let given = squad_normalize(output);
    let mut best = (-1.0, String::new());
    for text in expected {
        let wanted = squad_normalize(text.as_ref());
        let value = token_f1(&given, &wanted);
        if value > best.0 {
            best = (value, wanted);
        }
    }
    let (value, wanted) = best;
    Mark::partial(value, || {
        if value <= 0.0 {
            return explain_miss(output, expected);
        }
        let mut feedback = format!("expected {}", quote_expected(expected));
        for (what, words) in [
            ("missing", surplus(&wanted, &given)),
            ("superfluous", surplus(&given, &wanted)),
        ] {
            if !words.is_empty() {
                feedback.push_str(&format!("; {what} words: {}", quote_list(words)));
            }
        }
        feedback
    })
}

fn token_f1(given: &str, wanted: &str) -> f64 {
    if given == wanted {
        return 1.0;
    }
    let verdict = |text: &str| matches!(text, "yes" | "no" | "noanswer");
    if given.is_empty() || wanted.is_empty() || verdict(given) || verdict(wanted) {
        return 0.0;
    }
    let mut counts: HashMap<&str, i64> = HashMap::new();
    let mut wanted_tokens = 0u32;
    for token in wanted.split(' ') {
        *counts.entry(token).or_default() += 1;
        wanted_tokens += 1;
    }
    let (mut given_tokens, mut common) = (0u32, 0u32);
    for token in given.split(' ') {
        given_tokens += 1;
        if let Some(left) = counts.get_mut(token)
            && *left > 0
        {
            *left -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = f64::from(common) / f64::from(given_tokens);
    let recall = f64::from(common) / f64::from(wanted_tokens);
    2.0 * precision * recall / (precision + recall)
}

/// Words of `text` beyond those of `other`, counted with multiplicity, in order.
fn surplus<'a>(text: &'a str, other: &str) -> Vec<&'a str> {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    for token in other.split_whitespace() {
        *counts.entry(token).or_default() += 1;
    }
    text.split_whitespace()
        .filter(|token| match counts.get_mut(token) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            Some(_) | None => true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_match_ignores_case_punctuation_and_articles() {
        let table: [(&str, &[&str], f64); 6] = [
            ("The Eiffel Tower.", &["eiffel tower"], 1.0),
            ("Eiffel", &["eiffel tower"], 0.0),
            ("the", &[""], 1.0),
            ("u.s.", &["US", "America"], 1.0),
            ("", &["x"], 0.0),
            ("  x  ", &["X!"], 1.0),
        ];
        for (output, expected, value) in table {
            let mark = normalized_exact_match(output, expected);
            assert_eq!(mark.value, value, "{output:?}");
            assert_eq!(mark.feedback.is_empty(), value == 1.0);
        }
    }

    #[test]
    fn f1_counts_common_tokens_with_multiplicity() {
        let table: [(&str, &[&str], f64); 11] = [
            ("Eiffel Tower", &["the eiffel tower"], 1.0),
            ("Eiffel", &["eiffel tower"], 2.0 / 3.0),
            ("big Eiffel Tower", &["eiffel tower"], 0.8),
            ("x x", &["x"], 2.0 / 3.0),
            ("x y", &["y z", "x y z"], 0.8),
            ("a the", &["an"], 1.0),
            ("", &["x"], 0.0),
            ("x", &["a"], 0.0),
            ("yes it is", &["yes"], 0.0),
            ("no", &["no"], 1.0),
            ("no", &["no way"], 0.0),
        ];
        for (output, expected, value) in table {
            let mark = f1(output, expected);
            assert!((mark.value - value).abs() < 1e-12, "{output:?} {mark:?}");
            assert_eq!(mark.feedback.is_empty(), value == 1.0, "{mark:?}");
        }
        let feedback = f1("big Eiffel", &["eiffel tower"]).feedback;
        assert_eq!(
            feedback,
            "expected `eiffel tower`; missing words: `tower`; superfluous words: `big`"
        );
    }
}
