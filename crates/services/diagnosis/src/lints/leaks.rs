//! Text of cases in a proposal: copied from train, or from validation and test; and case ids.
//!
//! The added text's word sequences of 5 to 8 words are kept as hashes; every case's texts are then run past them. A hit
//! is a whole text of 5 to 7 words, or any 8 words in a row. A sequence that many cases share is the task's own wording
//! and no leak: one that occurs in [`COMMON_CASES`] cases, or in three and a tenth of all.

use std::collections::{BTreeMap, HashMap, HashSet};

use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::model::variant::VariantTree;
use serde_json::Value;

use super::added::{Added, MAX_GRAM, gram, prose_of};
use super::finding;
use super::hardcoded::HardCoded;
use crate::text::{quote, words};

/// A whole text of fewer words is not looked up: it says too little.
const MIN_GRAM: usize = 5;
/// What stands in so many cases is no text of one case.
pub const COMMON_CASES: u64 = 5;

/// Whether words found in `count` of `cases` cases are the task's own wording and not a case's. A pair of near-duplicates
/// does not make a wording.
fn is_wording(count: u64, cases: u64) -> bool {
    count >= COMMON_CASES || (count >= 3 && count * 10 >= cases)
}

#[derive(Debug)]
struct Hit {
    cases: u64,
    file: usize,
    /// The first train case with it, and the words; nothing is kept of held-out cases.
    train: Option<(String, String)>,
    held_out: bool,
}

/// Runs every case past a proposal's added text. Memory depends on the proposal only.
#[derive(Debug)]
pub struct Leaks {
    files: Vec<String>,
    grams: HashMap<u64, usize>,
    ids: HashMap<String, usize>,
    hits: HashMap<u64, Hit>,
    id_hits: BTreeMap<(usize, bool), String>,
    case_conditions: Vec<usize>,
    hard_coded: HardCoded,
    cases: u64,
}

impl Leaks {
    /// Prepares the check of `child` against its parent.
    pub fn new(project: &ProjectSpec, parent: &VariantTree, child: &VariantTree) -> Self {
        let added = Added::between(parent, child);
        let mut files: Vec<String> = Vec::new();
        let mut grams = HashMap::new();
        let mut ids = HashMap::new();
        let mut case_conditions = Vec::new();
        for segment in &added.segments {
            let file = files
                .iter()
                .position(|path| *path == segment.path)
                .unwrap_or_else(|| {
                    files.push(segment.path.clone());
                    files.len() - 1
                });
            for run in prose_of(&segment.path, &segment.lines.join("\n")) {
                for length in MIN_GRAM..=MAX_GRAM {
                    for window in run.windows(length) {
                        let hash = gram(window);
                        if !added.is_known(hash) {
                            grams.entry(hash).or_insert(file);
                        }
                    }
                }
            }
            for line in &segment.lines {
                for token in tokens(line) {
                    ids.entry(token.to_owned()).or_insert(file);
                }
                if line.contains("case_id") && !case_conditions.contains(&file) {
                    case_conditions.push(file);
                }
            }
        }
        Self {
            files,
            grams,
            ids,
            hits: HashMap::new(),
            id_hits: BTreeMap::new(),
            case_conditions,
            hard_coded: HardCoded::new(project, &added),
            cases: 0,
        }
    }

    /// Whether no case can be found in it: nothing was added.
    pub fn is_clean(&self) -> bool {
        self.files.is_empty()
    }

    /// Looks at one case.
    pub fn visit(&mut self, split: Split, case: &Case) {
        self.cases += 1;
        let held_out = split != Split::Train;
        let id = case.case_id.as_str();
        if let Some(file) = self.ids.get(id)
            && tells_a_case(id)
        {
            self.id_hits
                .entry((*file, held_out))
                .or_insert_with(|| id.to_owned());
        }
        let mut seen = HashSet::new();
        let mut texts = Vec::new();
        case.input
            .values()
            .chain(case.expected.values())
            .for_each(|value| strings(value, &mut texts));
        for text in texts {
            let run = words(text);
            if run.len() >= MAX_GRAM {
                for window in run.windows(MAX_GRAM) {
                    self.look_up(window, held_out, id, &mut seen);
                }
            } else if run.len() >= MIN_GRAM {
                self.look_up(&run, held_out, id, &mut seen);
            }
        }
        self.hard_coded.visit(held_out, case);
    }

    fn look_up(&mut self, run: &[String], held_out: bool, id: &str, seen: &mut HashSet<u64>) {
        let hash = gram(run);
        let Some(file) = self.grams.get(&hash) else {
            return;
        };
        if !seen.insert(hash) {
            return;
        }
        let hit = self.hits.entry(hash).or_insert(Hit {
            cases: 0,
            file: *file,
            train: None,
            held_out: false,
        });
        hit.cases += 1;
        if held_out {
            hit.held_out = true;
        } else if hit.train.is_none() {
            hit.train = Some((id.to_owned(), run.join(" ")));
        }
    }

    /// What was found, one finding per lint and file.
    pub fn finish(self) -> Vec<LintFinding> {
        let mut train: BTreeMap<usize, (String, String)> = BTreeMap::new();
        let mut held_out: Vec<usize> = Vec::new();
        for hit in self.hits.into_values() {
            if is_wording(hit.cases, self.cases) {
                continue;
            }
            if hit.held_out && !held_out.contains(&hit.file) {
                held_out.push(hit.file);
            }
            if let Some(first) = hit.train {
                // the smallest, so that the message does not depend on the order of a hash table
                train
                    .entry(hit.file)
                    .and_modify(|known| {
                        if first < *known {
                            *known = first.clone();
                        }
                    })
                    .or_insert(first);
            }
        }
        held_out.sort_unstable();
        let mut found: Vec<LintFinding> = train
            .into_iter()
            .map(|(file, (case, text))| {
                finding(
                    Lint::TrainLeak,
                    &self.files[file],
                    format!("copies text of train case {case}: {}", quote(&text)),
                )
            })
            .collect();
        found.extend(held_out.into_iter().map(|file| {
            finding(
                Lint::HeldOutLeak,
                &self.files[file],
                LintFinding::HELD_OUT_TEXT,
            )
        }));
        found.extend(self.id_hits.into_iter().map(|((file, is_held_out), id)| {
            finding(
                Lint::HardCodedCase,
                &self.files[file],
                if is_held_out {
                    LintFinding::HELD_OUT_ID.to_owned()
                } else {
                    format!("names train case {id}")
                },
            )
        }));
        found.extend(self.case_conditions.into_iter().map(|file| {
            finding(
                Lint::HardCodedCase,
                &self.files[file],
                "uses `case_id`: a pipeline may not know which case it is given",
            )
        }));
        found.extend(self.hard_coded.finish());
        found
    }
}

/// Whether an id says which case it is. Bare numbers and short words occur in any text.
fn tells_a_case(id: &str) -> bool {
    let letters = id.chars().any(char::is_alphabetic);
    let others = id.chars().any(|c| !c.is_alphabetic());
    id.chars().count() >= 3 && letters && others
}

/// The tokens of a line that may be ids: runs without white space, quotes, brackets and closing punctuation.
fn tokens(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || "\"'`,;()[]{}<>=|".contains(c))
        .map(|token| token.trim_matches(|c: char| ".:!?*".contains(c)))
        .filter(|token| !token.is_empty())
}

/// All texts in a JSON value.
pub fn strings<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(map) => map.values().for_each(|item| strings(item, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
