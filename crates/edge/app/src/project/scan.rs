//! A look through the data files, as streams and without a store: what `fapo check` says of them, and what every command
//! says of them once something else is wrong. A command that imports the data finds the same on the way.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::problem::{Problem, Problems, Severity};
use fapo_project::data::DataFormat;
use fapo_project::{AbsentKey, InputProbe};
use fapo_scoring::{ScoreError, Scorer};

use super::beside::read_protected;
use super::cases::{
    cannot_be_cut, data_problem, duplicate, is_hopeless, open_cases, say_if_cut_short, split_files,
};
use super::documents::{ShortHash, open_documents, short_hash};
use super::load::LoadedProject;
use super::protect::Unmet;
use crate::output::format;

/// What a look through the data files found.
#[derive(Debug, Default)]
pub struct DataScan {
    /// Cases per split, before a missing val is cut from train.
    pub cases: HashMap<Split, u64>,
    /// Everything wrong, at most 100 and the warning that there may be more.
    pub problems: Problems,
    /// Bytes of the cases' inputs, over all splits.
    input_bytes: u64,
    documents: u64,
    /// Bytes of the documents' titles and texts, over all corpora.
    document_bytes: u64,
}

impl DataScan {
    /// Mean bytes of a case's input: the basis of token estimates.
    pub fn mean_input_bytes(&self) -> u64 {
        self.input_bytes / self.cases.values().sum::<u64>().max(1)
    }

    /// Mean bytes of a document.
    pub fn mean_document_bytes(&self) -> u64 {
        self.document_bytes / self.documents.max(1)
    }
}

/// Reads all data files once and checks each line: form, unique ids, whether a case has what its scorer compares with, and,
/// as a warning, what the pipeline's templates need.
pub fn scan_data(project: &LoadedProject) -> DataScan {
    let mut scan = Scan::new(&project.dir, &project.spec, Some(&project.scorer));
    scan.probe = Some(InputProbe::new(&project.pipeline));
    scan.run()
}

/// The same where the project has problems already: of a file that is missing, named twice or of no known format nothing
/// is said again.
pub(super) fn scan_what_can_be_read(
    dir: &Path,
    spec: &ProjectSpec,
    scorer: Option<&Scorer>,
) -> Problems {
    let mut scan = Scan::new(dir, spec, scorer);
    scan.told = Some(Vec::new());
    scan.run().problems
}

struct Scan<'a> {
    dir: &'a Path,
    spec: &'a ProjectSpec,
    scorer: Option<&'a Scorer>,
    /// Finds what templates need; none where the pipeline cannot be read.
    probe: Option<InputProbe<'a>>,
    /// Files read so far, where the problems of their names are told already.
    told: Option<Vec<PathBuf>>,
    /// Ids of cases, with the file (by its place among the splits) and the line.
    seen: HashMap<ShortHash, (usize, u64)>,
    found: DataScan,
}

impl<'a> Scan<'a> {
    fn new(dir: &'a Path, spec: &'a ProjectSpec, scorer: Option<&'a Scorer>) -> Self {
        Self {
            dir,
            spec,
            scorer,
            probe: None,
            told: None,
            seen: HashMap::new(),
            found: DataScan::default(),
        }
    }

    fn run(mut self) -> DataScan {
        let files = split_files(self.spec);
        // loading the project has told what cannot be read of these
        let protected = read_protected(self.dir, self.spec, &mut Problems::new());
        let mut unmet = Unmet::new(self.spec, &protected);
        for number in 0..files.len() {
            self.cases(&files, number, &mut unmet);
        }
        unmet.tell(&mut self.found.problems);
        for file in self.spec.data.corpora.values() {
            self.documents(file);
        }
        if self.spec.data.val.is_none() && self.found.cases.get(&Split::Train) == Some(&1) {
            self.found.problems.push(cannot_be_cut());
        }
        say_if_cut_short(&mut self.found.problems);
        self.found
    }

    /// Whether a file is to be read, or all there is to say about it is said.
    fn is_new(&mut self, file: &str) -> bool {
        let Some(read) = &mut self.told else {
            return true;
        };
        let known = DataFormat::of(file).is_ok();
        let Ok(path) = self.dir.join(file).canonicalize() else {
            return false;
        };
        if !known || !path.is_file() || read.contains(&path) {
            return false;
        }
        read.push(path);
        true
    }

    fn cases(&mut self, files: &[(Split, &str)], number: usize, unmet: &mut Unmet) {
        let (split, file) = files[number];
        if is_hopeless(&self.found.problems) || !self.is_new(file) {
            return;
        }
        let before = self.found.problems.len();
        let reader = match open_cases(self.dir, split, file) {
            Ok(reader) => reader,
            Err(problem) => return self.found.problems.push(*problem),
        };
        let limit = self.spec.data.max_cases.unwrap_or(u64::MAX);
        let mut count = 0;
        let mut absent = BTreeMap::new();
        for incoming in reader {
            if count >= limit || is_hopeless(&self.found.problems) {
                break;
            }
            let incoming = match incoming {
                Ok(incoming) => incoming,
                Err(problem) => {
                    self.found.problems.push(problem);
                    continue;
                }
            };
            count += 1;
            unmet.meet(&incoming.case.case_id);
            self.found.input_bytes += input_bytes(&incoming.case);
            match self.seen.entry(short_hash(incoming.case.case_id.as_str())) {
                Entry::Occupied(first) => {
                    let (first_file, first_line) = *first.get();
                    let first = format!("{}:{first_line}", files[first_file].1);
                    self.found.problems.push(duplicate(&incoming, &first));
                }
                Entry::Vacant(vacant) => {
                    vacant.insert((number, incoming.line));
                }
            }
            let probe = self.probe.as_ref();
            if let Some(key) = probe.and_then(|probe| probe.lack(&incoming.case)) {
                let (_first, cases) = absent.entry(key).or_insert((incoming.line, 0u64));
                *cases += 1;
            }
            for lack in lacks(self.scorer, &incoming.case, file, incoming.line) {
                self.found.problems.push(lack);
            }
        }
        if count == 0 && self.found.problems.len() == before {
            let empty = data_problem(file, None, "holds no cases".to_owned());
            self.found.problems.push(empty);
        }
        for (key, (first, cases)) in absent {
            self.found
                .problems
                .push(absent_key(file, &key, first, cases));
        }
        self.found.cases.insert(split, count);
    }

    fn documents(&mut self, file: &str) {
        if is_hopeless(&self.found.problems) || !self.is_new(file) {
            return;
        }
        let before = self.found.problems.len();
        let reader = match open_documents(self.dir, file) {
            Ok(reader) => reader,
            Err(problem) => return self.found.problems.push(*problem),
        };
        let mut count = 0;
        for document in reader {
            if is_hopeless(&self.found.problems) {
                break;
            }
            match document {
                Ok(document) => {
                    count += 1;
                    self.found.document_bytes +=
                        (document.title.len() + document.text.len()) as u64;
                }
                Err(problem) => self.found.problems.push(problem),
            }
        }
        if count == 0 && self.found.problems.len() == before {
            let empty = data_problem(file, None, "holds no documents".to_owned());
            self.found.problems.push(empty);
        }
        self.found.documents += count;
    }
}

/// Cases that a template cannot be rendered for.
fn absent_key(file: &str, absent: &AbsentKey, first: u64, cases: u64) -> Problem {
    let AbsentKey { key, needed_at } = absent;
    let (who, what_then) = match cases {
        1 => ("this case has".to_owned(), "it ends"),
        more => (
            format!("{} from here on have", format::counted(more, "case")),
            "they end",
        ),
    };
    Problem {
        severity: Severity::Warning,
        rule: "absent-key".into(),
        help: Some(format!(
            "add it, or let the template do without: `{{{{ {key} | default('') }}}}`"
        )),
        ..data_problem(
            file,
            Some(first),
            format!(
                "{who} no `{key}`, which {needed_at} needs: {what_then} as failed, with a score of 0"
            ),
        )
    }
}

/// What a case lacks for its scorer.
pub(super) fn lacks(scorer: Option<&Scorer>, case: &Case, file: &str, line: u64) -> Vec<Problem> {
    let found = scorer.map_or_else(Vec::new, |scorer| scorer.check_case(case));
    found
        .iter()
        .map(|lack| Problem {
            help: misplaced(lack, case, file),
            ..data_problem(file, Some(line), lack.to_string())
        })
        .collect()
}

/// What to do where the right answer stands, or may stand, in the wrong place.
fn misplaced(lack: &ScoreError, case: &Case, file: &str) -> Option<String> {
    let ScoreError::ExpectedMissing { key, .. } = lack else {
        return None;
    };
    if DataFormat::of(file) == Ok(DataFormat::Csv) {
        return Some(format!(
            "a column named `expected.{key}` holds it; one named `{key}` is a key of the input"
        ));
    }
    let among_input = case.input.contains_key(key);
    among_input.then(|| format!("`{key}` is in `input`: it belongs in `expected`"))
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
