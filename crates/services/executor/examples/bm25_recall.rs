//! Measures retrieval on a folder of cases: `bm25_recall FOLDER [K]`.
//!
//! The folder holds `corpus.jsonl` and `train.jsonl`, `val.jsonl`, `test.jsonl`. Each case's first input is the query.
//! Gold documents are taken from its `expected`: a list of titles under `supporting_titles`, else its first value as
//! an id. Prints, per split, the share of cases all of whose gold documents are among the best K (7).

#![expect(
    clippy::print_stdout,
    reason = "a command-line example prints its result"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use fapo_domain::model::case::{Case, Document};
use fapo_executor::retrieval::{FieldSet, Index};
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    std::fs::read_to_string(path)
        .with_context(|| path.display().to_string())?
        .lines()
        .map(|line| serde_json::from_str(line).context("a line cannot be read"))
        .collect()
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("usage: bm25_recall FOLDER [K]")?;
    let k = arguments.next().map_or(Ok(7), |text| text.parse())?;
    let folder = Path::new(&folder);
    let documents: Arc<Vec<Document>> = Arc::new(read(&folder.join("corpus.jsonl"))?);
    let start = Instant::now();
    let index = Index::build(documents, FieldSet::BOTH);
    println!("{index:?} built in {:?}", start.elapsed());
    for split in ["train", "val", "test"] {
        let cases: Vec<Case> = read(&folder.join(split).with_extension("jsonl"))?;
        let mut found = 0;
        let start = Instant::now();
        for case in &cases {
            let query = case
                .input
                .values()
                .find_map(|value| value.as_str())
                .unwrap_or_default();
            let by_title = case
                .expected
                .get("supporting_titles")
                .and_then(|value| value.as_array());
            let gold: BTreeSet<&str> = match by_title {
                Some(titles) => titles.iter().filter_map(|title| title.as_str()).collect(),
                None => case
                    .expected
                    .values()
                    .filter_map(|id| id.as_str())
                    .take(1)
                    .collect(),
            };
            let hits = index.search(query, k);
            let names: BTreeSet<&str> = hits
                .iter()
                .map(|hit| &index.documents()[hit.document as usize])
                .map(|document| {
                    if by_title.is_some() {
                        &document.title
                    } else {
                        &document.doc_id
                    }
                })
                .map(String::as_str)
                .collect();
            found += usize::from(gold.is_subset(&names));
        }
        let each = start.elapsed() / u32::try_from(cases.len().max(1))?;
        println!(
            "{split}: {:.4} of {} cases, {each:?} a query",
            found as f64 / cases.len() as f64,
            cases.len()
        );
    }
    Ok(())
}
