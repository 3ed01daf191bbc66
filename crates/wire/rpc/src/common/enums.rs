//! Enumerations. A message's zero value is `UNSPECIFIED`: the field was not given.

use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{GateOutcome, LevelLeft, Refuser, StopReason};
use fapo_domain::model::evaluation::CacheUse;
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::level::Level;
use fapo_domain::model::score::ScoreStatus;
use fapo_domain::model::trace::{FinishReason, RunStatus, StepStatus};
use fapo_domain::money::SpendRole;
use fapo_domain::ports::optimizer::ReportFormat;
use fapo_domain::problem::Severity;
use fapo_proto::common::v1 as pb;
use fapo_proto::optimizer::v1 as opb;

use crate::read::{Invalid, Read};

/// An enumeration of the domain that has a twin among the messages.
pub(crate) trait Enumerated: Sized {
    /// The value of a field; `None` where it was not given.
    fn read(value: i32) -> Result<Option<Self>, ()>;
    /// The value, as it is sent.
    fn wire(self) -> i32;
}

macro_rules! twins {
    ($($domain:ident = $wire:path { $($name:ident),+ $(,)? })+) => {
        $(impl Enumerated for $domain {
            fn read(value: i32) -> Result<Option<Self>, ()> {
                use $wire as Wire;
                match Wire::try_from(value) {
                    Ok(Wire::Unspecified) => Ok(None),
                    $(Ok(Wire::$name) => Ok(Some(Self::$name)),)+
                    Err(_) => Err(()),
                }
            }

            fn wire(self) -> i32 {
                use $wire as Wire;
                match self {
                    $(Self::$name => Wire::$name,)+
                }
                .into()
            }
        })+
    };
}

twins! {
    Split = pb::Split { Train, Val, Test }
    Level = pb::Level { Prompt, Parameter, Structure }
    Severity = pb::Severity { Error, Warning }
    SpendRole = pb::SpendRole { Task, Judge, Diagnosis, Proposer, Reviewer }
    RunStatus = pb::RunStatus { Completed, Failed, Missing, Refused, TimedOut }
    StepStatus = pb::StepStatus { Ok, Skipped, Failed }
    FinishReason = pb::FinishReason { Stop, Length, Refusal, ToolCall, Other }
    CacheUse = pb::CacheUse { Shared, Own }
    ScoreStatus = pb::ScoreStatus { Scored, Failed, Missing, Refused, TimedOut }
    JobStatus = opb::JobStatus { Running, Done, Failed, Cancelled }
    GateOutcome = opb::GateOutcome { Pass, Reject, Branch, Promote, Undecided }
    Refuser = opb::Refuser { Lints, Reviewer }
    LevelLeft = opb::LevelLeftReason { Resolved, Plateau, Ceiling, Exhausted }
    StopReason = opb::StopReason {
        TargetMet, BudgetSpent, LevelsExhausted, NothingToFix, Cancelled, TaskDead, NotMeasured
    }
    ReportFormat = opb::ReportFormat { Markdown, Html, Json }
}

/// A value that may be left out.
pub(crate) fn maybe_one_of<T: Enumerated>(value: i32, field: &str) -> Read<Option<T>> {
    T::read(value).map_err(|()| {
        Invalid::new(
            field,
            format!("{value} is no value of it that is known here"),
        )
    })
}

/// A value that has to be given.
pub(crate) fn one_of<T: Enumerated>(value: i32, field: &str) -> Read<T> {
    maybe_one_of(value, field)?.ok_or_else(|| Invalid::missing(field))
}

/// A value that may be absent, as it is sent.
pub(crate) fn maybe_wire<T: Enumerated>(value: Option<T>) -> i32 {
    value.map_or(0, T::wire)
}

/// A name that the domain spells in its JSON (`snake_case`), such as a technique or a rule.
pub(crate) fn spelled<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The value of such a name.
pub(crate) fn unspelled<T: serde::de::DeserializeOwned>(text: &str, field: &str) -> Read<T> {
    serde_json::from_value(text.into())
        .map_err(|_| Invalid::new(field, format!("{text:?} is no name that is known here")))
}
