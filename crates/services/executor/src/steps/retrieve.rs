//! `retrieve` steps.

use fapo_domain::model::trace::{RetrievedDocument, StepOutput};
use serde_json::json;

use crate::key::retrieve_key;
use crate::outcome::{StepError, cap};
use crate::plan::Retrieve;
use crate::retrieval::{FUSION_DEPTH, Ranking, fuse};
use crate::run::{Run, Visible};

impl Run<'_> {
    /// Answers a `retrieve` step. Not cached: searching again costs less than a look-up.
    pub(super) fn retrieve(
        &self,
        retrieve: &Retrieve,
        queries: Vec<String>,
        visible: &[Visible],
        position: usize,
    ) -> Result<StepOutput, StepError> {
        let session = self.session;
        let index = &session.indices[retrieve.slot];
        let mut docs: Vec<RetrievedDocument> = Vec::new();
        for id in &retrieve.include {
            let earlier = visible
                .iter()
                .find(|(seen, _)| seen == id)
                .and_then(|(_, output)| output.as_ref()?.docs.as_ref());
            for found in earlier.into_iter().flatten() {
                if !has(&docs, &found.document.doc_id) {
                    docs.push(found.clone());
                }
            }
        }
        let included = docs.len();
        let key = retrieve_key(
            retrieve.fingerprint,
            &queries,
            docs.iter().map(|found| found.document.doc_id.as_str()),
        );
        let wanted = retrieve.k + included + session.probe_depth;
        let depth = if queries.len() > 1 {
            wanted.max(FUSION_DEPTH)
        } else {
            wanted
        };
        let rankings: Vec<Ranking> = queries
            .iter()
            .map(|query| index.search(query, depth))
            .collect();
        let mut beyond = Vec::new();
        let mut fresh = 0;
        for hit in fuse(rankings) {
            let document = &index.documents()[hit.document as usize];
            if has(&docs[..included], &document.doc_id) {
                continue;
            }
            if fresh < retrieve.k {
                fresh += 1;
                docs.push(RetrievedDocument {
                    document: document.clone(),
                    score: hit.score,
                });
            } else if beyond.len() < session.probe_depth {
                beyond.push((document.doc_id.clone(), document.title.clone()));
            } else {
                break;
            }
        }
        let mut trace = self.trace();
        let record = trace.record(position);
        record.key = Some(key);
        let names: Vec<&str> = docs[..included]
            .iter()
            .map(|found| found.document.doc_id.as_str())
            .collect();
        record.input = Some(if names.is_empty() {
            json!({ "queries": queries })
        } else {
            json!({ "queries": queries, "included": names })
        });
        trace.used.documents += fresh as u64;
        if let Some(allowed) = session.limits.documents
            && trace.used.documents > u64::from(allowed)
        {
            let message = format!("the case may retrieve {allowed} documents");
            return Err(cap("cap_documents", message).into());
        }
        drop(trace);
        Ok(StepOutput {
            text: passages(&docs),
            json: None,
            docs: Some(docs),
            beyond,
        })
    }
}

fn has(docs: &[RetrievedDocument], doc_id: &str) -> bool {
    docs.iter().any(|found| found.document.doc_id == doc_id)
}

/// Documents as a numbered list: what `steps.<id>` prints as.
pub(super) fn passages(docs: &[RetrievedDocument]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (position, found) in docs.iter().enumerate() {
        if position > 0 {
            text.push_str("\n\n");
        }
        // writing to a String cannot fail
        let _ = write!(text, "[{}]", position + 1);
        if !found.document.title.is_empty() {
            text.push(' ');
            text.push_str(&found.document.title);
        }
        text.push('\n');
        text.push_str(&found.document.text);
    }
    text
}
