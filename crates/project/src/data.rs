//! Readers of data files: cases, documents, and lists of case ids. They stream: memory is bounded by one line (or row), in
//! Parquet by one row group, whatever the file's size; and a bad line is told with its number while the others are still
//! read.
//!
//! Readers take what the caller has opened, so that this crate opens no file. They buffer by themselves.

mod case;
mod cells;
mod documents;
mod lines;
mod rows;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Seek};

use fapo_domain::ids::CaseId;
use fapo_domain::model::case::Split;
use fapo_domain::ports::datasets::IncomingCase;
use fapo_domain::problem::{Problem, Problems};

use crate::problems::{ProblemExt, error};
use lines::Lines;
use rows::Rows;

pub use documents::DocumentReader;

/// Longest line of JSONL, and longest row of CSV and Parquet, in bytes.
pub const MAX_LINE: usize = 8 << 20;

/// Bytes of a text file that are read at a time.
const BUFFER: usize = 1 << 20;

/// How a data file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataFormat {
    /// One JSON object a line.
    Jsonl,
    /// A header of column names, then rows.
    Csv,
    /// Apache Parquet: uncompressed, or with Snappy, Zstandard or gzip.
    Parquet,
}

impl DataFormat {
    /// The format of a file, by its ending.
    ///
    /// # Errors
    /// What to say of an ending that is no format.
    pub fn of(file: &str) -> Result<Self, String> {
        let ending = file
            .rsplit(['/', '\\'])
            .next()
            .and_then(|name| name.rsplit_once('.'))
            .map(|(_, ending)| ending.to_ascii_lowercase());
        match ending.as_deref() {
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            Some("json") => Err(
                "a `.json` file is not read: write one JSON object a line, and name it `.jsonl`"
                    .to_owned(),
            ),
            Some("gz" | "zst" | "zip" | "bz2" | "xz") => {
                Err("a compressed file is not read: unpack it first".to_owned())
            }
            Some(other) => Err(format!(
                "the ending `.{other}` is no known format: use `.jsonl`, `.csv` or `.parquet`"
            )),
            None => Err(
                "without an ending its format is not known: use `.jsonl`, `.csv` or `.parquet`"
                    .to_owned(),
            ),
        }
    }
}

/// A stream of cases. An item is a case, or what is wrong with one line; after an error that ends the reading (the file
/// itself, or its header) there are no more items.
///
/// JSONL: `case_id` (a text), `input` (an object; also under the name `context`), `expected` and `metadata` (objects, may be
/// left out). Any other key goes into `metadata`. CSV: columns `case_id`, `input.<key>`, `expected.<key>`, `metadata.<key>`;
/// any other column is a key of the input; all values are texts.
///
/// Parquet: the columns of either. `input` (or `context`), `expected` and `metadata` are structs, maps, or texts that hold a
/// JSON object; any other column is a key of the metadata as in JSONL, and without a column `input` one of the input as in
/// CSV. Values keep their types. Dates, times and timestamps become ISO 8601, decimals and UUIDs texts, bytes texts if they
/// are UTF-8. A row takes the place of a line, counted from 1. The index of a pandas frame (`__index_level_0__`) is passed
/// over.
pub struct CaseReader<R: Read> {
    source: Source<BufReader<R>, cells::Cases>,
    split: Split,
    file: String,
    seen: BTreeSet<String>,
}

/// Where records come from.
enum Source<R: BufRead, P> {
    Jsonl(Lines<R>),
    Csv(Box<Rows<R>>),
    Parquet(Box<P>),
    /// Nothing can be read; the reason is told once.
    Refused(Option<Problem>),
}

impl<R: Read, P> Source<BufReader<R>, P> {
    fn new(
        reader: R,
        format: DataFormat,
        file: &str,
        check: rows::CheckColumns,
        parquet: impl FnOnce(R) -> Result<P, Fault>,
    ) -> Self {
        let buffered = |reader| BufReader::with_capacity(BUFFER, reader);
        match format {
            DataFormat::Jsonl => Self::Jsonl(Lines::new(buffered(reader), file)),
            DataFormat::Csv => Self::Csv(Box::new(Rows::new(buffered(reader), file, check))),
            DataFormat::Parquet => match parquet(reader) {
                Ok(rows) => Self::Parquet(Box::new(rows)),
                Err(fault) => Self::Refused(Some(fault.problem(file, None))),
            },
        }
    }
}

impl<R: Read + Seek + Send + 'static> CaseReader<R> {
    /// Reads cases of `split`; `file` is the name that problems and cases carry.
    pub fn new(reader: R, format: DataFormat, split: Split, file: &str) -> Self {
        Self {
            source: Source::new(
                reader,
                format,
                file,
                case::check_columns,
                cells::Cases::open,
            ),
            split,
            file: file.to_owned(),
            seen: BTreeSet::new(),
        }
    }
}

impl<R: Read> CaseReader<R> {
    /// The keys of inputs that stand in what was read so far and gave no case: lines with something else wrong, and a CSV
    /// header that is refused.
    pub fn keys_without_cases(&self) -> BTreeSet<String> {
        match &self.source {
            Source::Csv(rows) => case::input_keys(rows.columns()),
            Source::Jsonl(_) | Source::Parquet(_) | Source::Refused(_) => self.seen.clone(),
        }
    }
}

impl<R: Read> Iterator for CaseReader<R> {
    type Item = Result<IncomingCase, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, case) = match &mut self.source {
            Source::Jsonl(lines) => match lines.next_object()? {
                Ok((line, object)) => (line, case::from_object(object, &mut self.seen)),
                Err(problem) => return Some(Err(problem)),
            },
            Source::Csv(rows) => match rows.next_row()? {
                Ok((line, row)) => (line, case::from_row(rows.columns(), &row)),
                Err(problem) => return Some(Err(problem)),
            },
            Source::Parquet(cases) => cases.next_case()?,
            Source::Refused(problem) => return problem.take().map(Err),
        };
        Some(match case {
            Ok(case) => Ok(IncomingCase {
                split: self.split,
                case,
                file: self.file.clone(),
                line,
            }),
            Err(fault) => Err(fault.problem(&self.file, line)),
        })
    }
}

/// What is wrong with one record.
#[derive(Debug)]
pub(crate) struct Fault {
    rule: &'static str,
    message: String,
    help: Option<String>,
}

impl Fault {
    fn new(rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            rule,
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The problem in a line, or in the whole file.
    fn problem(self, file: &str, line: impl Into<Option<u64>>) -> Problem {
        let problem = error(self.rule, file, self.message).at(line.into(), None);
        match self.help {
            Some(help) => problem.help(help),
            None => problem,
        }
    }
}

/// Reads a list of case ids, one a line: the files of `objective.protect`. Blank lines and lines that start with `#` are
/// passed over, and a repeated id counts once.
pub fn read_ids<R: BufRead>(reader: R, file: &str) -> (Vec<CaseId>, Problems) {
    let mut lines = Lines::new(reader, file);
    let mut seen = std::collections::HashSet::new();
    let (mut ids, mut problems) = (Vec::new(), Problems::new());
    while let Some(line) = lines.next_line() {
        match line {
            Ok((_, text)) => {
                let id = text.trim();
                if !id.starts_with('#') && seen.insert(id.to_owned()) {
                    ids.push(CaseId::new(id));
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    (ids, problems)
}
