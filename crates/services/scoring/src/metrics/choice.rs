//! `choice`: the choice that the output names equals the expected one.
//!
//! How the choice is found, first success wins: (1) the whole output, or its last line, is a choice apart from brackets,
//! quotes and marks; (2) the last statement such as `Answer: B`, `the correct option is (B)`, `\boxed{B}`; (3) a line
//! that begins with a choice and a mark, such as `(B) because ...` or `B. Paris`, if no line begins with another;
//! (4) the only choice mentioned. Several choices without a statement are ambiguous, and wrong.
//!
//! Choices are found whatever their case, except that single letters in running text count only as they are written, so
//! that `a` is an article and `A` a choice.

use std::collections::BTreeSet;

use regex::Regex;

use super::Mark;
use crate::text::{quote, quote_expected};

/// A way to read a choice from a text; compiled once.
#[derive(Debug)]
pub struct ChoiceReader {
    choices: Vec<String>,
    folded: Vec<String>,
    stated: Regex,
    leading: Regex,
    mentioned: Regex,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// One choice, by its index.
    One(usize),
    /// Several choices and nothing that tells which is meant, by their indexes.
    Several(Vec<usize>),
    /// None.
    None,
}

impl ChoiceReader {
    /// Reads any of `choices`. Refused: no choices, an empty one, two that differ in case only.
    pub fn new(choices: &[String]) -> Result<Self, String> {
        if choices.is_empty() {
            return Err(
                "`choices` is missing: list what may be chosen, such as [A, B, C, D]".to_owned(),
            );
        }
        let choices: Vec<String> = choices
            .iter()
            .map(|choice| choice.trim().to_owned())
            .collect();
        let folded: Vec<String> = choices.iter().map(|choice| choice.to_lowercase()).collect();
        if folded.iter().any(String::is_empty) {
            return Err("`choices` has an empty entry".to_owned());
        }
        let unique: BTreeSet<&String> = folded.iter().collect();
        if unique.len() < folded.len() {
            return Err(
                "`choices` names a choice twice (case does not tell choices apart)".to_owned(),
            );
        }
        let mut longest_first: Vec<&String> = choices.iter().collect();
        longest_first.sort_by_key(|choice| std::cmp::Reverse(choice.len()));
        let any = longest_first
            .iter()
            .map(|choice| regex::escape(choice))
            .collect::<Vec<_>>()
            .join("|");
        let any = format!(r"\b{{start-half}}(?P<choice>{any})\b{{end-half}}");
        let stated = format!(
            r#"(?i)(?:\b(?:answer|label|category|class|classification|verdict|prediction|(?:correct|right|best|final|my|chosen)\s+(?:option|choice|letter))\b[*_"'`\s]*(?::|=|\bis\b|\bwas\b|\b(?:must|should|would)\s+be\b)|\\boxed\{{|####)[*_"'`\s:(\[{{$]*(?:(?:the|option|choice|letter|\\text|\\boxed|\\textbf|\\mathrm)\b[*_"'`\s:(\[{{$]*)*{any}"#
        );
        let leading = format!(r#"(?im)^[ \t(\[*_"'`]*{any}[*_"'`]*(?:[).:\]\-–—]|[ \t]*$)"#);
        let compile = |pattern: &str| {
            Regex::new(pattern)
                .map_err(|error| format!("`choices` are too many or too long: {error}"))
        };
        Ok(Self {
            stated: compile(&stated)?,
            leading: compile(&leading)?,
            mentioned: compile(&format!("(?i){any}"))?,
            choices,
            folded,
        })
    }

    /// The choice that equals `text` whatever the case.
    pub fn index(&self, text: &str) -> Option<usize> {
        let folded = text.trim().to_lowercase();
        self.folded.iter().position(|choice| *choice == folded)
    }

    /// The choice that `output` names.
    pub fn read(&self, output: &str) -> Reading {
        let last_line = output.lines().rev().find(|line| !line.trim().is_empty());
        for whole in [Some(output), last_line].into_iter().flatten() {
            if let Some(index) = self.index(whole).or_else(|| self.index(bare(whole))) {
                return Reading::One(index);
            }
        }
        if let Some(index) = self.all(&self.stated, output, true).last() {
            return Reading::One(*index);
        }
        let leading: BTreeSet<usize> = self.all(&self.leading, output, true).into_iter().collect();
        if let [index] = leading.iter().copied().collect::<Vec<_>>()[..] {
            return Reading::One(index);
        }
        let mentioned: BTreeSet<usize> = self
            .all(&self.mentioned, output, false)
            .into_iter()
            .collect();
        let mentioned: Vec<usize> = mentioned.into_iter().collect();
        match mentioned[..] {
            [] => Reading::None,
            [index] => Reading::One(index),
            _ => Reading::Several(mentioned),
        }
    }

    fn all(&self, pattern: &Regex, output: &str, stated: bool) -> Vec<usize> {
        pattern
            .captures_iter(output)
            .filter_map(|captures| captures.name("choice"))
            .filter(|found| self.counts(output, found.range(), stated))
            .filter_map(|found| self.index(found.as_str()))
            .collect()
    }

    /// Whether a match is a choice and not a part of a longer word or an article.
    fn counts(&self, output: &str, range: std::ops::Range<usize>, stated: bool) -> bool {
        let (found, head, tail) = (
            &output[range.clone()],
            &output[..range.start],
            &output[range.end..],
        );
        let joined = |hyphen: Option<char>, beyond: Option<char>| {
            hyphen == Some('-') && beyond.is_some_and(char::is_alphanumeric)
        };
        let (mut back, mut front) = (head.chars().rev(), tail.chars());
        if joined(back.next(), back.next()) || joined(front.next(), front.next()) {
            return false;
        }
        if found.chars().count() > 1 || !found.starts_with(char::is_alphabetic) {
            return true;
        }
        let as_written = self.choices.iter().any(|choice| choice == found);
        let next = tail.chars().next();
        let ends = next.is_none_or(|next| !next.is_alphanumeric() && next != ' ' && next != '\'');
        if stated {
            as_written || ends
        } else {
            as_written && !is_article_or_pronoun(found, head, tail)
        }
    }
}

/// Whether `found`, between `head` and `tail`, is the article `A` (which begins a sentence and goes before a word that
/// does not connect) or the pronoun `I`.
fn is_article_or_pronoun(found: &str, head: &str, tail: &str) -> bool {
    const CONNECTING: [&str; 16] = [
        "or", "and", "is", "was", "but", "because", "since", "as", "for", "nor", "would", "could",
        "seems", "looks", "fits", "says",
    ];
    let word: &str = tail
        .strip_prefix(' ')
        .and_then(|rest| {
            rest.split(|character: char| !character.is_alphanumeric())
                .next()
        })
        .unwrap_or_default();
    let word_follows = word.starts_with(char::is_lowercase) && !CONNECTING.contains(&word);
    match found {
        "A" => {
            word_follows
                && !head
                    .trim_end()
                    .ends_with(|last: char| last.is_alphanumeric() || last == ',')
        }
        "I" => word_follows || tail.starts_with('\''),
        _ => false,
    }
}

/// The text without marks around it.
fn bare(text: &str) -> &str {
    let marks =
        |character: char| character.is_whitespace() || "*_\"'`()[]{}.:,;!$“”‘’".contains(character);
    let text = text.trim_matches(marks);
    let text = text.strip_prefix("\\boxed").unwrap_or(text);
    text.trim_matches(marks)
}

/// 1 if the choice named in the output is one of the expected ones, else 0.
pub fn choice<S: AsRef<str>>(output: &str, expected: &[S], reader: &ChoiceReader) -> Mark {
    let name = |index: &usize| reader.choices[*index].as_str();
    let wanted = || quote_expected(expected);
    match reader.read(output) {
        Reading::One(index)
            if expected
                .iter()
                .any(|text| reader.index(text.as_ref()) == Some(index)) =>
        {
            Mark::right()
        }
        Reading::One(index) => Mark::wrong(format!(
            "expected {}, got {}",
            wanted(),
            quote(name(&index))
        )),
        Reading::Several(indexes) => Mark::wrong(format!(
            "expected {}; the output names several choices ({}) and does not say which is the answer",
            wanted(),
            indexes.iter().map(name).collect::<Vec<_>>().join(", ")
        )),
        Reading::None if output.trim().is_empty() => {
            Mark::wrong(format!("expected {}; the output is empty", wanted()))
        }
        Reading::None => Mark::wrong(format!(
            "expected {}; the output names none of the choices: {}",
            wanted(),
            quote(output)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(choices: &[&str]) -> ChoiceReader {
        let owned: Vec<String> = choices.iter().map(|choice| (*choice).to_owned()).collect();
        ChoiceReader::new(&owned).unwrap()
    }

    #[test]
    fn letters_are_found_wherever_they_are_stated() {
        let letters = reader(&["A", "B", "C", "D"]);
        let table = [
            ("B", 1),
            (" b ", 1),
            ("(B)", 1),
            ("**B**", 1),
            ("B.", 1),
            ("\"B\"", 1),
            ("\\boxed{B}", 1),
            ("$\\boxed{\\text{B}}$", 1),
            ("(B) Paris", 1),
            ("B. Paris", 1),
            ("B) Paris", 1),
            ("B: Paris, because A is wrong", 1),
            ("Answer: B", 1),
            ("answer: b", 1),
            ("**Answer:** B", 1),
            ("Answer: (B) Paris", 1),
            ("The answer is B because A is a city in Italy.", 1),
            ("The correct option is B.", 1),
            ("The correct answer is option (C).", 2),
            ("I think A. No wait.\nFinal answer: D", 3),
            ("Answer: A\nAnswer: C", 2),
            ("A is out, B is out.\nC", 2),
            ("A good reason speaks for B", 1),
            ("Option B is the only one that fits", 1),
            ("It is D, as a matter of fact", 3),
            ("#### C", 2),
        ];
        for (output, index) in table {
            assert_eq!(letters.read(output), Reading::One(index), "{output:?}");
        }
        let ambiguous = ["Either A or B", "A. Paris\nB. London", "Not A, rather B"];
        for output in ambiguous {
            assert_eq!(
                letters.read(output),
                Reading::Several(vec![0, 1]),
                "{output:?}"
            );
        }
        for output in ["", "a good question", "Paris", "E", "the answer is a dog"] {
            assert_eq!(letters.read(output), Reading::None, "{output:?}");
        }
    }

    #[test]
    fn labels_are_found_as_whole_words_and_the_longest_first() {
        let labels = reader(&[
            "toxic",
            "non-toxic",
            "toxic comment",
            "CWE-79",
            "CWE-7",
            "C++",
        ]);
        let table = [
            ("Toxic", 0),
            ("This is non-toxic.", 1),
            ("label = toxic comment", 2),
            ("I see toxic comments: toxic", 0),
            ("CWE-79: cross-site scripting", 3),
            ("the weakness is CWE-7", 4),
            ("written in C++.", 5),
        ];
        for (output, index) in table {
            assert_eq!(labels.read(output), Reading::One(index), "{output:?}");
        }
        assert_eq!(labels.read("CWE-798"), Reading::None);
        assert_eq!(labels.read("intoxicated"), Reading::None);
    }

    #[test]
    fn an_ambiguous_output_is_wrong_and_says_why() {
        let letters = reader(&["A", "B"]);
        assert_eq!(choice("(b)", &["B"], &letters), Mark::right());
        assert_eq!(choice("A", &["A", "B"], &letters), Mark::right());
        assert_eq!(
            choice("A", &["B"], &letters).feedback,
            "expected `B`, got `A`"
        );
        let mark = choice("Either A or B", &["B"], &letters);
        assert!(
            mark.value == 0.0 && mark.feedback.contains("several choices (A, B)"),
            "{mark:?}"
        );
        assert!(
            choice("hm", &["B"], &letters)
                .feedback
                .contains("none of the choices")
        );
        assert!(choice("", &["B"], &letters).feedback.contains("empty"));
    }

    #[test]
    fn choices_must_be_there_and_differ() {
        let refused: [&[&str]; 3] = [&[], &["A", ""], &["yes", "Yes"]];
        for choices in refused {
            let owned: Vec<String> = choices.iter().map(|choice| (*choice).to_owned()).collect();
            assert!(ChoiceReader::new(&owned).is_err(), "{choices:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_read(text: String) {
            let _ = reader(&["A", "B", "é"]).read(&text);
        }
    }
}
