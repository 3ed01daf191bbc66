//! Reads `fapo.yaml`: parses it, checks it against its schema, then checks what a schema cannot say.

use fapo_domain::model::project::{AlsoMetric, MetricOptions, ProjectSpec, ScorerSpec};
use fapo_domain::problem::Problems;

use crate::validate::project_spec;
use crate::yaml::Document;

/// Reads the text of `fapo.yaml`; `file` is its name in problems. The project is there exactly where no problem is an
/// error. Nothing outside the text is looked at: not the files it names, and not the environment.
pub fn read_project(file: &str, text: &str) -> (Option<ProjectSpec>, Problems) {
    let mut problems = Problems::new();
    let spec = Document::read(file, text, &mut problems).and_then(|document| {
        let (spec, repaired) = project_spec(&document, &mut problems);
        let _ = repaired;
        spec
    });
    problems.sort();
    (spec.filter(|_| !problems.has_errors()), problems)
}

/// All `from` paths of a scorer.
pub(crate) fn scored_from(scorer: &ScorerSpec) -> Vec<&str> {
    let named = scorer
        .weighted
        .iter()
        .map(|part| &part.metric.options)
        .chain(scorer.also.iter().filter_map(|also| match also {
            AlsoMetric::Name(_) => None,
            AlsoMetric::Full(named) => Some(&named.options),
        }));
    std::iter::once(&scorer.options)
        .chain(named)
        .filter_map(|options: &MetricOptions| options.from.as_deref())
        .collect()
}
