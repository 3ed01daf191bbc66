//! Checks of the smaller parts of `fapo.yaml`: limits, budget, proposer, diagnosis.

use fapo_domain::model::project::{ProjectSpec, ProposerBackend};

use super::Check;
use super::scope::model;
use crate::yaml::item;

/// Anything above nothing.
const SOME: f64 = f64::MIN_POSITIVE;

pub(super) fn check(spec: &ProjectSpec, check: &mut Check<'_>) {
    let limits = &spec.limits;
    check.within(
        "limits.model_calls",
        Some(f64::from(limits.model_calls)),
        1.0,
        f64::MAX,
    );
    check.within(
        "limits.seconds",
        Some(f64::from(limits.seconds)),
        1.0,
        f64::MAX,
    );
    positive("limits.usd", limits.usd, check);
    #[expect(
        clippy::cast_precision_loss,
        reason = "only whether it is nothing is looked at"
    )]
    let tokens = limits.tokens.map(|tokens| tokens as f64);
    positive("limits.tokens", tokens, check);
    positive("budget.usd", spec.budget.usd, check);
    positive("budget.hours", spec.budget.hours, check);
    if spec.budget.model_calls == Some(0) {
        positive("budget.model_calls", Some(0.0), check);
    }
    positive(
        "objective.subject_to.cost_ratio",
        spec.objective.subject_to.cost_ratio,
        check,
    );
    positive(
        "objective.subject_to.latency_p95_s",
        spec.objective.subject_to.latency_p95_s,
        check,
    );
    for (position, file) in spec.objective.protect.iter().enumerate() {
        if file.trim().is_empty() {
            let path = item("objective.protect", position);
            check.error("empty", &path, "the file's name is empty", "");
        }
    }
    proposer(spec, check);
    let diagnosis = &spec.diagnosis;
    check.within(
        "diagnosis.failure_below",
        Some(diagnosis.failure_below),
        SOME,
        1.0,
    );
    check.within("diagnosis.overlap", Some(diagnosis.overlap), 0.0, 1.0);
    check.within(
        "diagnosis.buried_ratio",
        Some(diagnosis.buried_ratio),
        1.0,
        f64::MAX,
    );
}

fn positive(path: &str, value: Option<f64>, check: &mut Check<'_>) {
    if let Some(value) = value
        && value <= 0.0
    {
        check.error(
            "out-of-range",
            path,
            format!("{value} leaves room for nothing"),
            "give it a value above 0, or remove the key for no cap",
        );
    }
}

fn proposer(spec: &ProjectSpec, check: &mut Check<'_>) {
    let proposer = &spec.proposer;
    let backend = proposer.backend;
    if let Some(name) = &proposer.model {
        // a coding agent knows models by name, too
        if !backend.is_agent() {
            model(spec, name, "proposer.model", check);
        }
        if matches!(
            backend,
            ProposerBackend::Catalogue | ProposerBackend::Replay
        ) {
            check.warning(
                "ignored-key",
                "proposer.model",
                "`model` is only used by `reflect`, `claude-code` and `codex`",
                "remove it, or change the backend",
            );
        }
    }
    if backend.is_agent() {
        let (entry, agent) = spec.agent_model(backend, proposer.model.as_deref());
        let wanted = backend.provider();
        if agent.provider != wanted {
            check.error(
                "wrong-provider",
                "proposer.model",
                format!(
                    "`{}` speaks to `provider: {}`, and the entry `{entry}` has another",
                    backend.as_str(),
                    wanted.as_str()
                ),
                "name another entry of `models`, or a model of that provider",
            );
        }
    }
    match (&proposer.recording, proposer.backend) {
        (None, ProposerBackend::Replay) => check.error(
            "missing-key",
            "proposer",
            "`backend: replay` needs a `recording`",
            "name the file of recorded proposals",
        ),
        (None, _) | (Some(_), ProposerBackend::Replay) => {}
        (Some(_), _) => check.warning(
            "ignored-key",
            "proposer.recording",
            "`recording` is only used by `backend: replay`",
            "remove it, or change the backend",
        ),
    }
}
