//! The parent, the cases and the project of the table, and ways to change the parent.

use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::variant::VariantTree;
use serde_json::json;

use crate::testing::{case_with, project, tree};

pub(super) const PIPELINE: &str = "\
steps:
  - id: hop
    kind: retrieve
    corpus: wiki
    query: \"{{ question }}\"
    k: 3
  - id: answer
    kind: llm
    prompt: prompts/answer.md
    max_tokens: 64
output: answer
";
pub(super) const PROMPT: &str = "\
system:
You answer questions from passages.
Use the passages only, and keep to what they say.

user:
Passages:
{{ steps.hop.docs }}

Question: {{ question }}

Answer:
";

/// The parent of every proposal.
pub(super) fn parent() -> VariantTree {
    tree(&[("pipeline.yaml", PIPELINE), ("prompts/answer.md", PROMPT)])
}

/// Train, validation and test cases, made up.
pub(super) fn cases() -> Vec<(Split, Case)> {
    let questions = [
        (
            Split::Train,
            "tr-001",
            "Which engineer designed the stone bridge across the river Morwen?",
            "Ilse Brandt",
        ),
        (
            Split::Train,
            "tr-002",
            "In what year did the Harrow lighthouse stop burning oil?",
            "1911",
        ),
        (
            Split::Train,
            "tr-003",
            "Name the composer of the Tidewater suite?",
            "Otto Lindqvist",
        ),
        (
            Split::Train,
            "tr-004",
            "Is the Quarry museum older than the Weaver library?",
            "yes",
        ),
        (
            Split::Train,
            "tr-005",
            "Is Mount Arlen higher than Mount Besk?",
            "yes",
        ),
        (
            Split::Val,
            "va-001",
            "Which gardener bred the blue Kestrel rose in the palace nursery?",
            "Mina Okafor",
        ),
        (
            Split::Val,
            "va-002",
            "Is the Sandow canal longer than the Pell canal?",
            "yes",
        ),
        (
            Split::Test,
            "te-001",
            "Which harbour did the schooner Petrel leave on its final voyage?",
            "Port Calder",
        ),
        (
            Split::Test,
            "te-002",
            "Is the Fenwick tower taller than the Dale tower?",
            "yes",
        ),
    ];
    questions
        .into_iter()
        .map(|(split, id, question, answer)| {
            (
                split,
                case_with(id, json!({"question": question}), json!({"answer": answer})),
            )
        })
        .collect()
}

pub(super) fn limited() -> ProjectSpec {
    let mut project = project();
    project.scope.max_file_bytes = 4000;
    project.scope.max_tree_bytes = 6000;
    project.scope.files = vec!["prompts/*.md".to_owned(), "steps/*.py".to_owned()];
    project
        .scope
        .ranges
        .insert("retrieve.*.k".to_owned(), (1.0, 20.0));
    project
        .scope
        .ranges
        .insert("llm.*.temperature".to_owned(), (0.0, 1.0));
    project.limits.model_calls = 8;
    project.limits.documents = Some(40);
    project.objective.subject_to.cost_ratio = Some(3.0);
    project
}

/// The parent with a sentence added to its instructions.
pub(super) fn say(sentence: &str) -> VariantTree {
    prompt(&PROMPT.replace(
        "keep to what they say.\n",
        &format!("keep to what they say.\n{sentence}\n"),
    ))
}

/// The parent with another prompt.
pub(super) fn prompt(text: &str) -> VariantTree {
    with("prompts/answer.md", text)
}

/// The parent with another pipeline.
pub(super) fn pipeline(from: &str, to: &str) -> VariantTree {
    assert!(PIPELINE.contains(from));
    with("pipeline.yaml", &PIPELINE.replace(from, to))
}

/// The parent with a file replaced or added.
pub(super) fn with(path: &str, text: &str) -> VariantTree {
    let mut tree = parent();
    tree.insert(path, text.as_bytes().to_vec());
    tree
}

/// The parent with a code step behind its answer, and its code.
pub(super) fn code(text: &str) -> VariantTree {
    let mut tree = pipeline(
        "output: answer",
        "  - id: form\n    kind: python\n    file: steps/form.py\n    needs: [answer]\noutput: form",
    );
    tree.insert("steps/form.py", text.as_bytes().to_vec());
    tree
}

pub(super) fn bytes(path: &str, content: &[u8]) -> VariantTree {
    let mut tree = parent();
    tree.insert(path, content.to_vec());
    tree
}

/// Something that looks like a key, put together here so that no file holds one.
pub(super) fn key_like(prefix: &str) -> String {
    format!("{prefix}{}", "a1B2c3D4e5F6g7H8i9J0k1L2")
}
