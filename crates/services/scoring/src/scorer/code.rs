//! A metric that is the project's own code: what it is given, and what is made of its answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::case::Case;
use fapo_domain::model::project::MetricOptions;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::code::{CodeError, CodeRunner, CodeUnit};
use fapo_domain::text::one_line;
use serde_json::{Map, Value, json};

use super::{Code, ScoreError};
use crate::metrics::{Mark, kind};
use crate::subject::Subject;

/// Limits of one call, where the project names none.
const TIMEOUT_S: u32 = 10;
const MEMORY_MB: u32 = 512;
/// Most parts of a breakdown, and the longest name of one.
const PARTS: usize = 20;
const PART_NAME: usize = 60;
/// Longest feedback and reason kept, in characters.
const WORDS: usize = 500;

/// A function of the project's, ready to be asked.
#[derive(Debug)]
pub(super) struct PythonMetric {
    unit: Arc<CodeUnit>,
    time: Duration,
}

/// What code said of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// A mark, and the parts of its breakdown.
    Mark(Mark, BTreeMap<String, f64>),
    /// Nothing that can be used: why.
    Failed(String),
}

impl PythonMetric {
    pub(super) fn new(options: &MetricOptions, code: &Code) -> Result<Self, String> {
        let file = options
            .file
            .as_deref()
            .ok_or("`file` is missing: name the code, such as scorers/own.py")?;
        if !code.contains_key(file) {
            return Err(format!("there is no file {file}"));
        }
        let files = code
            .iter()
            .map(|(path, text)| (path.clone(), Arc::from(text.as_bytes())))
            .collect();
        let function = options.function.as_deref().unwrap_or("score");
        let memory = u64::from(options.memory_mb.unwrap_or(MEMORY_MB)) << 20;
        Ok(Self {
            unit: Arc::new(CodeUnit::new(file, function, files, memory)),
            time: Duration::from_secs(u64::from(options.timeout_s.unwrap_or(TIMEOUT_S))),
        })
    }

    /// Asks about one run. `name` is the metric's.
    pub(super) async fn ask(
        &self,
        name: &str,
        case: &Case,
        run: &RunRecord,
        subject: &Subject<'_>,
        workers: &dyn CodeRunner,
    ) -> Result<Said, ScoreError> {
        let question = question(case, run, subject);
        Ok(match workers.call(&self.unit, &question, self.time).await {
            Ok(reply) => read(name, reply.output).unwrap_or_else(|problem| {
                let unit = &self.unit;
                Said::Failed(format!("{}: `{}` {problem}", unit.file, unit.function))
            }),
            Err(error @ CodeError::Unavailable { .. }) => return Err(ScoreError::NoWorkers(error)),
            Err(
                error @ (CodeError::Failed { .. }
                | CodeError::Died { .. }
                | CodeError::TimedOut { .. }),
            ) => Said::Failed(one_line(&error.to_string(), WORDS)),
        })
    }
}

/// The one argument of a scoring function.
fn question(case: &Case, run: &RunRecord, subject: &Subject<'_>) -> Value {
    let steps: Map<String, Value> =
        run.steps
            .iter()
            .map(|record| {
                let seen = record.output.as_ref().map_or(Value::Null, |output| {
                json!({ "text": output.text, "json": output.json, "docs": output.docs })
            });
                (record.step.as_str().to_owned(), seen)
            })
            .collect();
    json!({
        "case": {
            "case_id": case.case_id,
            "input": case.input,
            "expected": case.expected,
            "metadata": case.metadata,
        },
        "output": subject.text(),
        "json": subject.json().ok(),
        "steps": steps,
    })
}

/// A mark of what a function returned; the error says what it must return.
fn read(name: &str, returned: Value) -> Result<Said, String> {
    let mut fields = match returned {
        Value::Object(fields) => fields,
        plain => Map::from_iter([("score".to_owned(), plain)]),
    };
    let score = fields
        .get("score")
        .ok_or("returned a dict without `score`")?;
    let value = share(score).map_err(|problem| format!("returned {problem} as the score"))?;
    let feedback = match fields.shift_remove("feedback") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => one_line(&text, WORDS),
        Some(other) => return Err(format!("returned {} as `feedback`", kind(&other))),
    };
    let mut parts = BTreeMap::new();
    match fields.shift_remove("breakdown") {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) => {
            if given.len() > PARTS {
                return Err(format!("returned a breakdown of more than {PARTS} parts"));
            }
            for (part, value) in given {
                let value = share(&value)
                    .map_err(|problem| format!("returned {problem} as `breakdown[{part:?}]`"))?;
                if part.is_empty() || part.chars().count() > PART_NAME {
                    return Err(format!(
                        "returned a part of the breakdown whose name is not of 1 to {PART_NAME} characters"
                    ));
                }
                parts.insert(part, value);
            }
        }
        Some(other) => return Err(format!("returned {} as `breakdown`", kind(&other))),
    }
    let mark = Mark::partial(value, || {
        if feedback.is_empty() {
            format!("{name} gave {value}")
        } else {
            feedback
        }
    });
    Ok(Said::Mark(mark, parts))
}

/// A number from 0 to 1, or a truth value.
fn share(value: &Value) -> Result<f64, String> {
    match value {
        Value::Bool(truth) => Ok(f64::from(u8::from(*truth))),
        Value::Number(number) => number
            .as_f64()
            .filter(|value| (0.0..=1.0).contains(value))
            .ok_or_else(|| format!("{number}, which is not between 0 and 1,")),
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("{}, and not a number,", kind(value)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(returned: Value) -> (f64, String, Vec<(String, f64)>) {
        match read("own", returned).unwrap() {
            Said::Mark(mark, parts) => (mark.value, mark.feedback, parts.into_iter().collect()),
            Said::Failed(why) => panic!("{why}"),
        }
    }

    #[test]
    fn a_number_is_a_score_and_a_dict_may_say_more() {
        assert_eq!(mark(json!(0.5)), (0.5, "own gave 0.5".to_owned(), vec![]));
        assert_eq!(mark(json!(true)), (1.0, String::new(), vec![]));
        let said =
            json!({"score": 0, "feedback": "too\n long", "breakdown": {"form": 1, "fact": 0.25}});
        let parts = vec![("fact".to_owned(), 0.25), ("form".to_owned(), 1.0)];
        assert_eq!(mark(said), (0.0, "too long".to_owned(), parts));
        let full = json!({"score": 1, "feedback": "fine"});
        assert_eq!(mark(full).1, "", "a full score has nothing to mend");
    }

    #[test]
    fn what_is_no_score_is_refused_with_what_it_was() {
        for (returned, said) in [
            (json!(1.5), "1.5, which is not between 0 and 1"),
            (json!(-0.1), "not between 0 and 1"),
            (json!(null), "null, and not a number"),
            (json!("1"), "a text, and not a number"),
            (json!({"points": 1}), "without `score`"),
            (json!({"score": 1, "feedback": 3}), "`feedback`"),
            (json!({"score": 1, "breakdown": [1]}), "`breakdown`"),
            (
                json!({"score": 1, "breakdown": {"a": 2}}),
                "`breakdown[\"a\"]`",
            ),
            (
                json!({"score": 1, "breakdown": {"": 1}}),
                "1 to 60 characters",
            ),
        ] {
            let problem = read("own", returned).unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
        let many: Map<String, Value> = (0..21).map(|at| (at.to_string(), json!(1))).collect();
        assert!(read("own", json!({"score": 1, "breakdown": many})).is_err());
    }
}
