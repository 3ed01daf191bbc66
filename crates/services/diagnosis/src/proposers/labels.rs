//! Whether the answers of train are labels: few, and each of several cases.

use std::collections::BTreeMap;

/// Most labels of a closed set.
const MAX_LABELS: usize = 30;
/// Longest label, in characters.
const MAX_LABEL: usize = 60;

/// Counts answers until they are too many for labels.
#[derive(Debug, Default)]
pub struct Labels {
    counts: BTreeMap<String, u64>,
    cases: u64,
    impossible: bool,
}

impl Labels {
    /// Whether the answers seen so far may still be labels.
    pub const fn is_possible(&self) -> bool {
        !self.impossible
    }

    /// Counts a case's right answers.
    pub fn add(&mut self, mut answers: Vec<String>) {
        self.cases += 1;
        match (answers.pop(), answers.is_empty()) {
            (Some(answer), true)
                if answer.chars().count() <= MAX_LABEL && !answer.contains('\n') =>
            {
                *self.counts.entry(answer.trim().to_owned()).or_default() += 1;
            }
            _ => self.impossible = true,
        }
        if self.counts.len() > MAX_LABELS {
            self.impossible = true;
        }
    }

    /// The labels: at least two, each of two cases at least, and four cases per label on average.
    pub fn finish(self) -> Vec<String> {
        let few = self.counts.len() as u64 * 4 <= self.cases;
        let all_repeat = self.counts.values().all(|count| *count >= 2);
        if self.impossible || self.counts.len() < 2 || !few || !all_repeat {
            return Vec::new();
        }
        self.counts.into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(answers: &[&str]) -> Vec<String> {
        let mut labels = Labels::default();
        for answer in answers {
            labels.add(vec![(*answer).to_owned()]);
        }
        labels.finish()
    }

    #[test]
    fn few_answers_of_many_cases_are_labels() {
        let two = ["b", "a", "a", "b", "b", "a", "b", "a"];
        assert_eq!(labels(&two), ["a", "b"]);
        // one label is no choice, a single case no label, and too few cases prove nothing
        assert!(labels(&["a"; 9]).is_empty());
        assert!(labels(&["a", "a", "a", "a", "a", "a", "a", "c"]).is_empty());
        assert!(labels(&two[..6]).is_empty());
    }

    #[test]
    fn several_right_answers_or_long_ones_are_no_labels() {
        let mut several = Labels::default();
        several.add(vec!["a".to_owned(), "b".to_owned()]);
        assert!(!several.is_possible());
        let mut long = Labels::default();
        long.add(vec!["x".repeat(MAX_LABEL + 1)]);
        assert!(!long.is_possible());
        let mut many = Labels::default();
        for number in 0..=MAX_LABELS {
            many.add(vec![number.to_string()]);
        }
        assert!(!many.is_possible());
    }
}
