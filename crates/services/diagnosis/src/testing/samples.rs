//! Small whole projects: a tree and its project.

use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::variant::VariantTree;

use super::{project, tree};

/// Retrieval, then an answer.
pub fn single_hop() -> (VariantTree, ProjectSpec) {
    let tree = tree(&[
        (
            "pipeline.yaml",
            "steps:\n  - id: hop\n    kind: retrieve\n    corpus: wiki\n    query: \"{{ question }}\"\n    k: 3\n  - id: answer\n    kind: llm\n    prompt: prompts/answer.md\noutput: answer\n",
        ),
        (
            "prompts/answer.md",
            "system:\nYou answer questions from passages.\n\nuser:\nPassages:\n{{ steps.hop.docs }}\n\nQuestion: {{ question }}\n\nAnswer:\n",
        ),
    ]);
    (tree, project())
}

/// One model call that gives a label.
pub fn classifier() -> (VariantTree, ProjectSpec) {
    let tree = tree(&[
        (
            "pipeline.yaml",
            "steps:\n  - id: label\n    kind: llm\n    prompt: prompts/label.md\n    max_tokens: 32\noutput: label\n",
        ),
        (
            "prompts/label.md",
            "Read the ticket and say what it is about.\n\nTicket: {{ ticket }}\n\nLabel:\n",
        ),
    ]);
    let mut project = project();
    project.scorer.options.expected = Some("label".to_owned());
    (tree, project)
}

/// Retrieval, notes, then an answer.
pub fn two_step() -> (VariantTree, ProjectSpec) {
    let tree = tree(&[
        (
            "pipeline.yaml",
            "# notes first\nsteps:\n  - {id: hop, kind: retrieve, corpus: wiki, query: '{{ question }}', k: 3}\n  - id: notes\n    kind: llm\n    prompt: prompts/notes.md\n  - id: answer\n    kind: llm\n    temperature: 0.0\n    prompt: prompts/answer.md\noutput: answer\n",
        ),
        (
            "prompts/notes.md",
            "Write down what the passages say about the question.\n\nQuestion: {{ question }}\n\n{{ steps.hop.docs }}\n",
        ),
        (
            "prompts/answer.md",
            "system: You answer questions.\nuser:\nNotes: {{ steps.notes.text }}\n\nQuestion: {{ question }}\n",
        ),
    ]);
    (tree, project())
}

/// Retrieval, a written query, retrieval again, then an answer.
pub fn two_hop() -> (VariantTree, ProjectSpec) {
    let tree = tree(&[
        (
            "pipeline.yaml",
            "steps:\n  - id: hop1\n    kind: retrieve\n    corpus: wiki\n    query: \"{{ question }}\"\n    k: 2\n  - id: query\n    kind: llm\n    prompt: prompts/query.md\n  - id: hop2\n    kind: retrieve\n    corpus: wiki\n    query: \"{{ steps.query.text }}\"\n    k: 2\n    include: [hop1]\n  - id: answer\n    kind: llm\n    prompt: prompts/answer.md\noutput: answer\n",
        ),
        (
            "prompts/query.md",
            "system:\nWrite a search query.\nuser:\n{{ steps.hop1.docs }}\nQuestion: {{ question }}\n",
        ),
        (
            "prompts/answer.md",
            "system:\nAnswer the question.\nuser:\n{% for doc in steps.hop2.docs %}\n- {{ doc.title }}: {{ doc.text }}\n{% endfor %}\nQuestion: {{ question }}\n",
        ),
    ]);
    (tree, project())
}
