//! Which cases lack a key of their input that a template cannot do without.

use std::collections::BTreeSet;
use std::sync::Arc;

use fapo_domain::ids::StepId;
use fapo_domain::model::case::Case;
use fapo_domain::model::trace::StepOutput;

use super::{PIPELINE_FILE, Pipeline, PlannedStep, shown};
use crate::template::{CaseInput, TextTemplate};

/// Looks at cases one by one. A guess, made without running anything: templates of steps that have a condition, and of a
/// sample's judge and merger, are passed over, and what depends on other steps is rendered as if these were skipped.
#[derive(Debug)]
pub struct InputProbe<'a> {
    /// Templates, and whether each is a part of a prompt file.
    templates: Vec<(&'a TextTemplate, bool)>,
    /// Keys of the input that any of them names.
    keys: BTreeSet<String>,
    /// Every step, skipped.
    steps: Vec<(StepId, Option<Arc<StepOutput>>)>,
}

/// A key that a case does not have, and a template that cannot do without it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbsentKey {
    /// The key.
    pub key: String,
    /// Where it is needed, as the user sees it.
    pub needed_at: String,
}

impl<'a> InputProbe<'a> {
    /// For the cases of one pipeline.
    pub fn new(pipeline: &'a Pipeline) -> Self {
        let mut probe = Self {
            templates: Vec::new(),
            keys: BTreeSet::new(),
            steps: Vec::new(),
        };
        probe.add(pipeline.steps(), true);
        for (template, _) in &probe.templates {
            let named = template.variables();
            probe
                .keys
                .extend(named.iter().filter_map(|path| input_key(path)));
        }
        probe
    }

    /// Adds steps; of those that may not run, the names alone.
    fn add(&mut self, steps: &'a [PlannedStep], run: bool) {
        for step in steps {
            self.steps.push((step.id().clone(), None));
            let run = run && step.when.is_none();
            if run {
                let sections = step.prompt.iter().flat_map(|prompt| prompt.sections());
                self.templates
                    .extend(sections.map(|(_, template)| (template, true)));
                let texts = step.queries.iter().chain(&step.template);
                self.templates
                    .extend(texts.map(|template| (template, false)));
            }
            if let Some(sample) = &step.sample {
                self.add(&sample.steps, run);
            }
        }
    }

    /// A key that `case` lacks and would fail for; `None` where no template misses any. Nothing is rendered for a case that
    /// has all keys.
    pub fn lack(&self, case: &Case) -> Option<AbsentKey> {
        if self.keys.iter().all(|key| case.input.contains_key(key)) {
            return None;
        }
        let input = CaseInput::new(case.case_id.as_str(), case.input.clone());
        let context = input.context(&self.steps, &[]);
        self.templates.iter().find_map(|(template, in_file)| {
            let error = template.render(&context).err()?;
            let path: Vec<String> = error.variable?.split('.').map(str::to_owned).collect();
            let key = input_key(&path)?;
            if case.input.contains_key(&key) {
                return None;
            }
            let needed_at = match (in_file, error.line) {
                (true, Some(line)) => format!("{}:{line}", shown(&error.template)),
                (true, None) => shown(&error.template),
                (false, _) => format!("{} ({})", shown(PIPELINE_FILE), error.template),
            };
            Some(AbsentKey { key, needed_at })
        })
    }
}

/// The key of the input that a dotted path names.
fn input_key(path: &[String]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "input" => rest.first().cloned(),
        "steps" | "case_id" => None,
        _ => Some(first.clone()),
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::CaseId;
    use serde_json::{Map, Value};

    use super::super::tests::{project, tree};
    use super::super::{PipelineContext, read_pipeline};
    use super::*;

    /// What cases with these keys lack in a pipeline with this prompt in its second step.
    fn lacks<'k>(prompt: &str, cases: &[&'k [&'k str]]) -> Vec<Option<AbsentKey>> {
        let tree = tree(&[
            (
                "pipeline.yaml",
                r#"
output: answer
steps:
  - {id: find, kind: retrieve, query: "{{ question }}", k: 3}
  - {id: rare, kind: template, template: "{{ hint }}", when: "'hint' in input"}
  - {id: answer, kind: llm, prompt: p.md}
"#,
            ),
            ("p.md", prompt),
        ]);
        let keys = ["question", "hint"].map(str::to_owned).into();
        let (pipeline, problems) = read_pipeline(
            &tree,
            &PipelineContext {
                project: &project(),
                input_keys: Some(&keys),
            },
        );
        let pipeline = pipeline.unwrap_or_else(|| panic!("{problems}"));
        let probe = InputProbe::new(&pipeline);
        let case = |keys: &&[&str]| Case {
            case_id: CaseId::new("c"),
            input: keys
                .iter()
                .map(|key| ((*key).to_owned(), Value::from("x")))
                .collect(),
            expected: Map::new(),
            metadata: Map::new(),
        };
        cases.iter().map(|keys| probe.lack(&case(keys))).collect()
    }

    fn absent(key: &str, needed_at: &str) -> Option<AbsentKey> {
        Some(AbsentKey {
            key: key.to_owned(),
            needed_at: needed_at.to_owned(),
        })
    }

    #[test]
    fn a_key_that_a_template_needs_is_told_with_the_place() {
        let found = lacks(
            "a\n{{ steps.find.docs }} {{ input.hint }} {{ steps.rare.text }}",
            &[&["question", "hint"], &["question"], &["hint"], &[]],
        );
        let in_query = absent("question", "pipeline/pipeline.yaml (steps[0].query)");
        assert_eq!(
            found,
            [
                None,
                absent("hint", "pipeline/p.md:2"),
                in_query.clone(),
                in_query
            ]
        );
    }

    #[test]
    fn what_a_template_can_do_without_is_not_missed() {
        for prompt in [
            "{{ hint | default('none') }} {{ steps.rare.text }}",
            "{{ 'hint' in input and input.hint }}",
            "{% if hint is defined %}{{ hint }}{% endif %}",
            // no document is found where retrieval is skipped; that is no key of the input
            "{{ steps.find.docs[0].title }}",
        ] {
            let prompt = format!("{prompt} {{{{ steps.find.docs }}}}");
            assert_eq!(lacks(&prompt, &[&["question"]]), [None], "{prompt}");
        }
    }
}
