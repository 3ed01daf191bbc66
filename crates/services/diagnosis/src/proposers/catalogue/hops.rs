//! Structure edits around retrieval: a further hop, several queries at once.

use std::sync::LazyLock;

use fapo_domain::StepId;
use fapo_domain::model::level::Technique;
use fapo_domain::model::pipeline::{Combine, LlmStep, PipelineSpec, RetrieveStep, StepSpec};
use fapo_domain::model::variant::VariantTree;
use regex::Regex;

use super::Idea;
use super::context::Context;
use super::structure::like;
use crate::lints::variables::reads;
use crate::proposers::edit::{fresh_id, fresh_path, llm_steps, put_text, title};

/// The inputs that say what the case asks: those of the answer's prompt, else those of the query.
fn case_inputs(context: &Context<'_>, retrieve: &StepSpec) -> String {
    let inputs = |step: &StepSpec| -> Vec<String> {
        reads(&context.request.tree, step)
            .into_iter()
            .filter(|name| !name.starts_with("steps."))
            .collect()
    };
    let mut names = inputs(&context.flow.answer().spec);
    if names.is_empty() {
        names = inputs(retrieve);
    }
    names
        .iter()
        .map(|name| format!("{}: {{{{ input.{name} }}}}\n", title(name)))
        .collect()
}

/// A model step to copy settings from: the answer's, else any.
fn pattern<'a>(context: &'a Context<'_>) -> Option<&'a LlmStep> {
    let answer = context.flow.answer().spec.id();
    let steps = llm_steps(&context.spec);
    steps
        .iter()
        .find(|(top, _)| *top == answer)
        .or_else(|| steps.first())
        .map(|(_, llm)| *llm)
}

fn retrieve_step<'a>(
    context: &'a Context<'_>,
    id: &StepId,
) -> Option<(&'a RetrieveStep, &'a StepSpec)> {
    match context.step(id.as_str())? {
        step @ StepSpec::Retrieve(retrieve) => Some((retrieve, step)),
        StepSpec::Llm(_) | StepSpec::Template(_) | StepSpec::Python(_) | StepSpec::Sample(_) => {
            None
        }
    }
}

/// After a retrieval step R: a model step that reads what R found and writes a query for what is missing, and a second
/// retrieval step with that query that includes R's documents. Everything that read R reads the second one.
pub fn extra_hop(context: &Context<'_>) -> Vec<Idea> {
    context
        .retrieval_targets()
        .into_iter()
        .filter_map(|id| {
            let (first, step) = retrieve_step(context, &id)?;
            if context.scored_directly(id.as_str()) {
                return None;
            }
            let llm = pattern(context)?;
            let mut tree = context.request.tree.clone();
            let mut spec = context.spec.clone();
            let hop_id = next_hop(&spec, id.as_str());
            let query_id = fresh_id(&spec, &format!("{hop_id}_query"));
            let path = fresh_path(&tree, &query_id);
            let prompt = format!(
                "system:\nYou write search queries for a search that matches words.\n\nuser:\n{}\nPassages found so far:\n\
                 {{{{ steps.{id}.docs }}}}\n\n\
                 Something that is needed to answer is not in these passages yet. Find the name in the passages that leads \
                 to it, and write one short search query for what is still missing. Do not repeat the question. Reply with \
                 the search query only, without quotation marks and without explanation.\n",
                case_inputs(context, step)
            );
            rewire(&mut spec, &mut tree, id.as_str(), &hop_id);
            put_text(&mut tree, &path, &prompt);
            let second = StepSpec::Retrieve(RetrieveStep {
                id: StepId::new(&hop_id),
                needs: Vec::new(),
                when: first.when.clone(),
                corpus: first.corpus.clone(),
                query: Some(format!("{{{{ steps.{query_id}.text }}}}")),
                queries: Vec::new(),
                k: first.k,
                include: vec![id.clone()],
                fields: first.fields.clone(),
            });
            let mut query = like(llm, &query_id, &path);
            query.when = first.when.clone();
            query.temperature = Some(0.0);
            let at = spec.steps.iter().position(|step| *step.id() == id)? + 1;
            spec.steps.insert(at, second);
            spec.steps.insert(at, StepSpec::Llm(query));
            Some(context.pipeline_idea(
                Technique::ExtraHop,
                format!("extra_hop/{id}/written_query"),
                format!("a query written from what {id} found reaches documents that the question does not name"),
                &spec,
                tree,
            ))
        })
        .collect()
}

/// A model step that writes several queries, asked beside the existing ones.
pub fn multi_query(context: &Context<'_>) -> Vec<Idea> {
    context
        .retrieval_targets()
        .into_iter()
        .filter_map(|id| {
            let (retrieve, step) = retrieve_step(context, &id)?;
            let llm = pattern(context)?;
            let inputs = case_inputs(context, step);
            if inputs.is_empty() {
                return None;
            }
            let mut tree = context.request.tree.clone();
            let mut spec = context.spec.clone();
            let query_id = fresh_id(&spec, &format!("{id}_queries"));
            let path = fresh_path(&tree, &query_id);
            let prompt = format!(
                "system:\nYou write search queries for a search that matches words.\n\nuser:\n{inputs}\n\
                 Write three different short search queries that together find every document needed to answer. Use the \
                 names that occur above, and other words for the same thing. Write one query on each line, without \
                 numbers, quotation marks or explanation.\n"
            );
            put_text(&mut tree, &path, &prompt);
            let mut queries = like(llm, &query_id, &path);
            queries.when = retrieve.when.clone();
            queries.temperature = Some(0.0);
            let at = spec.steps.iter().position(|step| *step.id() == id)?;
            if let StepSpec::Retrieve(target) = &mut spec.steps[at] {
                target.queries = target.query.take().into_iter().chain(std::mem::take(&mut target.queries)).collect();
                target.queries.push(format!("{{{{ steps.{query_id}.text }}}}"));
            }
            spec.steps.insert(at, StepSpec::Llm(queries));
            Some(context.pipeline_idea(
                Technique::MultiQuery,
                format!("multi_query/{id}/three"),
                format!("several queries at {id} find documents that use other words than the question"),
                &spec,
                tree,
            ))
        })
        .collect()
}

/// `hop_2` after `hop`, `hop_3` after `hop_2`.
fn next_hop(spec: &PipelineSpec, id: &str) -> String {
    let (stem, number) = match id.rsplit_once('_') {
        Some((stem, tail)) => match tail.parse::<u32>() {
            Ok(number) if !stem.is_empty() => (stem, number),
            _ => (id, 1),
        },
        None => (id, 1),
    };
    fresh_id(spec, &format!("{stem}_{}", number.saturating_add(1)))
}

/// Lets everything that reads step `from` read step `to` instead, the pipeline's output included.
pub fn rewire(spec: &mut PipelineSpec, tree: &mut VariantTree, from: &str, to: &str) {
    let renamed = Renamed::new(from, to);
    if spec.output.split('.').next() == Some(from) {
        spec.output = format!("{to}{}", &spec.output[from.len()..]);
    }
    let mut prompts = Vec::new();
    for step in &mut spec.steps {
        renamed.step(step, &mut prompts);
    }
    prompts.sort_unstable();
    prompts.dedup();
    for path in prompts {
        if let Some(text) = tree.text(&path) {
            let text = renamed.text(text);
            put_text(tree, &path, &text);
        }
    }
}

/// A reference to a step inside template tags.
static TAG: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)\{\{.*?\}\}|\{%.*?%\}").expect("a fixed pattern"));

struct Renamed {
    from: StepId,
    to: StepId,
    reference: Regex,
}

impl Renamed {
    fn new(from: &str, to: &str) -> Self {
        let name = regex::escape(from);
        Self {
            from: StepId::new(from),
            to: StepId::new(to),
            reference: Regex::new(&format!(
                r#"\bsteps(?:\.{name}\b|\[\s*(?:"{name}"|'{name}')\s*\])"#
            ))
            .expect("an escaped name is a valid pattern"),
        }
    }

    /// Template text: references count inside tags only.
    fn text(&self, text: &str) -> String {
        TAG.replace_all(text, |tag: &regex::Captures<'_>| self.expression(&tag[0]))
            .into_owned()
    }

    fn expression(&self, text: &str) -> String {
        self.reference
            .replace_all(text, format!("steps.{}", self.to).as_str())
            .into_owned()
    }

    fn ids(&self, ids: &mut [StepId]) {
        for id in ids.iter_mut().filter(|id| **id == self.from) {
            *id = self.to.clone();
        }
    }

    fn when(&self, when: &mut Option<String>) {
        if let Some(condition) = when {
            *condition = self.expression(condition);
        }
    }

    fn step(&self, step: &mut StepSpec, prompts: &mut Vec<String>) {
        match step {
            StepSpec::Llm(llm) => {
                self.ids(&mut llm.needs);
                self.when(&mut llm.when);
                prompts.push(llm.prompt.clone());
            }
            StepSpec::Retrieve(retrieve) => {
                self.ids(&mut retrieve.needs);
                self.ids(&mut retrieve.include);
                self.when(&mut retrieve.when);
                for query in retrieve.query.iter_mut().chain(&mut retrieve.queries) {
                    *query = self.text(query);
                }
            }
            StepSpec::Template(template) => {
                self.ids(&mut template.needs);
                self.when(&mut template.when);
                template.template = self.text(&template.template);
            }
            // code names what it reads in its own text, which is left as it is: it goes on with what it knows
            StepSpec::Python(python) => self.when(&mut python.when),
            StepSpec::Sample(sample) => {
                self.ids(&mut sample.needs);
                self.when(&mut sample.when);
                for inner in &mut sample.steps {
                    self.step(inner, prompts);
                }
                match &mut sample.combine {
                    Combine::Vote(_) => {}
                    Combine::BestBy(best) => self.step(&mut best.check, prompts),
                    Combine::Merge(merge) => self.step(&mut merge.step, prompts),
                }
            }
        }
    }
}
