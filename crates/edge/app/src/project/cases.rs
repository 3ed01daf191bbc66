//! The files of cases: opening them, and what is said of them.

use std::fs::File;
use std::path::Path;

use fapo_domain::model::case::Split;
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
    let (reader, format) = open_data(dir, file)?;
    Ok(CaseReader::new(reader, format, split, file))
}

/// Opens a data file and tells its format by its name.
pub(super) fn open_data(dir: &Path, file: &str) -> Result<(File, DataFormat), Box<Problem>> {
    let format =
        DataFormat::of(file).map_err(|message| Box::new(data_problem(file, None, message)))?;
    let opened = File::open(dir.join(file))
        .map_err(|error| Box::new(data_problem(file, None, format!("cannot be read: {error}"))))?;
    Ok((opened, format))
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

/// A split of one case where val is still to be cut from it.
pub(super) fn cannot_be_cut() -> Problem {
    let mut problem = data_problem(
        "fapo.yaml",
        None,
        "train holds one case, and val cannot be cut from that".to_owned(),
    );
    problem.path = Some("data.val".to_owned());
    problem.help = Some("add cases to train, or give val a file of its own".to_owned());
    problem
}

/// Whether no more problems of data files are collected.
pub(super) fn is_hopeless(problems: &Problems) -> bool {
    problems.len() >= MAX_DATA_PROBLEMS
}

/// Says at the end of a list that was cut short that there may be more.
pub(super) fn say_if_cut_short(problems: &mut Problems) {
    if let Some(last) = problems.iter().last().filter(|_| is_hopeless(problems)) {
        let mut more = data_problem(
            &last.file.clone(),
            None,
            format!("only the first {MAX_DATA_PROBLEMS} problems of the data files are listed"),
        );
        more.severity = Severity::Warning;
        problems.push(more);
    }
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
