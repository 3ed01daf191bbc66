//! Rules about what retrieval found: against gold documents where the case names them, by shared words where not.
//!
//! A right answer in the output shows that what was found sufficed, so these rules are silent about such a case: it lost
//! its points by form.

use std::collections::BTreeSet;

use fapo_domain::StepId;
use fapo_domain::model::level::Level;
use fapo_domain::model::pipeline::StepSpec;
use fapo_domain::model::trace::{RetrievedDocument, StepRecord, StepStatus};
use fapo_project::allowed_range;
use serde_json::Value;

use super::answers;
use super::gold::{document_is_gold, gold_documents, is_gold};
use super::rules::{CaseView, Hit};
use super::table::FAR_OFF;
use crate::text::{is_stopword, quote, words};

/// A retrieval step that ran.
struct Retrieval<'a> {
    position: usize,
    id: &'a StepId,
    k: u32,
    record: &'a StepRecord,
    docs: &'a [RetrievedDocument],
    beyond: &'a [(String, String)],
}

fn retrievals<'a>(view: &CaseView<'a>) -> Vec<Retrieval<'a>> {
    view.flow
        .feeding()
        .filter_map(|(position, step)| {
            let StepSpec::Retrieve(spec) = &step.spec else {
                return None;
            };
            let record = view.run.step(spec.id.as_str())?;
            let output = record.output.as_ref()?;
            (record.status == StepStatus::Ok).then_some(Retrieval {
                position,
                id: &spec.id,
                k: spec.k,
                record,
                docs: output.docs.as_deref().unwrap_or_default(),
                beyond: &output.beyond,
            })
        })
        .collect()
}

/// What is missing of the gold documents, and whose gap it is.
struct Gap<'a> {
    total: usize,
    missing: Vec<String>,
    blamed: Retrieval<'a>,
    /// Where every missing document is ranked within reach: the step and the depth that would find the last of them.
    reach: Option<(&'a StepId, u32)>,
    ranked: Option<String>,
}

fn gap<'a>(view: &CaseView<'a>) -> Option<Gap<'a>> {
    let gold = gold_documents(view.case, view.project);
    if gold.is_empty() || answers::is_present(view) {
        return None;
    }
    let retrievals = retrievals(view);
    let mut missing: Vec<String> = gold.clone();
    let mut blamed = None;
    for (order, retrieval) in retrievals.iter().enumerate() {
        let before = missing.len();
        missing.retain(|name| {
            !retrieval
                .docs
                .iter()
                .any(|found| document_is_gold(name, &found.document))
        });
        // the first step that added nothing although something was missing; else the last one
        if missing.len() == before && blamed.is_none() {
            blamed = Some(order);
        }
    }
    if missing.is_empty() {
        return None;
    }
    let mut reach: Option<(&StepId, u32)> = None;
    let mut ranked = None;
    let mut all_in_reach = true;
    for name in &missing {
        let best = retrievals
            .iter()
            .filter_map(|retrieval| {
                let below = retrieval
                    .beyond
                    .iter()
                    .position(|(doc_id, title)| is_gold(name, doc_id, title))?;
                let depth = retrieval.k + u32::try_from(below).unwrap_or(u32::MAX - 1_000_000) + 1;
                Some((depth, retrieval))
            })
            .min_by_key(|(depth, _)| *depth);
        let Some((depth, retrieval)) = best else {
            all_in_reach = false;
            continue;
        };
        ranked.get_or_insert_with(|| format!("ranked {depth} by {}", retrieval.id));
        if f64::from(depth) > deepest(view, retrieval) {
            all_in_reach = false;
        } else if reach.is_none_or(|(_, deepest_needed)| depth > deepest_needed) {
            reach = Some((retrieval.id, depth));
        }
    }
    let order = blamed.unwrap_or(retrievals.len().checked_sub(1)?);
    Some(Gap {
        total: gold.len(),
        missing,
        blamed: retrievals.into_iter().nth(order)?,
        reach: reach.filter(|_| all_in_reach),
        ranked,
    })
}

/// The largest `k` a proposal may set: the scope's, else what the step has plus the probe's depth.
fn deepest(view: &CaseView<'_>, retrieval: &Retrieval<'_>) -> f64 {
    allowed_range(
        &view.project.scope.ranges,
        "retrieve",
        retrieval.id.as_str(),
        "k",
    )
    .map_or_else(
        || {
            f64::from(
                retrieval
                    .k
                    .saturating_add(view.project.diagnosis.probe_depth),
            )
        },
        |(_, high)| high,
    )
}

/// Gold documents were ranked just below the last one taken, within the depth that may be asked for.
pub fn too_shallow(view: &CaseView<'_>) -> Option<Hit> {
    let gap = gap(view)?;
    let (step, depth) = gap.reach?;
    Some(Hit {
        step: step.clone(),
        level: Level::Parameter,
        doubtful: false,
        detail: format!(
            "gold document {} is ranked within {depth}, below the last one taken",
            quote(&gap.missing[0])
        ),
    })
}

/// Part of the gold documents were found.
pub fn partial(view: &CaseView<'_>) -> Option<Hit> {
    let gap = gap(view)?;
    (gap.missing.len() < gap.total).then(|| gap_hit(view, &gap))
}

/// No gold document was found.
pub fn miss(view: &CaseView<'_>) -> Option<Hit> {
    let gap = gap(view)?;
    Some(gap_hit(view, &gap))
}

/// A missing document that a model was asked to search for is first a matter of that model's prompt; without such a
/// step no wording can ask for it, and the structure must.
fn gap_hit(view: &CaseView<'_>, gap: &Gap<'_>) -> Hit {
    let writers = view.flow.query_writers(gap.blamed.position);
    let level = query_level(writers.len());
    let mut detail = format!(
        "{} of {} gold documents found; missing {}",
        gap.total - gap.missing.len(),
        gap.total,
        quote(&gap.missing[0])
    );
    if let Some(ranked) = &gap.ranked {
        detail.push_str(&format!(", {ranked}"));
    }
    if let Some(query) = queries(gap.blamed.record).first() {
        detail.push_str(&format!("; asked {}", quote(query)));
    }
    Hit {
        step: gap.blamed.id.clone(),
        level,
        doubtful: level == Level::Prompt,
        detail,
    }
}

const fn query_level(writers: usize) -> Level {
    if writers == 0 {
        Level::Structure
    } else {
        Level::Prompt
    }
}

/// No gold documents are named, and too few of the query's words (stop words apart) occur in what was retrieved.
pub fn low_overlap(view: &CaseView<'_>) -> Option<Hit> {
    if !gold_documents(view.case, view.project).is_empty() || answers::is_present(view) {
        return None;
    }
    let threshold = view.project.diagnosis.overlap;
    retrievals(view).into_iter().find_map(|retrieval| {
        let queries = queries(retrieval.record);
        let overlap = overlap(&queries, retrieval.docs)?;
        (overlap < threshold).then(|| Hit {
            step: retrieval.id.clone(),
            level: query_level(view.flow.query_writers(retrieval.position).len()),
            doubtful: overlap >= threshold * FAR_OFF,
            detail: format!(
                "{:.0} % of the query's words occur in the {} documents found; asked {}",
                overlap * 100.0,
                retrieval.docs.len(),
                quote(queries.first().map_or("", String::as_str))
            ),
        })
    })
}

/// The share of the queries' distinct words (stop words apart) that occur in the documents; `None` without any word.
fn overlap(queries: &[String], docs: &[RetrievedDocument]) -> Option<f64> {
    let asked: BTreeSet<String> = queries
        .iter()
        .flat_map(|query| words(query))
        .filter(|word| !is_stopword(word))
        .collect();
    if asked.is_empty() {
        return None;
    }
    let found: BTreeSet<String> = docs
        .iter()
        .flat_map(|found| {
            let mut all = words(&found.document.title);
            all.extend(words(&found.document.text));
            all
        })
        .collect();
    Some(asked.intersection(&found).count() as f64 / asked.len() as f64)
}

/// The queries a retrieval step asked, from its record.
pub fn queries(record: &StepRecord) -> Vec<String> {
    fn texts(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::String(text) => out.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
            Value::Object(map) => {
                for key in ["queries", "query"] {
                    if let Some(inner) = map.get(key) {
                        texts(inner, out);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut out = Vec::new();
    if let Some(input) = &record.input {
        texts(input, &mut out);
    }
    out
}
