//! Checks of `scorer:`, and of the metrics that `objective` and `target` name.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::model::project::{AlsoMetric, Metric, MetricOptions, ProjectSpec, ScorerSpec};
use regex::Regex;

use super::Check;
use crate::pipeline::last_line;
use crate::problems::suggestion;
use crate::python::is_identifier;
use crate::validate::invalid_schema;
use crate::yaml::{item, join};

/// The name of a composite among the metrics.
const COMPOSITE: &str = "weighted";

/// One metric with where it stands.
struct Use<'a> {
    path: String,
    metric: Metric,
    name: Option<&'a str>,
    /// Its own options; `None` where it only has a name.
    own: Option<&'a MetricOptions>,
}

pub(super) fn check(spec: &ProjectSpec, check: &mut Check<'_>) {
    let scorer = &spec.scorer;
    match (scorer.metric, scorer.weighted.is_empty()) {
        (None, true) => check.error(
            "metric",
            "scorer",
            "the scorer has no metric",
            "add `metric: exact_match`, or a list as `weighted`",
        ),
        (Some(_), false) => check.error(
            "metric",
            "scorer.weighted",
            "both `metric` and `weighted` are given",
            "keep one; what is only to be reported goes into `also`",
        ),
        (Some(_), true) | (None, false) => {}
    }
    for (position, part) in scorer.weighted.iter().enumerate() {
        if part.weight <= 0.0 {
            let path = format!("{}.weight", item("scorer.weighted", position));
            let help = "a metric without weight can be reported by `also`";
            check.error("out-of-range", &path, "a weight must be more than 0", help);
        }
    }
    patterns("scorer", &scorer.options, check);
    let uses = uses(scorer);
    for used in &uses {
        metric(used, scorer, check);
    }
    let names = names(&uses, scorer, check);
    objective(spec, &names, check);
}

fn uses(scorer: &ScorerSpec) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    if let Some(metric) = scorer.metric {
        uses.push(Use {
            path: "scorer".to_owned(),
            metric,
            name: None,
            own: Some(&scorer.options),
        });
    }
    for (position, part) in scorer.weighted.iter().enumerate() {
        uses.push(Use {
            path: item("scorer.weighted", position),
            metric: part.metric.metric,
            name: part.metric.name.as_deref(),
            own: Some(&part.metric.options),
        });
    }
    for (position, also) in scorer.also.iter().enumerate() {
        let path = item("scorer.also", position);
        uses.push(match also {
            AlsoMetric::Name(metric) => Use {
                path,
                metric: *metric,
                name: None,
                own: None,
            },
            AlsoMetric::Full(named) => Use {
                path,
                metric: named.metric,
                name: named.name.as_deref(),
                own: Some(&named.options),
            },
        });
    }
    uses
}

/// What one metric needs, from itself or from the scorer.
fn metric(used: &Use<'_>, scorer: &ScorerSpec, check: &mut Check<'_>) {
    let shared = &scorer.options;
    let own = |is_there: fn(&MetricOptions) -> bool| used.own.is_some_and(is_there);
    let name = used.metric.as_str();
    let mut need = |given: bool, key: &str, help: &str| {
        if !given {
            let path = &used.path;
            if check.repaired.touches(&join(path, key))
                || check.repaired.touches(&join("scorer", key))
            {
                return;
            }
            let message = format!("`{name}` needs `{key}`");
            check.error("metric-option", path, message, help);
        }
    };
    if !matches!(
        used.metric,
        Metric::Regex | Metric::JsonSchema | Metric::Python
    ) {
        let given = own(|own| own.expected.is_some()) || shared.expected.is_some();
        need(
            given,
            "expected",
            "name the key of a case's `expected` that holds the right answer: `expected: answer`",
        );
    }
    match used.metric {
        Metric::Regex => need(
            // what another metric takes its answer from is not what this one must match
            own(|own| own.pattern.is_some())
                || (scorer.metric == Some(Metric::Regex) && shared.pattern.is_some()),
            "pattern",
            "write what the output must match",
        ),
        Metric::Choice => need(
            own(|own| !own.choices.is_empty()) || !shared.choices.is_empty(),
            "choices",
            "list what may be chosen: `choices: [A, B, C, D]`",
        ),
        Metric::JsonField => need(
            own(|own| own.field.is_some()) || shared.field.is_some(),
            "field",
            "write the path of the field in the output: `field: answer.label`",
        ),
        Metric::JsonSchema => need(
            own(|own| own.schema.is_some()) || shared.schema.is_some(),
            "schema",
            "write the schema that the output must satisfy",
        ),
        Metric::Python => need(
            own(|own| own.file.is_some()) || shared.file.is_some(),
            "file",
            "name the code: `file: scorers/<name>.py`",
        ),
        Metric::ExactMatch
        | Metric::NormalizedExactMatch
        | Metric::F1
        | Metric::Contains
        | Metric::Numeric
        | Metric::SetPrecision
        | Metric::SetRecall
        | Metric::SetF1
        | Metric::AllGold => {}
    }
    if let Some(own) = used.own
        && !std::ptr::eq(own, shared)
    {
        patterns(&used.path, own, check);
    }
}

/// Options that are right or wrong by themselves.
fn patterns(path: &str, options: &MetricOptions, check: &mut Check<'_>) {
    if let Some(pattern) = &options.pattern
        && let Err(found) = Regex::new(pattern)
    {
        let message = format!(
            "not a regular expression: {}",
            last_line(&found.to_string())
        );
        check.error("bad-regex", &join(path, "pattern"), message, "");
    }
    if let Some(schema) = &options.schema
        && let Some(message) = invalid_schema(schema)
    {
        check.error("bad-schema", &join(path, "schema"), message, "");
    }
    let mut seen = BTreeMap::new();
    for (position, choice) in options.choices.iter().enumerate() {
        let at = item(&join(path, "choices"), position);
        let choice = choice.trim();
        if choice.is_empty() {
            check.error("choices", &at, "an empty choice", "");
        } else if let Some(first) = seen.insert(choice.to_lowercase(), choice) {
            let message = if first == choice {
                format!("`{choice}` is listed twice")
            } else {
                format!(
                    "`{first}` and `{choice}` differ in case only, which does not tell choices apart"
                )
            };
            check.error("choices", &at, message, "remove one");
        }
    }
    if let Some(field) = &options.field
        && field.split('.').any(|part| part.trim().is_empty())
    {
        check.error(
            "bad-path",
            &join(path, "field"),
            format!("`{field}` has an empty part"),
            "write keys with dots between them, such as `answer.label`",
        );
    }
    if let Some(file) = &options.file
        && !is_scorer_code(file)
    {
        check.error(
            "code-file",
            &join(path, "file"),
            format!("`{file}` is not a scorer's code: that is `scorers/<name>.py`"),
            "put the file into the folder `scorers` beside fapo.yaml, where no proposal can change it",
        );
    }
    if let Some(function) = &options.function
        && !is_identifier(function)
    {
        check.error(
            "code-function",
            &join(path, "function"),
            format!("`{function}` cannot be a function's name"),
            "",
        );
    }
    if let Some(from) = &options.from
        && !is_source(from)
    {
        check.error(
            "bad-path",
            &join(path, "from"),
            format!("`{from}` is not something that can be scored"),
            "write `<step>.text`, `<step>.json.<path>`, `<step>.docs.title` or `<step>.docs.doc_id`; `*` stands for all `retrieve` steps",
        );
    }
}

/// Whether a path leads to a code file in the folder for it, and nowhere else.
fn is_scorer_code(path: &str) -> bool {
    path.strip_prefix(MetricOptions::CODE_FOLDER)
        .and_then(|rest| rest.strip_suffix(".py"))
        .is_some_and(|name| {
            name.split('/')
                .all(|part| !part.is_empty() && !part.starts_with('.'))
        })
}

fn is_source(from: &str) -> bool {
    let parts: Vec<&str> = from.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return false;
    }
    match parts.as_slice() {
        ["*", "docs", "title" | "doc_id"] => true,
        ["*", ..] => false,
        [_] | [_, "text"] | [_, "json", ..] | [_, "docs", "title" | "doc_id"] => true,
        _ => false,
    }
}

/// The names under which values are reported; each must be there once.
fn names(uses: &[Use<'_>], scorer: &ScorerSpec, check: &mut Check<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if !scorer.weighted.is_empty() {
        names.insert(COMPOSITE.to_owned());
    }
    for used in uses {
        let name = used.name.unwrap_or(used.metric.as_str());
        if name.trim().is_empty() {
            check.error("empty", &join(&used.path, "name"), "the name is empty", "");
        } else if name == COMPOSITE {
            check.error(
                "duplicate-metric",
                &used.path,
                format!("`{name}` is what the composite of `weighted` is called"),
                "give it another `name`",
            );
        } else if !names.insert(name.to_owned()) {
            check.error(
                "duplicate-metric",
                &used.path,
                format!("another metric is called `{name}` already"),
                "give it a `name` of its own, or remove it",
            );
        }
    }
    names
}

fn objective(spec: &ProjectSpec, names: &BTreeSet<String>, check: &mut Check<'_>) {
    let scorer = &spec.scorer;
    let whole = !check.repaired.touches("scorer")
        && (scorer.metric.is_some() || !scorer.weighted.is_empty());
    let mut known = |name: &str, path: &str| {
        if whole && !names.contains(name) {
            let all = names.iter().map(String::as_str);
            let help = suggestion(name, all, "metrics of the scorer").unwrap_or_default();
            let message = format!("the scorer has no metric `{name}`");
            check.error("unknown-metric", path, message, help);
        }
    };
    if let Some(name) = &spec.objective.maximize {
        known(name, "objective.maximize");
    }
    for name in spec.target.keys() {
        known(name, &join("target", name));
    }
    for (name, value) in &spec.target {
        check.within(&join("target", name), Some(*value), 0.0, 1.0);
    }
}

/// The files and functions of a scorer's `python` metrics, each once.
pub fn scorer_functions(scorer: &ScorerSpec) -> Vec<(String, String)> {
    let shared = &scorer.options;
    let functions: BTreeSet<(String, String)> = uses(scorer)
        .into_iter()
        .filter(|used| used.metric == Metric::Python)
        .filter_map(|used| {
            let own = used.own.unwrap_or(shared);
            let file = own.file.as_ref().or(shared.file.as_ref())?;
            let function = own.function.as_ref().or(shared.function.as_ref());
            let function = function.map_or("score", String::as_str);
            Some((file.clone(), function.to_owned()))
        })
        .collect();
    functions.into_iter().collect()
}

/// All `from` paths of a scorer.
pub(crate) fn scored_from(scorer: &ScorerSpec) -> Vec<&str> {
    uses(scorer)
        .into_iter()
        .filter_map(|used| used.own)
        .chain(std::iter::once(&scorer.options))
        .filter_map(|options| options.from.as_deref())
        .collect()
}
