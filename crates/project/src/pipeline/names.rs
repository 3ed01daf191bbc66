//! Which names a template may use where, and which steps it thereby needs.

use std::collections::BTreeSet;

use fapo_domain::ids::StepId;
use fapo_domain::model::pipeline::{Combine, OutputFormat, StepSpec};
use fapo_domain::problem::{Problem, Severity};
use regex::Regex;

use super::plan::Planner;
use super::shown;
use crate::problems::{ProblemExt, error, nearest, suggestion};

/// What can be seen from a list of steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visible<'a> {
    /// The list itself.
    pub steps: &'a [StepSpec],
    /// What can be seen around it.
    pub outer: Option<&'a Visible<'a>>,
    /// A further name: `candidate` or `samples`.
    pub extra: Option<&'static str>,
}

impl<'a> Visible<'a> {
    /// A step by its id: how many lists further out, its position there, and itself.
    fn find(&self, id: &str) -> Option<(usize, usize, &'a StepSpec)> {
        let own = self.steps.iter().position(|step| step.id().as_str() == id);
        match own {
            Some(position) => Some((0, position, &self.steps[position])),
            None => self
                .outer?
                .find(id)
                .map(|(level, position, step)| (level + 1, position, step)),
        }
    }

    /// The ids of all steps that can be seen.
    fn ids(&self) -> Vec<&'a str> {
        let mut ids: Vec<&str> = self.steps.iter().map(|step| step.id().as_str()).collect();
        if let Some(outer) = self.outer {
            ids.extend(outer.ids());
        }
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        ids
    }
}

/// The steps that one step needs.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Positions in its own list.
    pub own: BTreeSet<usize>,
    /// Ids of steps further out.
    pub outer: BTreeSet<StepId>,
}

/// Where a name stands, for problems.
#[derive(Debug, Clone, Copy)]
pub(super) enum Where<'a> {
    /// In a prompt file of the variant.
    File { file: &'a str, source: &'a str },
    /// In the value at a key path of `pipeline.yaml`.
    Key(&'a str),
}

impl Planner<'_> {
    /// Notes that a step needs `id`, or that there is no such step.
    pub fn need<'s>(
        &mut self,
        id: &str,
        at: Where<'_>,
        visible: &Visible<'s>,
        needs: &mut Needs,
    ) -> Option<&'s StepSpec> {
        match visible.find(id) {
            Some((level, position, step)) => {
                if level == 0 {
                    needs.own.insert(position);
                } else {
                    needs.outer.insert(step.id().clone());
                }
                self.used.insert(step.id().clone());
                Some(step)
            }
            None if self.stand_ins.hide_a_name() => None,
            None => {
                let mut problem = error("unknown-step", "", format!("there is no step `{id}`"));
                if let Some(owner) = self.inside.get(id) {
                    problem.message = format!("step `{id}` cannot be seen from here");
                    problem = problem.help(format!(
                        "it is inside the sample `{owner}`: use the result of `{owner}` instead"
                    ));
                } else if let Some(help) = suggestion(id, visible.ids(), "steps there are") {
                    problem = problem.help(help);
                }
                self.tell(problem, at, &[id]);
                None
            }
        }
    }

    /// Checks the names that a template uses.
    pub fn check_names(
        &mut self,
        variables: &BTreeSet<Vec<String>>,
        at: Where<'_>,
        visible: &Visible<'_>,
        needs: &mut Needs,
    ) {
        for path in variables {
            let names: Vec<&str> = path.iter().map(String::as_str).collect();
            match names.as_slice() {
                ["steps"] => self.tell(
                    error(
                        "bad-name",
                        "",
                        "`steps` alone does not say which step is needed",
                    )
                    .help("name the step: `steps.<id>.text`"),
                    at,
                    &["steps"],
                ),
                ["steps", id, rest @ ..] => {
                    if let Some(step) = self.need(id, at, visible, needs) {
                        self.check_part(step, rest, at);
                    }
                }
                ["case_id", ..] | ["input"] => {}
                ["input", key, ..] => self.check_input(key, true, at, visible),
                [name, ..] if visible.extra == Some(name) => {}
                [name, ..] => self.check_input(name, false, at, visible),
                [] => {}
            }
        }
    }

    /// Checks what comes after `steps.<id>`.
    fn check_part(&mut self, step: &StepSpec, rest: &[&str], at: Where<'_>) {
        let id = step.id().as_str();
        if self.stand_ins.has(id) {
            return;
        }
        let Some(part) = rest.first() else {
            return;
        };
        let problem = match *part {
            "text" if rest.len() > 1 => Some(
                error(
                    "bad-name",
                    "",
                    format!("the text of step `{id}` has no parts"),
                )
                .help(format!("`steps.{id}.json.{}` reads its JSON", rest[1])),
            ),
            "text" => None,
            "json" => match gives_json(step) {
                Some(true) => None,
                Some(false) => Some(
                    error("no-json", "", format!("step `{id}` gives no JSON")).help(match step {
                        StepSpec::Llm(_) => format!("add `output: json` to step `{id}`"),
                        StepSpec::Retrieve(_) => format!("use `steps.{id}.docs`"),
                        StepSpec::Template(_) | StepSpec::Python(_) | StepSpec::Sample(_) => {
                            format!("use `steps.{id}.text`")
                        }
                    }),
                ),
                None => Some(Problem {
                    severity: Severity::Warning,
                    ..error(
                        "no-json",
                        "",
                        format!("step `{id}` gives JSON only if its text happens to be JSON"),
                    )
                    .help(format!(
                        "use `steps.{id}.text`, or give step `{id}` a `pointer`"
                    ))
                }),
            },
            "docs" if gives_documents(step) => None,
            "docs" => Some(
                error("no-docs", "", format!("step `{id}` finds no documents"))
                    .help("only `retrieve` and `python` steps have `docs`"),
            ),
            other => Some(
                error("bad-name", "", format!("a step has no `{other}`")).help(
                    nearest(other, ["text", "json", "docs"]).map_or_else(
                        || "a step has `text`, `json` and `docs`".to_owned(),
                        |near| format!("did you mean `steps.{id}.{near}`?"),
                    ),
                ),
            ),
        };
        if let Some(problem) = problem {
            self.tell(problem, at, &["steps", id, part]);
        }
    }

    /// Checks a key of the case's input.
    fn check_input(&mut self, key: &str, prefixed: bool, at: Where<'_>, visible: &Visible<'_>) {
        let ids = visible.ids();
        let Some(keys) = self.ctx.input_keys else {
            // without data a bare step id is still surely a mistake
            if !prefixed && ids.contains(&key) {
                self.tell(step_without_prefix(key), at, &[key]);
            }
            return;
        };
        if keys.contains(key) {
            return;
        }
        if !prefixed && ids.contains(&key) {
            return self.tell(step_without_prefix(key), at, &[key]);
        }
        let mut problem = error(
            "unknown-variable",
            "",
            if prefixed {
                format!("no case's input has the key `{key}`")
            } else {
                format!("`{key}` is not a name that is known here")
            },
        );
        if matches!(key, "candidate" | "samples") {
            problem = problem.help(format!(
                "`{key}` exists only in the {} step of a sample",
                if key == "candidate" {
                    "`best_by` check"
                } else {
                    "`merge`"
                }
            ));
        } else {
            let mut names: Vec<&str> = keys.iter().map(String::as_str).collect();
            if !prefixed {
                names.extend(visible.extra);
            }
            if let Some(help) = suggestion(key, names, "keys of the input") {
                problem = problem.help(help);
            }
        }
        let shown: &[&str] = if prefixed { &["input", key] } else { &[key] };
        self.tell(problem, at, shown);
    }

    /// Files a problem where the template stands; in a prompt file, at the first line that has the name.
    pub fn tell(&mut self, mut problem: Problem, at: Where<'_>, name: &[&str]) {
        match at {
            Where::Key(path) => {
                problem.file.clone_from(&self.document.file);
                problem = self.document.at_value(problem, path);
            }
            Where::File { file, source } => {
                problem.file = shown(file);
                problem.line = line_of(source, name);
            }
        }
        // two steps with one prompt: once is enough
        if !self.problems.iter().any(|known| *known == problem) {
            self.problems.push(problem);
        }
    }
}

fn step_without_prefix(id: &str) -> Problem {
    error(
        "unknown-variable",
        "",
        format!("`{id}` is a step, not an input"),
    )
    .help(format!("write `steps.{id}.text`"))
}

/// The first line that has the dotted name as a whole word inside braces, or at all.
fn line_of(source: &str, name: &[&str]) -> Option<u64> {
    let dotted = name
        .iter()
        .map(|part| regex::escape(part))
        .collect::<Vec<_>>()
        .join(r"\s*\.\s*");
    let inside = Regex::new(&format!(
        r"(?s)\{{[{{%](?:[^}}%]|[}}%][^}}])*?\b({dotted})\b"
    ))
    .ok()?;
    let anywhere = Regex::new(&format!(r"\b({dotted})\b")).ok()?;
    let found = inside
        .captures(source)
        .or_else(|| anywhere.captures(source))?;
    let start = found.get(1)?.start();
    Some(1 + source[..start].matches('\n').count() as u64)
}

/// Whether a step's value has JSON; `None` where that depends on the text.
pub(super) fn gives_json(step: &StepSpec) -> Option<bool> {
    match step {
        StepSpec::Llm(step) => Some(step.output == OutputFormat::Json),
        StepSpec::Retrieve(_) => Some(false),
        StepSpec::Template(step) if step.pointer.is_some() => Some(true),
        StepSpec::Template(_) => None,
        // what code returns is known when it has run; whoever reads a part that is not there fails then
        StepSpec::Python(_) => Some(true),
        StepSpec::Sample(sample) => match &sample.combine {
            Combine::Merge(merge) => gives_json(&merge.step),
            Combine::Vote(_) | Combine::BestBy(_) => {
                sample_output(step).map_or(Some(false), gives_json)
            }
        },
    }
}

/// Whether a step's value has documents.
fn gives_documents(step: &StepSpec) -> bool {
    match step {
        StepSpec::Retrieve(_) | StepSpec::Python(_) => true,
        StepSpec::Llm(_) | StepSpec::Template(_) => false,
        StepSpec::Sample(sample) => {
            !matches!(sample.combine, Combine::Merge(_))
                && sample_output(step).is_some_and(gives_documents)
        }
    }
}

/// The sub-step whose value is the sample.
fn sample_output(step: &StepSpec) -> Option<&StepSpec> {
    let StepSpec::Sample(sample) = step else {
        return None;
    };
    match &sample.output {
        Some(id) => sample.steps.iter().find(|inner| inner.id() == id),
        None => sample.steps.last(),
    }
}
