//! Documents of a corpus.

use std::io::{BufReader, Read, Seek};

use csv::StringRecord;
use fapo_domain::model::case::Document;
use fapo_domain::problem::Problem;
use serde_json::{Map, Value};

use super::case::{id, missing};
use super::{DataFormat, Fault, Source, cells};

/// A stream of documents, each with its line (its row, in Parquet): JSON objects or rows with `doc_id`, `text`, and `title`
/// if there is one. Other keys are passed over. Whether ids repeat is for the caller to see. Ends as [`super::CaseReader`]
/// does.
pub struct DocumentReader<R: Read> {
    source: Source<BufReader<R>, cells::Documents>,
    file: String,
}

impl<R: Read + Seek + Send + 'static> DocumentReader<R> {
    /// Reads documents; `file` is the name that problems carry.
    pub fn new(reader: R, format: DataFormat, file: &str) -> Self {
        Self {
            source: Source::new(reader, format, file, check_columns, cells::Documents::open),
            file: file.to_owned(),
        }
    }
}

impl<R: Read> Iterator for DocumentReader<R> {
    type Item = Result<(u64, Document), Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, document) = match &mut self.source {
            Source::Jsonl(lines) => match lines.next_object()? {
                Ok((line, object)) => (line, from_object(object)),
                Err(problem) => return Some(Err(problem)),
            },
            Source::Csv(rows) => match rows.next_row()? {
                Ok((line, row)) => (line, from_row(rows.columns(), &row)),
                Err(problem) => return Some(Err(problem)),
            },
            Source::Parquet(documents) => documents.next_document()?,
            Source::Refused(problem) => return problem.take().map(Err),
        };
        Some(match document {
            Ok(document) => Ok((line, document)),
            Err(fault) => Err(fault.problem(&self.file, line)),
        })
    }
}

/// Checks the columns of a file of documents.
pub(super) fn check_columns(columns: &[String]) -> Result<(), Fault> {
    for (column, why) in [
        ("doc_id", "every document needs a name"),
        ("text", "it is what is searched"),
    ] {
        if !columns.iter().any(|name| name == column) {
            let fault = missing(column, columns, why);
            return Err(fault.saying(format!("there is no column `{column}`")));
        }
    }
    Ok(())
}

fn from_row(columns: &[String], row: &StringRecord) -> Result<Document, Fault> {
    from_object(
        columns
            .iter()
            .zip(row)
            .map(|(column, value)| (column.clone(), Value::from(value)))
            .collect(),
    )
}

/// A document from a JSON object.
pub(super) fn from_object(mut object: Map<String, Value>) -> Result<Document, Fault> {
    let names: Vec<String> = object.keys().cloned().collect();
    let doc_id = match object.shift_remove("doc_id") {
        Some(value) => id("doc_id", &value)?,
        None => return Err(missing("doc_id", &names, "every document needs a name")),
    };
    let mut text = |key: &str| match object.shift_remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Null) if key == "title" => Ok(None),
        Some(_) => Err(Fault::new(
            "document-key",
            format!("document `{doc_id}`: `{key}` must be a text"),
        )),
    };
    let title = text("title")?.unwrap_or_default();
    let Some(text) = text("text")? else {
        return Err(missing("text", &names, "it is what is searched"));
    };
    Ok(Document {
        doc_id,
        title,
        text,
    })
}
