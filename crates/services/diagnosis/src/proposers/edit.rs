//! Edits of prompts and pipelines that leave everything else as it is.

use std::collections::BTreeSet;

use fapo_domain::StepId;
use fapo_domain::model::pipeline::{Combine, LlmStep, PipelineSpec, StepSpec};
use fapo_domain::model::variant::VariantTree;

use super::yaml::pipeline_yaml;
use crate::lints::variables::reads;

/// The file that holds the steps.
pub const PIPELINE_FILE: &str = "pipeline.yaml";

/// Puts a pipeline into the tree. The comment at the head of the file that was there stays: it is about the file and not
/// about a step, and an editor may find its schema by it.
pub fn put_pipeline(tree: &mut VariantTree, spec: &PipelineSpec) {
    let mut text: String = tree
        .text(PIPELINE_FILE)
        .unwrap_or_default()
        .lines()
        .take_while(|line| line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    text.push_str(&pipeline_yaml(spec));
    tree.insert(PIPELINE_FILE, text.into_bytes());
}

/// Puts a text file into the tree.
pub fn put_text(tree: &mut VariantTree, path: &str, text: &str) {
    tree.insert(path, text.as_bytes().to_vec());
}

/// Where a role line stands.
fn role_of(line: &str) -> Option<&str> {
    let (word, _) = line.split_once(':')?;
    ["system", "user", "assistant"]
        .into_iter()
        .find(|role| word.eq_ignore_ascii_case(role))
}

/// Adds an instruction to a prompt: at the end of its first `system` section; without one, as [`add_material`] does.
pub fn add_instruction(prompt: &str, instruction: &str) -> String {
    insert(prompt, instruction, true)
}

/// Adds text to what the prompt shows: before the last line where that is a cue for the answer (`Answer:`), else at the
/// end of the last section that is not the assistant's.
pub fn add_material(prompt: &str, text: &str) -> String {
    insert(prompt, text, false)
}

fn insert(prompt: &str, text: &str, as_instruction: bool) -> String {
    let mut lines: Vec<&str> = prompt.lines().collect();
    let roles: Vec<(usize, &str)> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| Some((at, role_of(line)?)))
        .collect();
    let end_of = |section: usize| roles.get(section + 1).map_or(lines.len(), |(at, _)| *at);
    let system = roles
        .iter()
        .position(|(_, role)| as_instruction && *role == "system");
    let last_spoken = roles.iter().rposition(|(_, role)| *role != "assistant");
    let (start, mut end) = match system.or(last_spoken) {
        Some(section) => (roles[section].0, end_of(section)),
        None => (0, lines.len()),
    };
    let back_over_blanks = |mut end: usize| {
        while end > start + 1 && lines[end - 1].trim().is_empty() {
            end -= 1;
        }
        end
    };
    end = back_over_blanks(end);
    if system.is_none() && end > start {
        let last = lines[end - 1].trim();
        if last.ends_with(':') && last.split_whitespace().count() <= 4 && role_of(last).is_none() {
            end = back_over_blanks(end - 1);
        }
    }
    let mut added: Vec<&str> = Vec::new();
    if system.is_none() && end > 0 && role_of(lines[end - 1]).is_none() {
        added.push("");
    }
    added.extend(text.lines());
    if lines.get(end).is_some_and(|line| !line.trim().is_empty()) {
        added.push("");
    }
    lines.splice(end..end, added);
    let mut out = lines.join("\n");
    out.push('\n');
    out
}

/// Puts a sentence in front of a prompt's first section.
pub fn prepend(prompt: &str, sentence: &str) -> String {
    let Some(first) = prompt.lines().next() else {
        return format!("{sentence}\n");
    };
    match role_of(first) {
        Some("system") => {
            let (role, rest) = first.split_once(':').unwrap_or((first, ""));
            let after = &prompt[first.len()..];
            let rest = rest.trim();
            let space = if rest.is_empty() { "" } else { " " };
            format!("{role}:\n{sentence}{space}{rest}{after}")
        }
        Some(_) => format!("system:\n{sentence}\n\n{prompt}"),
        None => format!("system:\n{sentence}\n\nuser:\n{prompt}"),
    }
}

/// Sentences of instruction (no template tags) that could be removed from a prompt, with the prompt without each.
pub fn ablations(prompt: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut offset = 0;
    for line in prompt.split_inclusive('\n') {
        let bare = line.trim();
        let is_prose = bare.split_whitespace().count() >= 4
            && !bare.contains("{{")
            && !bare.contains("{%")
            && role_of(line).is_none()
            && bare.ends_with('.');
        if is_prose {
            let without = format!("{}{}", &prompt[..offset], &prompt[offset + line.len()..]);
            found.push((bare.to_owned(), without));
        }
        offset += line.len();
    }
    found
}

/// Every `llm` step, sub-steps of samples included, with the id of its top-level step.
pub fn llm_steps(spec: &PipelineSpec) -> Vec<(&StepId, &LlmStep)> {
    fn inner<'a>(top: &'a StepId, step: &'a StepSpec, out: &mut Vec<(&'a StepId, &'a LlmStep)>) {
        match step {
            StepSpec::Llm(llm) => out.push((top, llm)),
            StepSpec::Sample(sample) => sample.steps.iter().for_each(|step| inner(top, step, out)),
            StepSpec::Retrieve(_) | StepSpec::Template(_) | StepSpec::Python(_) => {}
        }
    }
    let mut out = Vec::new();
    for step in &spec.steps {
        inner(step.id(), step, &mut out);
    }
    out
}

/// Applies `change` to every `llm` step with this id, wherever it stands. Returns whether there was one.
pub fn change_llm(spec: &mut PipelineSpec, id: &str, change: &mut dyn FnMut(&mut LlmStep)) -> bool {
    fn inner(step: &mut StepSpec, id: &str, change: &mut dyn FnMut(&mut LlmStep)) -> bool {
        match step {
            StepSpec::Llm(llm) if llm.id.as_str() == id => {
                change(llm);
                true
            }
            StepSpec::Sample(sample) => {
                let mut any = false;
                for step in &mut sample.steps {
                    any |= inner(step, id, change);
                }
                any
            }
            StepSpec::Llm(_)
            | StepSpec::Retrieve(_)
            | StepSpec::Template(_)
            | StepSpec::Python(_) => false,
        }
    }
    let mut any = false;
    for step in &mut spec.steps {
        any |= inner(step, id, change);
    }
    any
}

/// An id that no step has: `wanted`, or with a number behind it.
pub fn fresh_id(spec: &PipelineSpec, wanted: &str) -> String {
    fn ids<'a>(step: &'a StepSpec, out: &mut BTreeSet<&'a str>) {
        out.insert(step.id().as_str());
        if let StepSpec::Sample(sample) = step {
            sample.steps.iter().for_each(|step| ids(step, out));
            match &sample.combine {
                Combine::Vote(_) => {}
                Combine::BestBy(best) => ids(&best.check, out),
                Combine::Merge(merge) => ids(&merge.step, out),
            }
        }
    }
    let mut taken = BTreeSet::new();
    spec.steps.iter().for_each(|step| ids(step, &mut taken));
    numbered(wanted, |id| taken.contains(id))
}

/// A prompt path that the tree does not have.
pub fn fresh_path(tree: &VariantTree, name: &str) -> String {
    let stem = numbered(name, |stem| {
        tree.get(&format!("prompts/{stem}.md")).is_some()
    });
    format!("prompts/{stem}.md")
}

fn numbered(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(wanted) {
        return wanted.to_owned();
    }
    let mut number = 2u32;
    loop {
        let id = format!("{wanted}_{number}");
        if !taken(&id) {
            return id;
        }
        number += 1;
    }
}

/// The part of a prompt that shows a step the case: each input it reads by name, then the documents and texts of the
/// steps it reads.
pub fn context_block(tree: &VariantTree, spec: &PipelineSpec, step: &StepSpec) -> String {
    let names = reads(tree, step);
    let mut out = String::new();
    for name in names.iter().filter(|name| !name.starts_with("steps.")) {
        out.push_str(&format!("{}: {{{{ input.{name} }}}}\n", title(name)));
    }
    for name in names.iter().filter_map(|name| name.strip_prefix("steps.")) {
        let retrieves = spec
            .steps
            .iter()
            .any(|step| step.id().as_str() == name && matches!(step, StepSpec::Retrieve(_)));
        let (what, field) = if retrieves {
            ("Passages".to_owned(), "docs")
        } else {
            (title(name), "text")
        };
        out.push_str(&format!("\n{what}:\n{{{{ steps.{name}.{field} }}}}\n"));
    }
    out
}

/// `max_words` as `Max words`.
pub fn title(name: &str) -> String {
    let spaced = name.replace('_', " ");
    let mut letters = spaced.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use fapo_project::{PipelineContext, read_pipeline};

    use super::*;
    use crate::testing::samples::two_step;

    #[test]
    fn only_the_comment_at_the_head_outlives_a_change_of_the_pipeline() {
        let (mut tree, project) = two_step();
        let context = PipelineContext {
            project: &project,
            input_keys: None,
        };
        let spec = read_pipeline(&tree, &context).0.unwrap().spec().clone();
        let written = pipeline_yaml(&spec);
        for (before, head) in [
            (
                "# schema\r\n# two lines\r\nsteps: []\n# end\n",
                "# schema\n# two lines\n",
            ),
            ("# head\n\n# about the first step\nsteps: []\n", "# head\n"),
            ("steps: [] # none yet\n", ""),
        ] {
            tree.insert(PIPELINE_FILE, before.as_bytes().to_vec());
            put_pipeline(&mut tree, &spec);
            let after = format!("{head}{written}");
            assert_eq!(tree.text(PIPELINE_FILE), Some(after.as_str()));
            put_pipeline(&mut tree, &spec);
            assert_eq!(tree.text(PIPELINE_FILE), Some(after.as_str()), "again");
        }
    }
}
