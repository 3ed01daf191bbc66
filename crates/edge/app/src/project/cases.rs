//! The data files: opened as streams, and checked without a store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::Path;

use fapo_domain::ContentHash;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::ports::datasets::IncomingCase;
use fapo_domain::problem::{Problem, Problems, Severity};
use fapo_project::data::{CaseReader, DataFormat};

/// Most problems that are collected from data files; a file with more is hopeless anyway.
pub(super) const MAX_DATA_PROBLEMS: usize = 100;

/// A stream over one split's file.
pub(super) type Cases = CaseReader<File>;

/// Opens a split's file as a stream of cases.
pub(super) fn open_cases(dir: &Path, split: Split, file: &str) -> Result<Cases, Box<Problem>> {
    let format =
        DataFormat::of(file).map_err(|message| Box::new(data_problem(file, None, message)))?;
    let opened = File::open(dir.join(file))
        .map_err(|error| Box::new(data_problem(file, None, format!("cannot be read: {error}"))))?;
    Ok(CaseReader::new(opened, format, split, file))
}

/// The splits that have a file.
pub(super) fn split_files(spec: &ProjectSpec) -> Vec<(Split, &str)> {
    let data = &spec.data;
    [
        (Split::Train, Some(&data.train)),
        (Split::Val, data.val.as_ref()),
        (Split::Test, data.test.as_ref()),
    ]
    .into_iter()
    .filter_map(|(split, file)| Some((split, file?.as_str())))
    .collect()
}

/// What a look through the data files found.
#[derive(Debug, Default)]
pub struct CaseScan {
    /// Cases per split, before a missing val is cut from train.
    pub cases: HashMap<Split, u64>,
    /// Bytes of the cases' inputs, over all splits: the basis of token estimates.
    pub input_bytes: u64,
    /// Everything wrong, at most 100.
    pub problems: Problems,
}

impl CaseScan {
    /// Mean bytes of a case's input.
    pub fn mean_input_bytes(&self) -> u64 {
        self.input_bytes / self.cases.values().sum::<u64>().max(1)
    }
}

/// Reads all data files once, as streams, and checks each case: form, unique ids, and whatever `check` says (such as
/// whether the scorer finds what it expects).
pub fn scan_cases(
    dir: &Path,
    spec: &ProjectSpec,
    check: &dyn Fn(&Case) -> Result<(), String>,
) -> CaseScan {
    let mut scan = CaseScan::default();
    let mut seen: HashMap<[u8; 16], (u8, u64)> = HashMap::new();
    let files = split_files(spec);
    for (number, (split, file)) in files.iter().enumerate() {
        let reader = match open_cases(dir, *split, file) {
            Ok(reader) => reader,
            Err(problem) => {
                scan.problems.push(*problem);
                continue;
            }
        };
        let limit = spec.data.max_cases.unwrap_or(u64::MAX);
        let mut count = 0u64;
        for incoming in reader {
            if count >= limit || scan.problems.len() >= MAX_DATA_PROBLEMS {
                break;
            }
            match incoming {
                Ok(incoming) => {
                    count += 1;
                    scan.input_bytes += input_bytes(&incoming.case);
                    let place = (u8::try_from(number).unwrap_or(u8::MAX), incoming.line);
                    match seen.entry(short_hash(incoming.case.case_id.as_str())) {
                        Entry::Occupied(first) => {
                            let (first_file, first_line) = *first.get();
                            let first_file = files[usize::from(first_file)].1;
                            scan.problems
                                .push(duplicate(&incoming, &format!("{first_file}:{first_line}")));
                        }
                        Entry::Vacant(vacant) => {
                            vacant.insert(place);
                        }
                    }
                    if let Err(message) = check(&incoming.case) {
                        scan.problems
                            .push(data_problem(file, Some(incoming.line), message));
                    }
                }
                Err(problem) => scan.problems.push(problem),
            }
        }
        if count == 0 && scan.problems.is_empty() {
            scan.problems
                .push(data_problem(file, None, "holds no cases".to_owned()));
        }
        scan.cases.insert(*split, count);
    }
    scan
}

/// Half of a content hash: 128 bits keep a million ids apart at 16 bytes each.
fn short_hash(id: &str) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&ContentHash::of(id.as_bytes()).as_bytes()[..16]);
    half
}

fn input_bytes(case: &Case) -> u64 {
    case.input
        .values()
        .map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string().len(), str::len) as u64
        })
        .sum()
}

pub(super) fn duplicate(incoming: &IncomingCase, first: &str) -> Problem {
    let mut problem = data_problem(
        &incoming.file,
        Some(incoming.line),
        format!(
            "case id `{}` was used before, at {first}",
            incoming.case.case_id
        ),
    );
    problem.rule = "duplicate-case".into();
    problem.help = Some("ids are unique over all splits".to_owned());
    problem
}

pub(super) fn data_problem(file: &str, line: Option<u64>, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        rule: "data".into(),
        file: file.to_owned(),
        line,
        column: None,
        path: None,
        message,
        help: None,
    }
}
