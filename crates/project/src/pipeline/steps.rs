//! Plans single steps: compiles what they are made of and checks what their kind needs.

use std::collections::BTreeSet;

use fapo_domain::model::pipeline::{
    Combine, LlmStep, OutputFormat, RetrieveStep, SampleStep, StepSpec, TemplateStep,
};
use regex::Regex;

use super::files::template_help;
use super::names::{Needs, Visible, Where};
use super::plan::Planner;
use super::{PlannedSample, PlannedStep};
use crate::problems::{ProblemExt, error, suggestion, warning};
use crate::template::{Condition, TemplateError, TextTemplate};
use crate::yaml::item;

impl Planner<'_> {
    /// Plans one step. Its `needs` are put in by the caller, who knows the order.
    pub fn step(
        &mut self,
        spec: &StepSpec,
        path: &str,
        visible: &Visible<'_>,
        needs: &mut Needs,
    ) -> PlannedStep {
        for (position, id) in spec.needs().iter().enumerate() {
            let at = item(&format!("{path}.needs"), position);
            self.need(id.as_str(), Where::Key(&at), visible, needs);
        }
        let mut planned = PlannedStep {
            spec: spec.clone(),
            needs: Vec::new(),
            prompt: None,
            queries: Vec::new(),
            corpus: None,
            template: None,
            code: None,
            when: None,
            sample: None,
        };
        if let Some(when) = spec.when() {
            let at = format!("{path}.when");
            match Condition::compile(when) {
                Ok(condition) => {
                    self.check_names(&condition.variables(), Where::Key(&at), visible, needs);
                    planned.when = Some(condition);
                }
                Err(found) => self.report("bad-condition", &found.message, &at, None),
            }
        }
        match spec {
            StepSpec::Llm(step) => self.llm(step, path, visible, needs, &mut planned),
            StepSpec::Retrieve(step) => self.retrieve(step, path, visible, needs, &mut planned),
            StepSpec::Template(step) => self.template(step, path, visible, needs, &mut planned),
            StepSpec::Python(step) => self.python(step, path, &mut planned),
            StepSpec::Sample(step) => {
                planned.sample = Some(Box::new(self.sample(step, path, visible, needs)));
            }
        }
        planned
    }

    fn llm(
        &mut self,
        step: &LlmStep,
        path: &str,
        visible: &Visible<'_>,
        needs: &mut Needs,
        planned: &mut PlannedStep,
    ) {
        let at = format!("{path}.prompt");
        planned.prompt = self
            .prompts
            .get(&step.prompt, &at, self.document, self.problems);
        if let Some(prompt) = &planned.prompt {
            for (_, section) in prompt.sections() {
                let place = Where::File {
                    file: &step.prompt,
                    source: prompt.source(),
                };
                self.check_names(&section.variables(), place, visible, needs);
            }
            self.warn_of_plain_placeholders(&step.prompt, prompt.source());
        }
        let models = &self.ctx.project.models;
        let entry = step.model.as_deref().unwrap_or("task");
        if step.model.is_some() && !models.contains_key(entry) {
            let help = suggestion(entry, models.keys().map(String::as_str), "models there are");
            let message = format!("fapo.yaml has no model `{entry}`");
            self.report("unknown-model", &message, &format!("{path}.model"), help);
        }
        if let Some(schema) = &step.schema {
            let at = format!("{path}.schema");
            if step.output == OutputFormat::Text {
                self.report(
                    "schema-without-json",
                    "a schema needs `output: json`",
                    &at,
                    Some("add `output: json` to the step, or remove the schema".to_owned()),
                );
            }
            if let Some(message) = crate::validate::invalid_schema(schema) {
                self.report("bad-schema", &message, &at, None);
            }
        }
    }

    fn retrieve(
        &mut self,
        step: &RetrieveStep,
        path: &str,
        visible: &Visible<'_>,
        needs: &mut Needs,
        planned: &mut PlannedStep,
    ) {
        let queries: Vec<(String, &str)> = match (&step.query, step.queries.as_slice()) {
            (Some(query), []) => vec![(format!("{path}.query"), query)],
            (None, queries) if !queries.is_empty() => queries
                .iter()
                .enumerate()
                .map(|(position, query)| {
                    (item(&format!("{path}.queries"), position), query.as_str())
                })
                .collect(),
            (Some(_), _) => {
                self.report(
                    "query",
                    "both `query` and `queries` are given",
                    &format!("{path}.queries"),
                    Some("keep one of them; several queries go into `queries`".to_owned()),
                );
                Vec::new()
            }
            (None, _) => {
                self.report(
                    "query",
                    "a `retrieve` step needs a query",
                    path,
                    Some("add `query: \"{{ ... }}\"`, or a list as `queries`".to_owned()),
                );
                Vec::new()
            }
        };
        for (at, query) in queries {
            if let Some(template) = self.text(query, &at, visible, needs) {
                planned.queries.push(template);
            }
        }
        planned.corpus = self.corpus(step, path);
        if step.fields.is_empty() {
            let help = Some("name `title`, `text` or both".to_owned());
            let at = format!("{path}.fields");
            self.report("fields", "no field is searched", &at, help);
        }
        for (position, id) in step.include.iter().enumerate() {
            let at = item(&format!("{path}.include"), position);
            if let Some(found) = self.need(id.as_str(), Where::Key(&at), visible, needs)
                && !matches!(found, StepSpec::Retrieve(_))
                && !self.stand_ins.has(id.as_str())
            {
                let message = format!("step `{id}` is of kind `{}`", found.kind());
                let help = Some("`include` joins in the documents of `retrieve` steps".to_owned());
                self.report("include", &message, &at, help);
            }
        }
    }

    fn corpus(&mut self, step: &RetrieveStep, path: &str) -> Option<String> {
        let corpora = &self.ctx.project.data.corpora;
        match &step.corpus {
            Some(name) if corpora.contains_key(name) => Some(name.clone()),
            Some(name) => {
                let help = suggestion(
                    name,
                    corpora.keys().map(String::as_str),
                    "corpora there are",
                )
                .unwrap_or_else(|| "add it to `data.corpora` in fapo.yaml".to_owned());
                let message = format!("fapo.yaml has no corpus `{name}`");
                let at = format!("{path}.corpus");
                self.report("unknown-corpus", &message, &at, Some(help));
                None
            }
            None if corpora.len() == 1 => corpora.keys().next().cloned(),
            None => {
                let (message, help) = if corpora.is_empty() {
                    (
                        "there is no corpus to search",
                        "add one to `data.corpora` in fapo.yaml".to_owned(),
                    )
                } else {
                    let names: Vec<&str> = corpora.keys().map(String::as_str).collect();
                    (
                        "the step does not say which corpus it searches",
                        format!("add `corpus:` with one of {}", names.join(", ")),
                    )
                };
                self.report("unknown-corpus", message, path, Some(help));
                None
            }
        }
    }

    fn template(
        &mut self,
        step: &TemplateStep,
        path: &str,
        visible: &Visible<'_>,
        needs: &mut Needs,
        planned: &mut PlannedStep,
    ) {
        planned.template = self.text(&step.template, &format!("{path}.template"), visible, needs);
        if let Some(extract) = &step.extract {
            self.check_regex(extract, &format!("{path}.extract"));
        }
        if let Some(pointer) = &step.pointer
            && !(pointer.is_empty() || pointer.starts_with('/'))
        {
            self.report(
                "bad-pointer",
                &format!("`{pointer}` is not a JSON pointer"),
                &format!("{path}.pointer"),
                Some(format!(
                    "it starts with a slash: `/{}`",
                    pointer.replace('.', "/")
                )),
            );
        }
    }

    fn sample(
        &mut self,
        step: &SampleStep,
        path: &str,
        visible: &Visible<'_>,
        needs: &mut Needs,
    ) -> PlannedSample {
        let at = format!("{path}.steps");
        if step.steps.is_empty() {
            self.report("no-steps", "a sample needs a step", &at, None);
        }
        let inner = Visible {
            steps: &step.steps,
            outer: Some(visible),
            extra: visible.extra,
        };
        let list = self.list(&step.steps, &at, &inner);
        let mut outer: BTreeSet<_> = list.outer;
        let mut output = None;
        let wanted = step
            .output
            .as_ref()
            .or_else(|| step.steps.last().map(StepSpec::id));
        if let Some(id) = wanted {
            output = list.steps.iter().position(|step| step.id() == id);
            if output.is_none() && !self.stand_ins.hide_a_name() {
                let ids: Vec<&str> = step.steps.iter().map(|step| step.id().as_str()).collect();
                let help = suggestion(id.as_str(), ids, "steps of the sample");
                let message = format!("the sample has no step `{id}`");
                self.report("unknown-step", &message, &format!("{path}.output"), help);
            }
            self.used.insert(id.clone());
        }
        let (mut check, mut merge) = (None, None);
        match &step.combine {
            Combine::Vote(vote) => {
                if let Some(extract) = &vote.extract {
                    self.check_regex(extract, &format!("{path}.combine.extract"));
                }
            }
            Combine::BestBy(best) => {
                let at = format!("{path}.combine.check");
                check = Some(self.judge(&best.check, &at, "candidate", visible, &mut outer));
            }
            Combine::Merge(last) => {
                let at = format!("{path}.combine.step");
                merge = Some(self.judge(&last.step, &at, "samples", visible, &mut outer));
            }
        }
        for id in outer {
            self.need(id.as_str(), Where::Key(path), visible, needs);
        }
        PlannedSample {
            steps: list.steps,
            output: output.unwrap_or(0),
            check,
            merge,
        }
    }

    /// Plans the step of `best_by` or `merge`.
    fn judge(
        &mut self,
        spec: &StepSpec,
        path: &str,
        name: &'static str,
        visible: &Visible<'_>,
        outer: &mut BTreeSet<fapo_domain::ids::StepId>,
    ) -> Box<PlannedStep> {
        if matches!(spec, StepSpec::Retrieve(_) | StepSpec::Sample(_)) {
            self.report(
                "combine",
                &format!("a step of kind `{}` cannot stand here", spec.kind()),
                path,
                Some("use an `llm`, a `template` or a `python` step".to_owned()),
            );
        }
        let inner = Visible {
            steps: &[],
            outer: Some(visible),
            extra: Some(name),
        };
        let mut needs = Needs::default();
        let planned = self.step(spec, path, &inner, &mut needs);
        outer.extend(needs.outer);
        let reads = planned
            .prompt
            .iter()
            .flat_map(|prompt| prompt.variables())
            .chain(planned.template.iter().flat_map(TextTemplate::variables))
            .any(|variable| variable[0] == name);
        if !reads
            && !self.stand_ins.has(spec.id().as_str())
            && (planned.prompt.is_some() || planned.template.is_some())
        {
            let problem = warning(
                "combine",
                &self.document.file,
                format!("step `{}` never looks at `{name}`", spec.id()),
            )
            .help(format!("use `{{{{ {name} }}}}` in its template"));
            self.problems.push(self.document.at_value(problem, path));
        }
        Box::new(planned)
    }

    /// Compiles a template that stands in the file itself.
    fn text(
        &mut self,
        source: &str,
        path: &str,
        visible: &Visible<'_>,
        needs: &mut Needs,
    ) -> Option<TextTemplate> {
        match TextTemplate::compile(path, source) {
            Ok(template) => {
                self.check_names(&template.variables(), Where::Key(path), visible, needs);
                Some(template)
            }
            Err(TemplateError { message, .. }) => {
                let help = template_help(&message).map(str::to_owned);
                self.report("bad-template", &message, path, help);
                None
            }
        }
    }

    fn check_regex(&mut self, pattern: &str, path: &str) {
        if let Err(found) = Regex::new(pattern) {
            let message = format!(
                "not a regular expression: {}",
                last_line(&found.to_string())
            );
            self.report("bad-regex", &message, path, None);
        }
    }

    fn report(&mut self, rule: &'static str, message: &str, path: &str, help: Option<String>) {
        let mut problem = error(rule, &self.document.file, message);
        if let Some(help) = help {
            problem = problem.help(help);
        }
        self.problems.push(self.document.at_value(problem, path));
    }
}

/// The regex crate draws a picture and ends with the reason.
pub(crate) fn last_line(text: &str) -> &str {
    let line = text.lines().last().unwrap_or(text).trim();
    line.strip_prefix("error: ").unwrap_or(line)
}
