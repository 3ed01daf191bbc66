//! One metric with its options, compiled.

use fapo_domain::model::case::Case;
use fapo_domain::model::project::{Metric, MetricOptions, NamedMetric};
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::code::CodeRunner;
use jsonschema::Validator;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::code::{PythonMetric, Said};
use super::{Code, ScoreError};
use crate::metrics::choice::{ChoiceReader, choice};
use crate::metrics::contains::contains;
use crate::metrics::exact::exact_match;
use crate::metrics::json::{FieldPath, json_field, json_schema};
use crate::metrics::numeric::{Tolerance, expected_numbers, numeric};
use crate::metrics::set::{SetMetric, expected_members, score_set};
use crate::metrics::squad::{f1, normalized_exact_match};
use crate::metrics::{Mark, answers, pattern};
use crate::subject::{Source, Subject};
use crate::text::{quote, quote_list};

/// A named metric, ready to score.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) name: String,
    source: Source,
    /// Taken out of the subject before it is scored.
    part: Option<Regex>,
    /// The key of the right answer, for metrics that compare with one.
    expected: Option<String>,
    test: Test,
}

#[derive(Debug)]
enum Test {
    ExactMatch {
        ignore_case: bool,
    },
    NormalizedExactMatch,
    F1,
    Contains {
        ignore_case: bool,
    },
    Regex(Regex),
    Numeric(Tolerance),
    Choice(Box<ChoiceReader>),
    JsonField {
        path: FieldPath,
        ignore_case: bool,
        tolerance: Tolerance,
    },
    JsonSchema(Box<Validator>),
    Set(SetMetric),
    Python(PythonMetric),
}

/// A metric's options with those it leaves out taken from the scorer's. A `pattern` is handed down only between metrics
/// that use it alike: what `regex` must match is not what another metric takes its answer from.
pub(super) fn with_defaults(
    metric: &NamedMetric,
    defaults: &MetricOptions,
    primary: Option<Metric>,
) -> MetricOptions {
    let same_use = (metric.metric == Metric::Regex) == (primary == Some(Metric::Regex));
    let own = &metric.options;
    let or =
        |own: &Option<String>, default: &Option<String>| own.clone().or_else(|| default.clone());
    MetricOptions {
        expected: or(&own.expected, &defaults.expected),
        from: or(&own.from, &defaults.from),
        pattern: if same_use {
            or(&own.pattern, &defaults.pattern)
        } else {
            own.pattern.clone()
        },
        tolerance: own.tolerance.or(defaults.tolerance),
        relative: own.relative || (own.tolerance.is_none() && defaults.relative),
        choices: if own.choices.is_empty() {
            defaults.choices.clone()
        } else {
            own.choices.clone()
        },
        field: or(&own.field, &defaults.field),
        schema: own.schema.clone().or_else(|| defaults.schema.clone()),
        file: or(&own.file, &defaults.file),
        function: or(&own.function, &defaults.function),
        timeout_s: own.timeout_s.or(defaults.timeout_s),
        memory_mb: own.memory_mb.or(defaults.memory_mb),
        ignore_case: own.ignore_case || defaults.ignore_case,
    }
}

impl Measure {
    pub(super) fn compile(
        name: String,
        metric: Metric,
        options: &MetricOptions,
        code: &Code,
    ) -> Result<Self, String> {
        let regex = |pattern: &str| {
            RegexBuilder::new(pattern)
                .case_insensitive(options.ignore_case)
                .build()
                .map_err(|error| format!("`pattern` is no regular expression: {error}"))
        };
        let ignore_case = options.ignore_case;
        let tolerance = Tolerance {
            value: options.tolerance.unwrap_or(0.0),
            relative: options.relative,
        };
        if !tolerance.value.is_finite() || tolerance.value < 0.0 {
            return Err("`tolerance` must be a number of at least 0".to_owned());
        }
        let test = match metric {
            Metric::ExactMatch => Test::ExactMatch { ignore_case },
            Metric::NormalizedExactMatch => Test::NormalizedExactMatch,
            Metric::F1 => Test::F1,
            Metric::Contains => Test::Contains { ignore_case },
            Metric::Regex => Test::Regex(regex(
                options
                    .pattern
                    .as_deref()
                    .ok_or("`pattern` is missing: write what the output must match")?,
            )?),
            Metric::Numeric => Test::Numeric(tolerance),
            Metric::Choice => Test::Choice(Box::new(ChoiceReader::new(&options.choices)?)),
            Metric::JsonField => Test::JsonField {
                path: FieldPath::parse(options.field.as_deref().ok_or(
                    "`field` is missing: write the path of the field, such as answer.label",
                )?)?,
                ignore_case,
                tolerance,
            },
            Metric::JsonSchema => {
                let schema = options
                    .schema
                    .as_ref()
                    .ok_or("`schema` is missing: write the schema the output must satisfy")?;
                Test::JsonSchema(Box::new(
                    jsonschema::validator_for(schema)
                        .map_err(|error| format!("`schema` is no JSON Schema: {error}"))?,
                ))
            }
            Metric::SetPrecision => Test::Set(SetMetric::Precision),
            Metric::SetRecall => Test::Set(SetMetric::Recall),
            Metric::SetF1 => Test::Set(SetMetric::F1),
            Metric::AllGold => Test::Set(SetMetric::AllGold),
            Metric::Python => Test::Python(PythonMetric::new(options, code)?),
        };
        let expected = match test {
            Test::Regex(_) | Test::JsonSchema(_) | Test::Python(_) => None,
            _ => Some(options.expected.clone().ok_or(
                "`expected` is missing: name the key of a case's `expected` that holds the right answer",
            )?),
        };
        let part = match (&options.pattern, &test) {
            (Some(pattern), test) if !matches!(test, Test::Regex(_)) => Some(regex(pattern)?),
            _ => None,
        };
        Ok(Self {
            name,
            source: options
                .from
                .as_deref()
                .map_or(Ok(Source::Output), Source::parse)?,
            part,
            expected,
            test,
        })
    }

    /// Whether it looks at the pipeline's output alone.
    pub(super) const fn reads_output_only(&self) -> bool {
        matches!(self.source, Source::Output) && !matches!(self.test, Test::Python(_))
    }

    /// Whether the case has the right answer in a form this metric compares with.
    pub(super) fn check(&self, case: &Case) -> Result<(), ScoreError> {
        let Some(expected) = self.expected(case)? else {
            return Ok(());
        };
        let checked = match &self.test {
            Test::ExactMatch { .. } | Test::NormalizedExactMatch | Test::F1 => {
                answers(expected).map(drop)
            }
            Test::Contains { .. } => parts_to_find(expected).map(drop),
            Test::Numeric(_) => expected_numbers(expected).map(drop),
            Test::Choice(reader) => choices_named(expected, reader).map(drop),
            Test::Set(_) => expected_members(expected).map(drop),
            Test::Regex(_) | Test::JsonField { .. } | Test::JsonSchema(_) | Test::Python(_) => {
                Ok(())
            }
        };
        checked.map_err(|problem| self.unusable(case, problem))
    }

    /// Asks the project's own code about a completed run; `None` where the metric is not code, or there is nothing to ask
    /// about.
    pub(super) async fn ask(
        &self,
        case: &Case,
        run: &RunRecord,
        workers: &dyn CodeRunner,
    ) -> Result<Option<Said>, ScoreError> {
        let (Test::Python(code), Ok(subject)) = (&self.test, self.subject(run)) else {
            return Ok(None);
        };
        code.ask(&self.name, case, run, &subject, workers)
            .await
            .map(Some)
    }

    /// What is scored of a run; the error says, for feedback, why there is nothing.
    fn subject<'r>(&self, run: &'r RunRecord) -> Result<Subject<'r>, String> {
        let subject = self.source.find(run)?;
        let Some(part) = &self.part else {
            return Ok(subject);
        };
        let text = subject.text();
        match pattern::extract(&text, part) {
            Some(found) => Ok(Subject::Part(found.to_owned())),
            None => Err(format!(
                "nothing in the output {} matches {}, from which the answer is taken",
                quote(&text),
                quote(part.as_str())
            )),
        }
    }

    /// Scores a completed run. Of a metric that is code only what needs no asking is said here.
    pub(super) fn mark(&self, case: &Case, run: &RunRecord) -> Result<Mark, ScoreError> {
        let expected = self.expected(case)?;
        let subject = match self.subject(run) {
            Ok(subject) => subject,
            Err(why) => {
                self.check(case)?;
                return Ok(Mark::wrong(why));
            }
        };
        let marked = match (&self.test, expected) {
            (Test::Regex(regex), _) => Ok(pattern::matches(&subject.text(), regex)),
            (Test::JsonSchema(schema), _) => Ok(subject
                .json()
                .map_or_else(Mark::wrong, |value| json_schema(&value, schema))),
            // code was asked before; every other test has a key, and a case without it was refused above
            (Test::Python(_), _) | (_, None) => Ok(Mark::wrong("there is nothing to compare with")),
            (Test::ExactMatch { ignore_case }, Some(expected)) => {
                answers(expected).map(|wanted| exact_match(&subject.text(), &wanted, *ignore_case))
            }
            (Test::NormalizedExactMatch, Some(expected)) => {
                answers(expected).map(|wanted| normalized_exact_match(&subject.text(), &wanted))
            }
            (Test::F1, Some(expected)) => {
                answers(expected).map(|wanted| f1(&subject.text(), &wanted))
            }
            (Test::Contains { ignore_case }, Some(expected)) => parts_to_find(expected)
                .map(|wanted| contains(&subject.text(), &wanted, *ignore_case)),
            (Test::Numeric(tolerance), Some(expected)) => expected_numbers(expected)
                .map(|wanted| numeric(&subject.text(), &wanted, *tolerance)),
            (Test::Choice(reader), Some(expected)) => choices_named(expected, reader)
                .map(|wanted| choice(&subject.text(), &wanted, reader)),
            (
                Test::JsonField {
                    path,
                    ignore_case,
                    tolerance,
                },
                Some(expected),
            ) => Ok(subject.json().map_or_else(Mark::wrong, |value| {
                json_field(&value, path, expected, *ignore_case, *tolerance)
            })),
            (Test::Set(metric), Some(expected)) => expected_members(expected)
                .map(|wanted| score_set(&subject.members(), &wanted, *metric)),
        };
        marked.map_err(|problem| self.unusable(case, problem))
    }

    fn expected<'c>(&self, case: &'c Case) -> Result<Option<&'c Value>, ScoreError> {
        let Some(key) = &self.expected else {
            return Ok(None);
        };
        match case.expected.get(key) {
            // null is a right answer for a field of JSON, and the lack of one elsewhere
            Some(Value::Null) if !matches!(self.test, Test::JsonField { .. }) => None,
            other => other,
        }
        .map(Some)
        .ok_or_else(|| ScoreError::ExpectedMissing {
            case: case.case_id.clone(),
            key: key.clone(),
            metric: self.name.clone(),
        })
    }

    fn unusable(&self, case: &Case, problem: String) -> ScoreError {
        ScoreError::ExpectedUnusable {
            case: case.case_id.clone(),
            key: self.expected.clone().unwrap_or_default(),
            metric: self.name.clone(),
            problem,
        }
    }
}

/// The right answers of `contains`; an empty one would be in every output.
fn parts_to_find(expected: &Value) -> Result<Vec<std::borrow::Cow<'_, str>>, String> {
    let wanted = answers(expected)?;
    if wanted.iter().any(|text| text.trim().is_empty()) {
        return Err("an empty text is in every output".to_owned());
    }
    Ok(wanted)
}

/// The right answers of `choice`, each of which must be a choice.
fn choices_named<'v>(
    expected: &'v Value,
    reader: &ChoiceReader,
) -> Result<Vec<std::borrow::Cow<'v, str>>, String> {
    let wanted = answers(expected)?;
    let strange: Vec<&str> = wanted
        .iter()
        .map(|text| &**text)
        .filter(|text| reader.index(text).is_none())
        .collect();
    if strange.is_empty() {
        Ok(wanted)
    } else {
        Err(format!("{} is none of `choices`", quote_list(strange)))
    }
}
