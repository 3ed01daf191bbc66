//! Lays out a whole pipeline: reads the file, plans its lists of steps, and looks at what only the whole can show.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::ids::StepId;
use fapo_domain::model::pipeline::{Combine, PipelineSpec, StepSpec};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::problem::Problems;

use super::code::Code;
use super::files::Prompts;
use super::names::{Needs, Visible, Where, gives_json};
use super::order::order;
use super::output::{OutputPart, OutputPath, parse};
use super::{PIPELINE_FILE, Pipeline, PipelineContext, PlannedStep, caps, shown};
use crate::problems::{ProblemExt, error, suggestion, warning};
use crate::validate::{Repaired, StandIns, pipeline_spec};
use crate::yaml::{Document, item};

/// What planning carries along.
pub(super) struct Planner<'a> {
    pub document: &'a Document,
    pub ctx: &'a PipelineContext<'a>,
    pub prompts: Prompts<'a>,
    pub code: Code<'a>,
    pub problems: &'a mut Problems,
    /// Steps inside samples, by id: the outermost sample that they are in.
    pub inside: BTreeMap<String, StepId>,
    /// Steps that something needs.
    pub used: BTreeSet<StepId>,
    /// Steps of which no more is known than that they are there.
    pub stand_ins: &'a StandIns,
}

/// A planned list: the steps in order, their new positions by id, and what they need from further out.
pub(super) struct List {
    pub steps: Vec<PlannedStep>,
    pub outer: BTreeSet<StepId>,
}

pub(super) fn read(
    tree: &VariantTree,
    ctx: &PipelineContext<'_>,
    problems: &mut Problems,
) -> Option<Pipeline> {
    let Read {
        document,
        spec,
        repaired,
        stand_ins,
    } = read_file(tree, problems)?;
    let spec = spec?;
    let mut planner = Planner {
        document: &document,
        ctx,
        prompts: Prompts::new(tree),
        code: Code::new(tree),
        problems,
        inside: BTreeMap::new(),
        used: BTreeSet::new(),
        stand_ins: &stand_ins,
    };
    planner.check_ids(&spec);
    let visible = Visible {
        steps: &spec.steps,
        outer: None,
        extra: None,
    };
    let list = planner.list(&spec.steps, "steps", &visible);
    let output = planner.output(&spec, &list.steps, &repaired);
    planner.check_scorer(&spec);
    planner.code.check(planner.problems);
    planner.warn_of_unused(&spec);
    if repaired.is_empty() && !planner.problems.has_errors() {
        planner.prompts.warn_of_unused(planner.problems);
        planner.code.warn_of_unused(planner.problems);
    }
    let worst = caps::worst(&list.steps);
    caps::check(worst, &ctx.project.limits, problems);
    Some(Pipeline {
        steps: list.steps,
        output: output?,
        calls: worst.calls,
        documents: worst.documents,
        spec,
    })
}

/// The file as it was read.
struct Read {
    document: Document,
    spec: Option<PipelineSpec>,
    repaired: Repaired,
    stand_ins: StandIns,
}

/// The file, typed, where it can be typed with each of its steps.
pub(crate) fn read_spec(tree: &VariantTree, problems: &mut Problems) -> Option<PipelineSpec> {
    let read = read_file(tree, problems)?;
    let whole = read.stand_ins.is_empty() && !read.repaired.touches("output");
    read.spec.filter(|_| whole)
}

/// The file, typed where it can be typed at all.
fn read_file(tree: &VariantTree, problems: &mut Problems) -> Option<Read> {
    let file = shown(PIPELINE_FILE);
    let Some(bytes) = tree.get(PIPELINE_FILE) else {
        problems.push(
            error("missing-file", &file, "there is no such file")
                .help("every variant has a `pipeline.yaml` with `steps` and `output`"),
        );
        return None;
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        problems.push(error("not-text", &file, "not UTF-8 text").help("save the file as UTF-8"));
        return None;
    };
    let document = Document::read(&file, text, problems)?;
    let (spec, repaired, stand_ins) = pipeline_spec(&document, problems);
    Some(Read {
        document,
        spec,
        repaired,
        stand_ins,
    })
}

impl Planner<'_> {
    /// Ids are unique over the whole pipeline, samples included.
    fn check_ids(&mut self, spec: &PipelineSpec) {
        if spec.steps.is_empty() {
            let problem = error("no-steps", &self.document.file, "a pipeline needs a step");
            self.problems.push(self.document.at_key(problem, "steps"));
        }
        let mut seen = BTreeMap::new();
        self.collect_ids(&spec.steps, "steps", None, &mut seen);
    }

    fn collect_ids(
        &mut self,
        steps: &[StepSpec],
        path: &str,
        owner: Option<&StepId>,
        seen: &mut BTreeMap<String, String>,
    ) {
        for (position, step) in steps.iter().enumerate() {
            self.collect_id(step, &item(path, position), owner, seen);
        }
    }

    fn collect_id(
        &mut self,
        step: &StepSpec,
        path: &str,
        owner: Option<&StepId>,
        seen: &mut BTreeMap<String, String>,
    ) {
        let id = step.id().as_str().to_owned();
        if let Some(first) = seen.get(&id) {
            let place = self.document.value_place(&format!("{first}.id"));
            let line = place.map_or(0, |place| place.line);
            let problem = error(
                "duplicate-step",
                &self.document.file,
                format!("step `{id}` is already defined in line {line}"),
            )
            .help("give each step its own id, also inside samples");
            let path = format!("{path}.id");
            self.problems.push(self.document.at_value(problem, &path));
        } else {
            seen.insert(id.clone(), path.to_owned());
            if let Some(owner) = owner {
                self.inside.insert(id, owner.clone());
            }
        }
        if let StepSpec::Sample(sample) = step {
            let owner = owner.unwrap_or(&sample.id);
            self.collect_ids(&sample.steps, &format!("{path}.steps"), Some(owner), seen);
            match &sample.combine {
                Combine::Vote(_) => {}
                Combine::BestBy(best) => {
                    self.collect_id(
                        &best.check,
                        &format!("{path}.combine.check"),
                        Some(owner),
                        seen,
                    );
                }
                Combine::Merge(merge) => {
                    self.collect_id(
                        &merge.step,
                        &format!("{path}.combine.step"),
                        Some(owner),
                        seen,
                    );
                }
            }
        }
    }

    /// Plans a list of steps and puts it in order.
    pub fn list(&mut self, specs: &[StepSpec], path: &str, visible: &Visible<'_>) -> List {
        let mut outer = BTreeSet::new();
        let mut planned = Vec::with_capacity(specs.len());
        let mut needs = Vec::with_capacity(specs.len());
        for (position, spec) in specs.iter().enumerate() {
            let mut found = Needs::default();
            planned.push(self.step(spec, &item(path, position), visible, &mut found));
            needs.push(found.own.into_iter().collect::<Vec<_>>());
            outer.extend(found.outer);
        }
        let order = match order(&needs) {
            Ok(order) => order,
            Err(cycle) => {
                let names: Vec<&str> = cycle
                    .iter()
                    .chain(cycle.first())
                    .map(|step| specs[*step].id().as_str())
                    .collect();
                let message = if cycle.len() == 1 {
                    format!("step `{}` needs itself", names[0])
                } else {
                    format!(
                        "the steps need one another in a circle: {}",
                        names.join(" → ")
                    )
                };
                let problem = error("cycle", &self.document.file, message).help(
                    "each arrow is a name in a template, a `needs` or an `include`: remove one of them",
                );
                let at = item(path, cycle[0]);
                self.problems.push(self.document.at_value(problem, &at));
                (0..specs.len()).collect()
            }
        };
        let mut position_of = vec![0; specs.len()];
        for (new, old) in order.iter().enumerate() {
            position_of[*old] = new;
        }
        let mut steps: Vec<(usize, PlannedStep)> = planned
            .into_iter()
            .zip(needs)
            .enumerate()
            .map(|(old, (mut step, needs))| {
                step.needs = needs.into_iter().map(|need| position_of[need]).collect();
                step.needs.sort_unstable();
                (position_of[old], step)
            })
            .collect();
        steps.sort_by_key(|(position, _)| *position);
        List {
            steps: steps.into_iter().map(|(_, step)| step).collect(),
            outer,
        }
    }

    /// Resolves `output`.
    fn output(
        &mut self,
        spec: &PipelineSpec,
        steps: &[PlannedStep],
        repaired: &Repaired,
    ) -> Option<OutputPath> {
        if repaired.touches("output") {
            return None;
        }
        let (id, part) = match parse(&spec.output) {
            Ok(parsed) => parsed,
            Err(message) => {
                let problem = error("bad-output", &self.document.file, message)
                    .help("name a step (`answer`) or a part of its JSON (`answer.json.label`)");
                self.problems
                    .push(self.document.at_value(problem, "output"));
                return None;
            }
        };
        let visible = Visible {
            steps: &spec.steps,
            outer: None,
            extra: None,
        };
        let step = self.need(id, Where::Key("output"), &visible, &mut Needs::default())?;
        if matches!(part, OutputPart::Json(_))
            && gives_json(step) == Some(false)
            && !self.stand_ins.has(id)
        {
            let problem = error(
                "no-json",
                &self.document.file,
                format!("step `{id}` gives no JSON"),
            )
            .help(format!(
                "write `output: {id}`, or make step `{id}` give JSON"
            ));
            self.problems
                .push(self.document.at_value(problem, "output"));
        }
        let position = steps.iter().position(|step| step.id().as_str() == id)?;
        Some(OutputPath {
            step: position,
            id: steps[position].id().clone(),
            part,
        })
    }

    /// The scorer's `from` names a step of the pipeline.
    fn check_scorer(&mut self, spec: &PipelineSpec) {
        for from in crate::project::scored_from(&self.ctx.project.scorer) {
            let id = from.split('.').next().unwrap_or_default();
            if id == "*" {
                let retrieves = |step: &&StepSpec| matches!(step, StepSpec::Retrieve(_));
                let found: Vec<&StepSpec> = spec.steps.iter().filter(retrieves).collect();
                self.used.extend(found.iter().map(|step| step.id().clone()));
                continue;
            }
            if let Some(step) = spec.steps.iter().find(|step| step.id().as_str() == id) {
                self.used.insert(step.id().clone());
                continue;
            }
            if self.stand_ins.hide_a_name() {
                continue;
            }
            let ids: Vec<&str> = spec.steps.iter().map(|step| step.id().as_str()).collect();
            let mut problem = error(
                "unknown-step",
                &self.document.file,
                format!("the scorer reads `{from}`, and there is no step `{id}`"),
            );
            if let Some(help) = suggestion(id, ids, "steps there are") {
                problem = problem.help(help);
            }
            self.problems.push(self.document.at_key(problem, "steps"));
        }
    }

    /// A step whose value goes nowhere only costs.
    fn warn_of_unused(&mut self, spec: &PipelineSpec) {
        if self.problems.has_errors() {
            return;
        }
        for (position, step) in spec.steps.iter().enumerate() {
            if !self.used.contains(step.id()) {
                let problem = warning(
                    "unused-step",
                    &self.document.file,
                    format!("nothing uses the result of step `{}`", step.id()),
                )
                .help("remove the step, or use it in another step or in `output`");
                let path = format!("{}.id", item("steps", position));
                self.problems.push(self.document.at_value(problem, &path));
            }
        }
    }
}
