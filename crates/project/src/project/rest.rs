//! Checks of the smaller parts of `fapo.yaml`: limits, budget, proposer, reviewer, diagnosis.

use fapo_domain::model::project::{
    ProjectSpec, ProposerBackend, ReaderBackend, ReaderSpec, ReviewerBackend, ReviewerSpec,
};

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
    reviewer(spec, check);
    reader(spec, check);
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
        provider_fits(
            spec,
            backend,
            proposer.model.as_deref(),
            "proposer.model",
            check,
        );
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

/// A coding agent speaks one protocol.
fn provider_fits(
    spec: &ProjectSpec,
    backend: ProposerBackend,
    named: Option<&str>,
    path: &str,
    check: &mut Check<'_>,
) {
    let (entry, agent) = spec.agent_model(backend, named);
    let wanted = backend.provider();
    if agent.provider != wanted {
        check.error(
            "wrong-provider",
            path,
            format!(
                "`{}` speaks to `provider: {}`, and the entry `{entry}` has another",
                backend.as_str(),
                wanted.as_str()
            ),
            "name another entry of `models`, or a model of that provider",
        );
    }
}

fn reviewer(spec: &ProjectSpec, check: &mut Check<'_>) {
    let reviewer = &spec.reviewer;
    let backend = spec.reviewer_backend();
    let agent = backend.agent();
    if let Some(agent) = agent {
        provider_fits(
            spec,
            agent,
            spec.reviewing_agent_model(agent),
            "reviewer.model",
            check,
        );
    }
    if let Some(name) = &reviewer.model {
        if agent.is_none() {
            model(spec, name, "reviewer.model", check);
        }
        if backend == ReviewerBackend::None {
            check.warning(
                "ignored-key",
                "reviewer.model",
                "nobody reviews: the backend is `none`, or `auto` beside a proposer that needs no reviewer",
                "remove it, or write `backend: model`",
            );
        }
    }
    if !matches!(
        backend,
        ReviewerBackend::ClaudeCode | ReviewerBackend::Codex
    ) {
        let defaults = ReviewerSpec::default();
        let bounds = [
            ("turns", reviewer.turns != defaults.turns),
            (
                "minutes",
                reviewer.minutes.to_bits() != defaults.minutes.to_bits(),
            ),
            ("usd", reviewer.usd.is_some()),
        ];
        for (key, _) in bounds.into_iter().filter(|(_, is_set)| *is_set) {
            check.warning(
                "ignored-key",
                &format!("reviewer.{key}"),
                format!("`{key}` is only used by agents"),
                "remove it, or change the backend",
            );
        }
    }
    positive("reviewer.usd", reviewer.usd, check);
}

fn reader(spec: &ProjectSpec, check: &mut Check<'_>) {
    let reader = &spec.diagnosis.reader;
    let agent = reader.backend.agent();
    if let Some(agent) = agent {
        let named = spec.reading_agent_model(agent);
        provider_fits(spec, agent, named, "diagnosis.reader.model", check);
        if reader.cases > ReaderSpec::MOST_OF_A_SESSION {
            check.error(
                "out-of-range",
                "diagnosis.reader.cases",
                format!(
                    "{} failures are more than one session of an agent can hold, which is {}",
                    reader.cases,
                    ReaderSpec::MOST_OF_A_SESSION
                ),
                "lower it, or write `backend: model`",
            );
        }
    }
    if let Some(name) = &reader.model {
        // a coding agent knows models by name, too
        if agent.is_none() {
            model(spec, name, "diagnosis.reader.model", check);
        }
        if reader.backend == ReaderBackend::None {
            check.warning(
                "ignored-key",
                "diagnosis.reader.model",
                "`model` is only used by `model`, `claude-code` and `codex`",
                "remove it, or change the backend",
            );
        }
    }
}
