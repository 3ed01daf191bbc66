//! Lines of a text file, with a bound on how long one may be.

use std::io::BufRead;

use fapo_domain::problem::Problem;
use serde_json::{Map, Value};

use super::MAX_LINE;
use crate::problems::{ProblemExt, error};

/// A line's number and its text; or its problem.
type Line<'a> = Result<(u64, &'a str), Problem>;

/// A line's number and its object; or its problem.
type Object = Result<(u64, Map<String, Value>), Problem>;

/// Reads line by line. Blank lines, a byte order mark, and `\r` before `\n` are passed over.
pub(super) struct Lines<R> {
    reader: R,
    file: String,
    /// The line read last, from 1.
    number: u64,
    buffer: Vec<u8>,
    done: bool,
    /// Whether a line with content has come.
    begun: bool,
}

/// How reading one line ended.
enum Filled {
    /// The file is over.
    End,
    /// The line is in the buffer.
    Line,
    /// The line was too long; this many bytes of it were passed over.
    TooLong(u64),
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R, file: &str) -> Self {
        Self {
            reader,
            file: file.to_owned(),
            number: 0,
            buffer: Vec::new(),
            done: false,
            begun: false,
        }
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next line that is not blank.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        while !self.done {
            self.number += 1;
            match self.fill() {
                Err(found) => {
                    self.done = true;
                    return Some(Err(
                        self.problem("unreadable", format!("cannot be read: {found}"))
                    ));
                }
                Ok(Filled::End) => {
                    self.done = true;
                    return None;
                }
                Ok(Filled::TooLong(length)) => {
                    let message =
                        format!("the line has {length} bytes, and at most {MAX_LINE} are read");
                    let help = "split the record, or keep what is long in a corpus";
                    return Some(Err(self.problem("line-too-long", message).help(help)));
                }
                Ok(Filled::Line) => {}
            }
            if self.number == 1 {
                if self.buffer.starts_with(b"\xff\xfe") || self.buffer.starts_with(b"\xfe\xff") {
                    self.done = true;
                    let problem = self.problem("not-utf8", "the file is UTF-16".to_owned());
                    return Some(Err(problem.help("save it as UTF-8")));
                }
                if self.buffer.starts_with(b"\xef\xbb\xbf") {
                    self.buffer.drain(..3);
                }
            }
            if self.buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.begun = true;
            break;
        }
        if self.done {
            return None;
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(text) => Some(Ok((self.number, text))),
            Err(found) => {
                let at = found.valid_up_to();
                let byte = self.buffer.get(at).copied().unwrap_or_default();
                let problem = self
                    .problem(
                        "not-utf8",
                        format!("not UTF-8: byte 0x{byte:02x} is not the start of a character"),
                    )
                    .help("save the file as UTF-8");
                let column = String::from_utf8_lossy(&self.buffer[..at]).chars().count() + 1;
                Some(Err(problem.at(Some(self.number), Some(column as u64))))
            }
        }
    }

    /// The next line that is not blank, as a JSON object.
    pub fn next_object(&mut self) -> Option<Object> {
        let first = !self.begun;
        let (number, text) = match self.next_line()? {
            Ok(line) => line,
            Err(problem) => return Some(Err(problem)),
        };
        let fault = match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(object)) => return Some(Ok((number, object))),
            Ok(other) => {
                let what = match other {
                    Value::Array(_) => "a list",
                    Value::String(_) => "a text",
                    Value::Number(_) => "a number",
                    Value::Bool(_) | Value::Null | Value::Object(_) => "a bare value",
                };
                (format!("the line is {what}, not an object"), None)
            }
            Err(found) => {
                let reason = found.to_string();
                let reason = reason.split(" at line ").next().unwrap_or(&reason);
                (
                    format!(
                        "the line is not JSON: {}",
                        crate::problems::lower_first(reason)
                    ),
                    Some(found.column() as u64),
                )
            }
        };
        let list = first && text.trim_start().starts_with('[');
        let (message, column) = fault;
        if list {
            // a whole file in one JSON list: every further line would say the same
            self.done = true;
        }
        let message = if list {
            "the file is one JSON list".to_owned()
        } else {
            message
        };
        Some(Err(error("bad-line", &self.file, message)
            .at(Some(number), column)
            .help("write one whole JSON object a line")))
    }

    fn problem(&self, rule: &'static str, message: String) -> Problem {
        error(rule, &self.file, message).at(Some(self.number), None)
    }

    /// Reads up to the end of the line into the buffer, never more than the bound.
    fn fill(&mut self) -> std::io::Result<Filled> {
        self.buffer.clear();
        let mut length = 0u64;
        let mut any = false;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(found) if found.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(found) => return Err(found),
            };
            if available.is_empty() {
                break;
            }
            any = true;
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            length += part.len() as u64;
            if length <= MAX_LINE as u64 {
                self.buffer.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(Filled::End);
        }
        if length > MAX_LINE as u64 {
            self.buffer = Vec::new();
            return Ok(Filled::TooLong(length));
        }
        if self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        Ok(Filled::Line)
    }
}
