//! Rows of a CSV file, with a bound on how long one may be.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};

use csv::{ByteRecord, ReaderBuilder, StringRecord, Terminator};
use fapo_domain::problem::Problem;

use super::{Fault, MAX_LINE};
use crate::problems::{ProblemExt, error};

/// A row's line and its values; or its problem.
type Row = Result<(u64, StringRecord), Problem>;

/// Says what is wrong with a file's columns, if anything.
pub(super) type CheckColumns = fn(&[String]) -> Result<(), Fault>;

/// Reads row by row. Rows may run over several lines inside quotes; a row is told by the line it starts in.
pub(super) struct Rows<R: BufRead> {
    reader: csv::Reader<Bounded<R>>,
    file: String,
    columns: Option<Vec<String>>,
    check: CheckColumns,
    record: ByteRecord,
    done: bool,
}

impl<R: BufRead> Rows<R> {
    pub fn new(reader: R, file: &str, check: CheckColumns) -> Self {
        Self {
            reader: ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .terminator(Terminator::Any(b'\n'))
                .from_reader(Bounded {
                    reader,
                    since: 0,
                    first: true,
                    ended: false,
                }),
            file: file.to_owned(),
            columns: None,
            check,
            record: ByteRecord::new(),
            done: false,
        }
    }

    /// The names in the header; none before the first row was asked for.
    pub fn columns(&self) -> &[String] {
        self.columns.as_deref().unwrap_or_default()
    }

    /// The next row. A file that cannot be gone on with ends after its problem.
    pub fn next_row(&mut self) -> Option<Row> {
        if self.columns.is_none() && !self.done {
            match self.read()? {
                Ok((line, header)) => {
                    if let Some(problem) = self.header(line, &header) {
                        self.done = true;
                        return Some(Err(problem));
                    }
                }
                Err(problem) => {
                    self.done = true;
                    return Some(Err(problem));
                }
            }
        }
        let (line, row) = match self.read()? {
            Ok(row) => row,
            Err(problem) => return Some(Err(problem)),
        };
        let expected = self.columns().len();
        if row.len() != expected {
            let problem = error(
                "bad-row",
                &self.file,
                format!(
                    "the row has {} values, and the header {expected} columns",
                    row.len()
                ),
            )
            .at(Some(line), None)
            .help(
                "put a value with a comma or a quote in double quotes, and write \" inside as \"\"",
            );
            return Some(Err(problem));
        }
        Some(Ok((line, row)))
    }

    /// Takes the header; what is wrong with it is returned.
    fn header(&mut self, line: u64, header: &StringRecord) -> Option<Problem> {
        let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        // also where something is wrong with them: no row is read then
        self.columns = Some(names.clone());
        if let [only] = names.as_slice()
            && let Some(separator) = [';', '\t', '|'].into_iter().find(|c| only.contains(*c))
        {
            let message = format!("the columns are separated by {separator:?}, not by commas");
            let problem = error("bad-header", &self.file, message).at(Some(line), None);
            return Some(problem.help("write the file anew with commas between the values"));
        }
        let mut seen = BTreeSet::new();
        for (position, name) in names.iter().enumerate() {
            let message = if name.is_empty() {
                format!("column {} has no name", position + 1)
            } else if !seen.insert(name.as_str()) {
                format!("two columns are named `{name}`")
            } else {
                continue;
            };
            let help =
                "the first row names the columns: `case_id`, `input.<key>`, `expected.<key>`";
            let problem = error("bad-header", &self.file, message).at(Some(line), None);
            return Some(problem.help(help));
        }
        if let Err(fault) = (self.check)(&names) {
            return Some(fault.problem(&self.file, line));
        }
        None
    }

    fn read(&mut self) -> Option<Row> {
        while !self.done {
            self.reader.get_mut().since = 0;
            let start = self.reader.position().line();
            match self.reader.read_byte_record(&mut self.record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(found) => {
                    self.done = true;
                    let problem = self.unreadable(&found);
                    return Some(Err(problem.at(Some(start), None)));
                }
            }
            let line = self.line();
            // moved out, and with it whatever a large row had made the buffer
            match StringRecord::from_byte_record(std::mem::take(&mut self.record)) {
                Ok(row) if row.len() == 1 && row[0].trim().is_empty() => {}
                Ok(row) => return Some(Ok((line, without_return(row)))),
                Err(found) => {
                    let column = found.utf8_error().field() + 1;
                    let message = format!("value {column} of the row is not UTF-8");
                    let problem = error("not-utf8", &self.file, message)
                        .at(Some(line), None)
                        .help("save the file as UTF-8");
                    return Some(Err(problem));
                }
            }
        }
        self.done = true;
        None
    }

    /// The line in which the row that was just read starts. (The reader's own note of it is the end of the row before,
    /// blank lines not counted.)
    fn line(&self) -> u64 {
        let bytes = self.record.iter().flatten();
        let inside = bytes.filter(|byte| **byte == b'\n').count() as u64;
        // a row that needed the end of the file to be over has no line break at its end
        let end = u64::from(!self.reader.get_ref().ended);
        self.reader.position().line().saturating_sub(inside + end)
    }

    fn unreadable(&self, found: &csv::Error) -> Problem {
        if is_too_long(found) {
            let message = format!("the row that starts here has more than {MAX_LINE} bytes");
            error("line-too-long", &self.file, message)
                .help("look for a quote that is never closed")
        } else {
            error("unreadable", &self.file, format!("cannot be read: {found}"))
        }
    }
}

/// Rows end at `\n`; what a file from Windows has before it is not part of the last value.
fn without_return(row: StringRecord) -> StringRecord {
    let last = row.len().saturating_sub(1);
    match row.get(last) {
        Some(value) if value.ends_with('\r') => row
            .iter()
            .enumerate()
            .map(|(position, value)| {
                if position == last {
                    value.strip_suffix('\r').unwrap_or(value)
                } else {
                    value
                }
            })
            .collect(),
        _ => row,
    }
}

fn is_too_long(found: &csv::Error) -> bool {
    matches!(found.kind(), csv::ErrorKind::Io(found) if found.kind() == std::io::ErrorKind::FileTooLarge)
}

/// Stops the reading of a row that does not end. The CSV reader asks for more only while its row is not complete, so what
/// was read since a row began is at most one buffer more than the row.
struct Bounded<R> {
    reader: R,
    since: usize,
    first: bool,
    ended: bool,
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.since > MAX_LINE {
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
        }
        if self.first {
            self.first = false;
            if self.reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
                self.reader.consume(3);
            }
        }
        let count = self.reader.read(buffer)?;
        self.since += count;
        self.ended = count == 0 && !buffer.is_empty();
        Ok(count)
    }
}
