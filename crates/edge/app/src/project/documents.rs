//! The files of documents, with the one check that a reader of single lines cannot make: that ids are unique.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::Path;

use fapo_domain::ContentHash;
use fapo_domain::model::case::Document;
use fapo_domain::problem::Problem;
use fapo_project::data::DocumentReader;

use super::cases::{data_problem, open_data};

/// A stream over a corpus. A document whose id was used before is a problem, and is not given.
pub(super) struct Documents {
    reader: DocumentReader<File>,
    file: String,
    /// Lines of ids.
    seen: HashMap<ShortHash, u64>,
}

/// Opens a corpus as a stream of documents.
pub(super) fn open_documents(dir: &Path, file: &str) -> Result<Documents, Box<Problem>> {
    let (reader, format) = open_data(dir, file)?;
    Ok(Documents {
        reader: DocumentReader::new(reader, format, file),
        file: file.to_owned(),
        seen: HashMap::new(),
    })
}

impl Iterator for Documents {
    type Item = Result<Document, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, document) = match self.reader.next()? {
            Ok(read) => read,
            Err(problem) => return Some(Err(problem)),
        };
        Some(match self.seen.entry(short_hash(&document.doc_id)) {
            Entry::Vacant(vacant) => {
                vacant.insert(line);
                Ok(document)
            }
            Entry::Occupied(first) => {
                let message = format!(
                    "document id `{}` was used before, at {}:{}",
                    document.doc_id,
                    self.file,
                    first.get()
                );
                let mut problem = data_problem(&self.file, Some(line), message);
                problem.rule = "duplicate-document".into();
                problem.help = Some("ids are unique in a corpus".to_owned());
                Err(problem)
            }
        })
    }
}

/// Half of a content hash: 128 bits keep millions of ids apart at 16 bytes each.
pub(super) type ShortHash = [u8; 16];

pub(super) fn short_hash(id: &str) -> ShortHash {
    let mut half = [0; 16];
    half.copy_from_slice(&ContentHash::of(id.as_bytes()).as_bytes()[..16]);
    half
}
