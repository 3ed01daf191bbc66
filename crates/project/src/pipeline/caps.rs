//! What one case can cost at most, and whether the project's caps allow it.

use fapo_domain::model::pipeline::StepSpec;
use fapo_domain::model::project::LimitsSpec;
use fapo_domain::problem::Problems;

use super::{PlannedStep, shown};
use crate::problems::{ProblemExt, error};

/// Worst case of one case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Worst {
    pub calls: u64,
    pub documents: u64,
}

impl Worst {
    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            documents: self.documents.saturating_add(other.documents),
        }
    }

    fn times(self, n: u64) -> Self {
        Self {
            calls: self.calls.saturating_mul(n),
            documents: self.documents.saturating_mul(n),
        }
    }
}

/// Over a list of steps.
pub(super) fn worst(steps: &[PlannedStep]) -> Worst {
    steps
        .iter()
        .fold(Worst::default(), |sum, step| sum.plus(one(step)))
}

fn one(step: &PlannedStep) -> Worst {
    match &step.spec {
        StepSpec::Llm(_) => Worst {
            calls: 1,
            documents: 0,
        },
        StepSpec::Retrieve(step) => Worst {
            calls: 0,
            documents: u64::from(step.k),
        },
        StepSpec::Template(_) | StepSpec::Python(_) => Worst::default(),
        StepSpec::Sample(spec) => {
            let n = u64::from(spec.n);
            step.sample
                .as_deref()
                .map_or_else(Worst::default, |inside| {
                    let check = inside.check.as_deref().map(one).unwrap_or_default();
                    let merge = inside.merge.as_deref().map(one).unwrap_or_default();
                    worst(&inside.steps).plus(check).times(n).plus(merge)
                })
        }
    }
}

/// Refuses what cannot stay within the caps.
pub(super) fn check(worst: Worst, limits: &LimitsSpec, problems: &mut Problems) {
    let file = shown(super::PIPELINE_FILE);
    if worst.calls > u64::from(limits.model_calls) {
        problems.push(
            error(
                "cap-model-calls",
                &file,
                format!(
                    "a case can make {} model calls, and `limits.model_calls` allows {}",
                    worst.calls, limits.model_calls
                ),
            )
            .help("use fewer steps or samples, or raise `limits.model_calls` in fapo.yaml"),
        );
    }
    if let Some(limit) = limits.documents
        && worst.documents > u64::from(limit)
    {
        problems.push(
            error(
                "cap-documents",
                &file,
                format!(
                    "a case can retrieve {} documents, and `limits.documents` allows {limit}",
                    worst.documents
                ),
            )
            .help("lower `k`, or raise `limits.documents` in fapo.yaml"),
        );
    }
}
