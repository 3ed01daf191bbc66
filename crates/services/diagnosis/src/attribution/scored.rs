//! What is maximized: the metrics in which a case can lose points, what each scores and what it compares with.

use fapo_domain::model::project::{AlsoMetric, Metric, MetricOptions, NamedMetric, ProjectSpec};

/// One metric of what is maximized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part<'a> {
    /// Its name in breakdowns.
    pub name: &'a str,
    /// Its weight in a composite, relative to the others'.
    pub weight: f64,
    /// The metric; `None` in a project that names none.
    pub metric: Option<Metric>,
    /// The key of `expected` with the right answer, where the project names it.
    pub expected: Option<&'a str>,
    /// What is scored instead of the pipeline's output.
    pub from: Option<&'a str>,
    /// The choices of a `choice` metric.
    pub choices: &'a [String],
}

impl<'a> Part<'a> {
    fn of(
        name: &'a str,
        metric: Option<Metric>,
        own: &'a MetricOptions,
        project: &'a ProjectSpec,
    ) -> Self {
        let shared = &project.scorer.options;
        Self {
            name,
            weight: 1.0,
            metric,
            expected: own.expected.as_deref().or(shared.expected.as_deref()),
            from: own.from.as_deref().or(shared.from.as_deref()),
            choices: if own.choices.is_empty() {
                &shared.choices
            } else {
                &own.choices
            },
        }
    }

    fn named(named: &'a NamedMetric, project: &'a ProjectSpec) -> Self {
        let name = named.name.as_deref();
        Self::of(
            name.unwrap_or_else(|| named.metric.as_str()),
            Some(named.metric),
            &named.options,
            project,
        )
    }

    /// Whether it scores documents that were retrieved, and no text.
    pub fn scores_documents(&self) -> bool {
        self.from.is_some_and(|from| from.contains(".docs"))
    }
}

/// The parts of what `objective.maximize` names, the heaviest first: one, or those of the composite. Never empty.
pub fn parts(project: &ProjectSpec) -> Vec<Part<'_>> {
    let scorer = &project.scorer;
    let maximized = project.maximized();
    let weighted = scorer.weighted.iter().map(|part| Part {
        weight: part.weight,
        ..Part::named(&part.metric, project)
    });
    let own = |name, metric| Part::of(name, metric, &scorer.options, project);
    let primary = scorer
        .metric
        .map(|metric| own(metric.as_str(), Some(metric)));
    if maximized == "weighted" {
        let mut parts: Vec<Part<'_>> = weighted.filter(|part| part.weight > 0.0).collect();
        parts.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        if !parts.is_empty() {
            return parts;
        }
    } else {
        let also = scorer.also.iter().map(|also| match also {
            AlsoMetric::Name(metric) => own(metric.as_str(), Some(*metric)),
            AlsoMetric::Full(named) => Part::named(named, project),
        });
        if let Some(part) = primary
            .into_iter()
            .chain(weighted)
            .chain(also)
            .find(|part| part.name == maximized)
        {
            return vec![Part {
                weight: 1.0,
                ..part
            }];
        }
    }
    // a scorer that cannot be compiled; nothing is ever scored by it
    vec![primary.unwrap_or_else(|| own("", None))]
}
