//! Flows of small pipelines.

use fapo_domain::model::pipeline::StepSpec;
use serde_json::{Value, json};

use crate::attribution::Flow;
use crate::attribution::flow::FlowStep;

fn flow(steps: &[(Value, &[usize])], output: &str) -> Flow {
    let steps = steps
        .iter()
        .map(|(spec, needs)| FlowStep {
            spec: serde_json::from_value::<StepSpec>(spec.clone()).unwrap(),
            needs: needs.to_vec(),
        })
        .collect();
    Flow::new(steps, output, &[None]).unwrap()
}

/// hop1 -> query -> hop2 -> answer, and a step that feeds nothing.
pub fn two_hop() -> Flow {
    flow(
        &[
            (
                json!({"id": "hop1", "kind": "retrieve", "query": "{{ question }}", "k": 2}),
                &[],
            ),
            (
                json!({"id": "query", "kind": "llm", "prompt": "prompts/query.md"}),
                &[0],
            ),
            (
                json!({"id": "hop2", "kind": "retrieve", "query": "{{ steps.query.text }}", "k": 2, "include": ["hop1"]}),
                &[0, 1],
            ),
            (
                json!({"id": "answer", "kind": "llm", "prompt": "prompts/answer.md", "max_tokens": 64}),
                &[2],
            ),
            (
                json!({"id": "aside", "kind": "llm", "prompt": "prompts/aside.md"}),
                &[0],
            ),
        ],
        "answer",
    )
}

/// hop1 -> answer.
pub fn single_hop() -> Flow {
    flow(
        &[
            (
                json!({"id": "hop1", "kind": "retrieve", "query": "{{ question }}", "k": 2}),
                &[],
            ),
            (
                json!({"id": "answer", "kind": "llm", "prompt": "prompts/answer.md"}),
                &[0],
            ),
        ],
        "answer",
    )
}

/// query -> hop1 -> answer.
pub fn written_query() -> Flow {
    flow(
        &[
            (
                json!({"id": "query", "kind": "llm", "prompt": "prompts/query.md"}),
                &[],
            ),
            (
                json!({"id": "hop1", "kind": "retrieve", "query": "{{ steps.query.text }}", "k": 2}),
                &[0],
            ),
            (
                json!({"id": "answer", "kind": "llm", "prompt": "prompts/answer.md"}),
                &[1],
            ),
        ],
        "answer",
    )
}

/// answer -> form.
pub fn with_form() -> Flow {
    flow(
        &[
            (
                json!({"id": "answer", "kind": "llm", "prompt": "prompts/answer.md"}),
                &[],
            ),
            (
                json!({"id": "form", "kind": "template", "template": "{{ steps.answer.text }}"}),
                &[0],
            ),
        ],
        "form",
    )
}
