//! A world, validated: regular expressions compiled, texts normalized, cross references checked.

use std::fmt;

use regex::Regex;
use serde_json::Value;

use crate::faults::Fault;
use crate::file::{Case, FormFile, LabelsFile, StyleFile, WorldFile};
use crate::text::normalize;

/// Why a world file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// Not JSON, or not of the world format; the source names line and column.
    #[error("the world file cannot be read")]
    Syntax(#[from] serde_json::Error),
    /// Readable, but wrong: all problems, each with its key path.
    #[error("the world file has {} problem(s): {}", .0.len(), .0.join("; "))]
    Invalid(Vec<String>),
}

/// What the simulated model knows and how it behaves.
pub struct World {
    pub(crate) model: Option<String>,
    pub(crate) seed: u64,
    pub(crate) latency_ms: u64,
    pub(crate) echo: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) labels: Option<Labels>,
    pub(crate) form: Form,
    pub(crate) directives: Vec<Directive>,
    pub(crate) queries: Option<Regex>,
    pub(crate) summaries: Option<(Regex, String)>,
    pub(crate) scripted: Vec<Scripted>,
    pub(crate) default_answer: String,
    pub(crate) noise: Option<(f64, f64)>,
    pub(crate) faults: Vec<Fault>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("model", &self.model)
            .field("facts", &self.facts.len())
            .field("directives", &self.directives.len())
            .field("scripted", &self.scripted.len())
            .field("faults", &self.faults.len())
            .finish_non_exhaustive()
    }
}

pub(crate) struct Fact {
    /// Normalized.
    pub(crate) question: String,
    pub(crate) question_text: String,
    /// Normalized, with the text as written.
    pub(crate) needs: Vec<(String, String)>,
    pub(crate) requires: Vec<String>,
    pub(crate) answer: String,
    pub(crate) bridges: Vec<String>,
    pub(crate) distractor: String,
}

pub(crate) struct Labels {
    pub(crate) subject: Regex,
    pub(crate) classes: Vec<LabelClass>,
    pub(crate) otherwise: String,
}

pub(crate) struct LabelClass {
    pub(crate) name: String,
    /// Normalized.
    pub(crate) cues: Vec<String>,
    pub(crate) fuzzy: Option<String>,
    pub(crate) confusion: Option<(String, Option<Regex>)>,
}

/// The wording of one answer.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) style: String,
    pub(crate) case: Case,
    pub(crate) reasoning: u32,
    pub(crate) json: Option<String>,
}

pub(crate) struct Directive {
    pub(crate) when: Regex,
    pub(crate) then: FormFile,
}

pub(crate) struct Scripted {
    pub(crate) when: Regex,
    pub(crate) reply: String,
    pub(crate) once: bool,
}

/// Collects problems with their places.
pub(crate) struct Checker(Vec<String>);

impl Checker {
    pub(crate) fn problem(&mut self, place: &str, what: impl fmt::Display) {
        self.0.push(format!("{place}: {what}"));
    }

    pub(crate) fn regex(&mut self, place: &str, pattern: &str) -> Option<Regex> {
        match Regex::new(pattern) {
            Ok(regex) => Some(regex),
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default();
                self.problem(place, format_args!("not a regular expression: {reason}"));
                None
            }
        }
    }

    pub(crate) fn share(&mut self, place: &str, value: f64) {
        if !(0.0..=1.0).contains(&value) {
            self.problem(place, format_args!("must be between 0 and 1, not {value}"));
        }
    }

    fn style(&mut self, place: &str, style: &str) {
        if !style.contains("{answer}") {
            self.problem(place, "must hold {answer}");
        }
    }
}

impl World {
    /// Reads a world file.
    ///
    /// # Errors
    /// `Syntax` for text that is not of the format (with line and column), `Invalid` with every other problem at once.
    pub fn load(text: &str) -> Result<Self, WorldError> {
        Self::from_file(serde_json::from_str(text)?)
    }

    /// A world that answers every request with `text`, as fast as it can, without reading the request: for benchmarks.
    pub fn echo(text: impl Into<String>) -> Self {
        Self::from_file(WorldFile {
            echo: Some(text.into()),
            ..WorldFile::default()
        })
        .expect("a world of nothing but an echo breaks no rule")
    }

    /// Validates a world.
    ///
    /// # Errors
    /// `Invalid` with all problems.
    pub fn from_file(file: WorldFile) -> Result<Self, WorldError> {
        let mut check = Checker(Vec::new());
        let flags: Vec<&str> = file
            .directives
            .iter()
            .filter_map(|directive| directive.then.flag.as_deref())
            .collect();
        for (index, fact) in file.facts.iter().enumerate() {
            let place = format!("facts[{index}]");
            if normalize(&fact.question).trim().is_empty() {
                check.problem(&format!("{place}.question"), "is empty");
            }
            for flag in &fact.requires {
                if !flags.contains(&flag.as_str()) {
                    check.problem(
                        &format!("{place}.requires"),
                        format_args!("no directive raises the flag `{flag}`"),
                    );
                }
            }
        }
        let facts = file
            .facts
            .into_iter()
            .map(|fact| Fact {
                question: normalize(&fact.question),
                question_text: fact.question,
                needs: fact
                    .needs
                    .into_iter()
                    .map(|text| (normalize(&text), text))
                    .collect(),
                requires: fact.requires,
                answer: fact.answer,
                bridges: fact.bridge.into_vec(),
                distractor: fact.distractor,
            })
            .collect();
        let labels = file
            .labels
            .and_then(|labels| read_labels(labels, &mut check));
        let form = read_style(file.style, &mut check);
        let directives = file
            .directives
            .into_iter()
            .enumerate()
            .filter_map(|(index, directive)| {
                let place = format!("directives[{index}]");
                if let Some(style) = &directive.then.style {
                    check.style(&format!("{place}.then.style"), style);
                }
                Some(Directive {
                    when: check.regex(&format!("{place}.when"), &directive.when)?,
                    then: directive.then,
                })
            })
            .collect();
        let queries = file
            .queries
            .and_then(|queries| check.regex("queries.when", &queries.when));
        let summaries = file.summaries.and_then(|summaries| {
            let when = check.regex("summaries.when", &summaries.when)?;
            let otherwise = summaries
                .otherwise
                .unwrap_or_else(|| "The passages do not say.".to_owned());
            Some((when, otherwise))
        });
        let scripted = file
            .scripted
            .into_iter()
            .enumerate()
            .filter_map(|(index, scripted)| {
                Some(Scripted {
                    when: check.regex(&format!("scripted[{index}].when"), &scripted.when)?,
                    reply: match scripted.reply {
                        Value::String(text) => text,
                        value => value.to_string(),
                    },
                    once: scripted.once,
                })
            })
            .collect();
        let noise = file.noise.map(|noise| {
            check.share("noise.rate", noise.rate);
            (noise.rate, noise.default_temperature)
        });
        let faults = file
            .faults
            .into_iter()
            .enumerate()
            .filter_map(|(index, fault)| Fault::read(index, fault, &mut check))
            .collect();
        if !check.0.is_empty() {
            return Err(WorldError::Invalid(check.0));
        }
        Ok(Self {
            model: file.model,
            seed: file.seed,
            latency_ms: file.latency_ms,
            echo: file.echo,
            api_key: file.api_key,
            facts,
            labels,
            form,
            directives,
            queries,
            summaries,
            scripted,
            default_answer: file.default_answer.unwrap_or_else(|| "unknown".to_owned()),
            noise,
            faults,
        })
    }
}

fn read_style(style: StyleFile, check: &mut Checker) -> Form {
    let form = match style {
        StyleFile::Template(style) => FormFile {
            style: Some(style),
            ..FormFile::default()
        },
        StyleFile::Form(form) => form,
    };
    if let Some(style) = &form.style {
        check.style("style", style);
    }
    if form.flag.is_some() {
        check.problem("style.flag", "only directives raise flags");
    }
    Form {
        style: form.style.unwrap_or_else(|| "{answer}".to_owned()),
        case: form.case.unwrap_or(Case::Keep),
        reasoning: form.reasoning.unwrap_or(0),
        json: form.json,
    }
}

fn read_labels(labels: LabelsFile, check: &mut Checker) -> Option<Labels> {
    let subject = check.regex("labels.subject", &labels.subject);
    if subject
        .as_ref()
        .is_some_and(|regex| regex.captures_len() < 2)
    {
        check.problem(
            "labels.subject",
            "needs a group around the text to classify",
        );
    }
    let names: Vec<String> = labels
        .classes
        .iter()
        .map(|class| class.name.clone())
        .collect();
    let classes = labels
        .classes
        .into_iter()
        .enumerate()
        .map(|(index, class)| {
            let place = format!("labels.classes[{index}]");
            if class
                .cues
                .iter()
                .all(|cue| normalize(cue).trim().is_empty())
            {
                check.problem(&format!("{place}.cues"), "no cue can match");
            }
            let unless = class
                .unless
                .and_then(|pattern| check.regex(&format!("{place}.unless"), &pattern));
            if unless.is_some() && class.confused_with.is_none() {
                check.problem(&format!("{place}.unless"), "needs `confused_with`");
            }
            if let Some(other) = &class.confused_with
                && !names.contains(other)
            {
                check.problem(
                    &format!("{place}.confused_with"),
                    format_args!("no class is called `{other}`"),
                );
            }
            LabelClass {
                name: class.name,
                cues: class.cues.iter().map(|cue| normalize(cue)).collect(),
                fuzzy: class.fuzzy,
                confusion: class.confused_with.map(|other| (other, unless)),
            }
        })
        .collect();
    Some(Labels {
        subject: subject?,
        classes,
        otherwise: labels.otherwise.unwrap_or_else(|| "unknown".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_errors_name_line_and_column() {
        let error = World::load("{\n  \"facts\": [ { \"question\": 1 } ]\n}").unwrap_err();
        let WorldError::Syntax(source) = error else {
            panic!("{error}")
        };
        assert!(source.to_string().contains("line 2"), "{source}");
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error = World::load(r#"{"fact": []}"#).unwrap_err();
        let WorldError::Syntax(source) = error else {
            panic!("{error}")
        };
        assert!(
            source.to_string().contains("unknown field `fact`"),
            "{source}"
        );
    }

    #[test]
    fn all_problems_are_reported_with_their_places() {
        let error = World::load(
            r#"{
                "facts": [{"question": "?", "answer": "x", "requires": ["careful"]}],
                "style": "no answer here",
                "directives": [{"when": "(", "then": {}}],
                "labels": {"subject": "x", "classes": [{"name": "A", "cues": [], "confused_with": "Z"}]},
                "noise": {"rate": 2},
                "faults": [{"fault": {"kind": "refusal"}}, {"every": 0, "fault": {"kind": "disconnect"}}]
            }"#,
        )
        .unwrap_err();
        let WorldError::Invalid(problems) = error else {
            panic!("{error}")
        };
        for place in [
            "facts[0].question",
            "facts[0].requires",
            "style",
            "directives[0].when",
            "labels.subject",
            "labels.classes[0].cues",
            "labels.classes[0].confused_with",
            "noise.rate",
            "faults[0]",
            "faults[1]",
        ] {
            assert!(
                problems
                    .iter()
                    .any(|problem| problem.starts_with(&format!("{place}:"))),
                "{place} missing in {problems:#?}"
            );
        }
    }
}
