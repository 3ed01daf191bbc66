//! Gold documents: which documents a case says should have been found.

use std::collections::BTreeSet;

use fapo_domain::model::case::{Case, Document};
use fapo_domain::model::project::ProjectSpec;
use serde_json::Value;

use super::scored::{Part, parts};
use crate::text::normal_form;

/// Keys of `expected` that are taken for gold documents when `diagnosis.gold_documents` does not name one.
pub const GOLD_KEYS: [&str; 4] = ["supporting_titles", "gold_titles", "gold_docs", "doc_ids"];

/// The key that names a case's gold documents: the configured one; else the `expected` of a maximized metric that scores
/// documents; else the first of [`GOLD_KEYS`] the case has.
pub fn gold_key<'a>(case: &Case, project: &'a ProjectSpec) -> Option<&'a str> {
    if let Some(key) = project.diagnosis.gold_documents.as_deref() {
        return Some(key);
    }
    let scored = parts(project)
        .into_iter()
        .find(Part::scores_documents)
        .and_then(|part| part.expected);
    if scored.is_some() {
        return scored;
    }
    GOLD_KEYS
        .into_iter()
        .find(|key| case.expected.contains_key(*key))
}

/// A case's gold documents, as ids or titles, without repeats; empty where it names none.
pub fn gold_documents(case: &Case, project: &ProjectSpec) -> Vec<String> {
    let Some(value) = gold_key(case, project).and_then(|key| case.expected.get(key)) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    collect(value, &mut names);
    let mut seen = BTreeSet::new();
    names.retain(|name| !name.trim().is_empty() && seen.insert(normal_form(name)));
    names
}

fn collect(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::String(text) => names.push(text.clone()),
        Value::Number(number) => names.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Value::Object(map) => {
            if let Some(name) = ["doc_id", "id", "title"]
                .iter()
                .find_map(|key| map.get(*key))
            {
                collect(name, names);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// Whether a document with this id and title is the gold document `name`: by id, or by normalized title.
pub fn is_gold(name: &str, doc_id: &str, title: &str) -> bool {
    if name == doc_id {
        return true;
    }
    let wanted = normal_form(name);
    !wanted.is_empty() && (wanted == normal_form(title))
}

/// The same for a whole document.
pub fn document_is_gold(name: &str, document: &Document) -> bool {
    is_gold(name, &document.doc_id, &document.title)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{case_with, project};

    #[test]
    fn gold_is_found_by_itself_or_where_configured() {
        let case = case_with(
            "c1",
            json!({"question": "q"}),
            json!({"answer": "x", "gold_docs": ["d1", {"doc_id": "d2"}, "D1"], "pages": "P"}),
        );
        let mut project = project();
        assert_eq!(gold_documents(&case, &project), ["d1", "d2"]);
        project.diagnosis.gold_documents = Some("pages".to_owned());
        assert_eq!(gold_documents(&case, &project), ["P"]);
    }

    #[test]
    fn the_scorers_own_documents_are_gold() {
        let case = case_with("c1", json!({}), json!({"titles": ["A"], "doc_ids": ["7"]}));
        let mut project = project();
        project.scorer.options.from = Some("hop1.docs.title".to_owned());
        project.scorer.options.expected = Some("titles".to_owned());
        assert_eq!(gold_documents(&case, &project), ["A"]);
    }

    #[test]
    fn titles_match_in_normal_form_and_ids_exactly() {
        assert!(is_gold("The Tarn", "d9", "tarn"));
        assert!(is_gold("d9", "d9", ""));
        assert!(!is_gold("D9", "d9", "x"));
        assert!(!is_gold("!", "a", "?"));
    }
}
