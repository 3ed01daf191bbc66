//! Answers of cases written into a proposal.
//!
//! An answer alone says little: a prompt may list the labels of its task. What is refused is an answer that stands
//! *together with* text of its own case: within one line of at least two words that this case's input has and hardly any
//! other case, or of one such word where the line is a condition of a template, or code.
//!
//! An answer of many cases is a label of a closed set and may stand anywhere (see [`is_label`]).

use std::collections::{BTreeSet, HashMap, HashSet};

use fapo_domain::model::case::Case;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Lint, LintFinding};

use super::added::{Added, MAX_GRAM, gram, is_code};
use super::finding;
use super::leaks::{COMMON_CASES, strings};
use crate::attribution::answers::expected_answers;
use crate::attribution::scored::parts;
use crate::text::{is_stopword, quote, words};

/// Cases remembered per answer; beyond [`COMMON_CASES`] cases it is a label anyway.
const REMEMBERED: usize = 5;

/// An answer of such a share of the cases is a label (if it is the answer of two at least).
const LABEL_SHARE: f64 = 0.03;

/// Whether the answer of `count` of `cases` cases is a label of a closed set.
pub fn is_label(count: u64, cases: u64) -> bool {
    count >= COMMON_CASES || (count >= 2 && count as f64 >= LABEL_SHARE * cases as f64)
}

/// A line with its neighbours.
#[derive(Debug)]
struct Window {
    file: String,
    words: HashSet<String>,
    condition: bool,
}

#[derive(Debug)]
struct Suspect {
    held_out: bool,
    case: String,
    answer: String,
    /// Windows with the answer, and the words of the case's input in each.
    beside: Vec<(usize, BTreeSet<String>)>,
}

#[derive(Debug, Default)]
struct Answer {
    cases: u64,
    suspects: Vec<Suspect>,
}

/// Looks for answers beside their cases' words.
#[derive(Debug)]
pub struct HardCoded {
    project: ProjectSpec,
    windows: Vec<Window>,
    /// Word sequences of the added lines, and in which windows' middle lines they stand.
    places: HashMap<u64, Vec<usize>>,
    /// In how many cases' inputs each added word occurs.
    frequency: HashMap<String, u64>,
    answers: HashMap<u64, Answer>,
    cases: u64,
}

impl HardCoded {
    /// Prepares the check.
    pub fn new(project: &ProjectSpec, added: &Added) -> Self {
        let mut windows = Vec::new();
        let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut frequency = HashMap::new();
        for segment in &added.segments {
            let lines: Vec<Vec<String>> = segment.lines.iter().map(|line| words(line)).collect();
            for (at, line) in lines.iter().enumerate() {
                let near = at.saturating_sub(1)..(at + 2).min(lines.len());
                // whatever stands in code can be a condition, or be looked up by one
                let condition = is_code(&segment.path)
                    || segment.lines[near.clone()].iter().any(|line| {
                        line.contains("{%")
                            || line.contains(" if ") && line.contains("{{")
                            || line.trim_start().starts_with("when:")
                    });
                let new_words: HashSet<String> = lines[near]
                    .iter()
                    .flatten()
                    .filter(|word| !is_stopword(word) && !added.is_known(gram(&[word])))
                    .cloned()
                    .collect();
                for word in &new_words {
                    frequency.entry(word.clone()).or_insert(0);
                }
                for length in 1..=MAX_GRAM {
                    for run in line.windows(length) {
                        let hash = gram(run);
                        if !added.is_known(hash) {
                            let known = places.entry(hash).or_default();
                            if known.last() != Some(&windows.len()) {
                                known.push(windows.len());
                            }
                        }
                    }
                }
                windows.push(Window {
                    file: segment.path.clone(),
                    words: new_words,
                    condition,
                });
            }
        }
        Self {
            project: project.clone(),
            windows,
            places,
            frequency,
            answers: HashMap::new(),
            cases: 0,
        }
    }

    /// Looks at one case.
    pub fn visit(&mut self, held_out: bool, case: &Case) {
        if self.windows.is_empty() {
            return;
        }
        self.cases += 1;
        let mut texts = Vec::new();
        case.input
            .values()
            .for_each(|value| strings(value, &mut texts));
        let input: BTreeSet<String> = texts
            .iter()
            .flat_map(|text| words(text))
            .filter(|word| self.frequency.contains_key(word))
            .collect();
        for word in &input {
            if let Some(count) = self.frequency.get_mut(word) {
                *count += 1;
            }
        }
        let answers: BTreeSet<String> = parts(&self.project)
            .iter()
            .flat_map(|part| expected_answers(case, &self.project, part))
            .collect();
        for answer in answers {
            let sequence = words(&answer);
            if sequence.is_empty() || sequence.len() > MAX_GRAM || answer.trim().chars().count() < 2
            {
                continue;
            }
            let hash = gram(&sequence);
            let Some(places) = self.places.get(&hash) else {
                continue;
            };
            let known = self.answers.entry(hash).or_default();
            known.cases += 1;
            if known.suspects.len() >= REMEMBERED {
                continue;
            }
            let of_answer: BTreeSet<&String> = sequence.iter().collect();
            let beside: Vec<(usize, BTreeSet<String>)> = places
                .iter()
                .filter_map(|place| {
                    let shared: BTreeSet<String> = input
                        .iter()
                        .filter(|word| {
                            self.windows[*place].words.contains(*word) && !of_answer.contains(word)
                        })
                        .cloned()
                        .collect();
                    (!shared.is_empty()).then_some((*place, shared))
                })
                .collect();
            if !beside.is_empty() {
                known.suspects.push(Suspect {
                    held_out,
                    case: case.case_id.as_str().to_owned(),
                    answer: answer.clone(),
                    beside,
                });
            }
        }
    }

    /// What was found, at most one finding per file and kind of split.
    pub fn finish(self) -> Vec<LintFinding> {
        let rare = |word: &String| {
            let count = self.frequency.get(word).copied().unwrap_or(0);
            word.chars().count() >= 3 && count <= (self.cases / 100).max(1)
        };
        let mut found: BTreeSet<(String, bool, String)> = BTreeSet::new();
        for answer in self
            .answers
            .values()
            .filter(|answer| !is_label(answer.cases, self.cases))
        {
            for suspect in &answer.suspects {
                for (place, shared) in &suspect.beside {
                    let window = &self.windows[*place];
                    let telling = shared.iter().filter(|word| rare(word)).count();
                    if telling >= 2 || (telling == 1 && window.condition) {
                        let message = if suspect.held_out {
                            LintFinding::HELD_OUT_ANSWER.to_owned()
                        } else {
                            format!(
                                "holds the answer {} of train case {} beside words of its input",
                                quote(&suspect.answer),
                                suspect.case
                            )
                        };
                        found.insert((window.file.clone(), suspect.held_out, message));
                    }
                }
            }
        }
        let mut last = None;
        found
            .into_iter()
            .filter(|(file, held_out, _)| {
                let key = Some((file.clone(), *held_out));
                std::mem::replace(&mut last, key.clone()) != key
            })
            .map(|(file, _, message)| finding(Lint::HardCodedAnswer, file, message))
            .collect()
    }
}
