//! Steps in the place of those that cannot be read, so that the rest of a pipeline can be judged.

use std::collections::BTreeSet;

use fapo_domain::model::pipeline::StepSpec;
use serde_json::{Value, json};

/// The steps that stand for others. Of what they give nothing is known; that they are there is.
#[derive(Debug, Default)]
pub(crate) struct StandIns {
    ids: BTreeSet<String>,
    nameless: usize,
}

impl StandIns {
    /// Whether every step is as it was written.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether this step stands for one that could not be read, or a part of it does.
    pub fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Whether the name of a step could not be read: any name may be its.
    pub fn hide_a_name(&self) -> bool {
        self.nameless > 0
    }

    /// Puts them into a document.
    pub(super) fn put(&mut self, pipeline: &mut Value) {
        self.list(pipeline.get_mut("steps"));
    }

    fn list(&mut self, steps: Option<&mut Value>) {
        if let Some(Value::Array(steps)) = steps {
            for step in steps {
                self.step(step);
            }
        }
    }

    fn step(&mut self, step: &mut Value) {
        if is_step(step) {
            return;
        }
        let id = step.get("id").and_then(Value::as_str).map(str::to_owned);
        if step.get("kind").is_some_and(|kind| kind == "sample") {
            self.list(step.get_mut("steps"));
            match step.get_mut("combine") {
                Some(combine) => {
                    for key in ["check", "step"] {
                        if let Some(inner) = combine.get_mut(key) {
                            self.step(inner);
                        }
                    }
                    if !is_step(step) {
                        step["combine"] = json!({"method": "vote"});
                    }
                }
                None => step["combine"] = json!({"method": "vote"}),
            }
            if let Some(id) = &id
                && is_step(step)
            {
                self.ids.insert(id.clone());
                return;
            }
        }
        let id = id.unwrap_or_else(|| {
            self.nameless += 1;
            // no id that can be written
            format!("?{}", self.nameless)
        });
        *step = json!({"kind": "template", "id": id, "template": ""});
        self.ids.insert(id);
    }
}

fn is_step(value: &Value) -> bool {
    serde_json::from_value::<StepSpec>(value.clone()).is_ok()
}
