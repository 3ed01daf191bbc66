//! What traces and metrics say about diagnosis, proposals, reviews and agents.

use std::time::Duration;

use fapo_domain::measure;
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::finding::Finding;
use fapo_domain::model::job::Proposed;
use fapo_domain::model::session::SessionEnd;
use fapo_domain::model::task::{ClaimedTask, ProposeTask, ReviewTask};
use fapo_domain::ports::agents::{AgentError, AgentRequest, AgentTurn};
use fapo_domain::telemetry as names;
use serde_json::json;
use tracing::Span;
use tracing::field::Empty;

/// The span of attributing one evaluation.
pub(crate) fn attribute(task: &ClaimedTask, evaluation: &EvaluationSpec) -> Span {
    tracing::info_span!(
        "attribute",
        { names::JOB_ID } = %task.job,
        { names::EVALUATION_ID } = %evaluation.id(),
        { names::OPENINFERENCE_KIND } = names::KIND_EVALUATOR,
    )
}

/// Counts what was found.
pub(crate) fn attributed(findings: &[Finding]) {
    for finding in findings {
        measure!(
            monotonic_counter.fapo_findings_total = 1_u64,
            level = finding.level.as_str()
        );
    }
}

/// The span of asking for one proposal.
pub(crate) fn propose(task: &ClaimedTask, propose: &ProposeTask) -> Span {
    tracing::info_span!(
        "propose",
        { names::JOB_ID } = %task.job,
        iteration = propose.iteration,
        slot = propose.slot,
        level = propose.level.as_str(),
        { names::STATUS } = Empty,
        { names::COST_USD } = Empty,
        { names::OPENINFERENCE_KIND } = names::KIND_CHAIN,
    )
}

/// Notes what came of it, on the span in which it was asked for.
pub(crate) fn proposed(backend: &'static str, proposed: &Proposed) {
    let span = Span::current();
    let (outcome, spend) = match proposed {
        Proposed::Variant { spend, .. } => ("variant", spend),
        Proposed::NoIdea { spend, .. } => ("no_idea", spend),
        Proposed::Unusable { spend, .. } => ("unusable", spend),
    };
    span.record(names::STATUS, outcome);
    span.record(names::COST_USD, spend.cost.usd());
    measure!(
        monotonic_counter.fapo_proposals_total = 1_u64,
        backend,
        outcome
    );
}

/// The span of checking and reviewing one candidate.
pub(crate) fn review(task: &ClaimedTask, review: &ReviewTask) -> Span {
    tracing::info_span!(
        "review",
        { names::JOB_ID } = %task.job,
        iteration = review.iteration,
        slot = review.slot,
        { names::OPENINFERENCE_KIND } = names::KIND_EVALUATOR,
    )
}

/// The span of one prompt given to an agent. What it is told is there only where content is switched on.
pub(crate) fn invoke(program: &'static str, request: &AgentRequest, text: &str) -> Span {
    let span = tracing::info_span!(
        target: names::SPANS,
        names::INVOKE_AGENT,
        otel.name = %format_args!("invoke_agent {program}"),
        otel.status_code = Empty,
        { names::GEN_AI_OPERATION } = names::INVOKE_AGENT,
        { names::GEN_AI_PROVIDER } = request.model.provider.as_str(),
        { names::GEN_AI_AGENT_NAME } = program,
        { names::GEN_AI_CONVERSATION_ID } = %request.id,
        { names::GEN_AI_REQUEST_MODEL } = request.model.model.as_str(),
        { names::GEN_AI_INPUT_MESSAGES } = Empty,
        { names::GEN_AI_OUTPUT_MESSAGES } = Empty,
        { names::INPUT_VALUE } = Empty,
        { names::OUTPUT_VALUE } = Empty,
        { names::ERROR_TYPE } = Empty,
        { names::JOB_ID } = %request.job,
        { names::SPEND_ROLE } = request.role.as_str(),
        { names::COST_USD } = Empty,
        { names::STATUS } = Empty,
        { names::OPENINFERENCE_KIND } = names::KIND_AGENT,
    );
    if !span.is_disabled() && names::content_is_on() {
        let messages = json!([{ "role": "user", "parts": [{ "type": "text", "content": text }] }]);
        span.record(names::GEN_AI_INPUT_MESSAGES, messages.to_string().as_str());
        span.record(names::INPUT_VALUE, text);
    }
    span
}

/// Notes how a prompt ended. Its tokens are those of the model calls inside it and stand there: a receiver that adds up a trace
/// counts each once.
pub(crate) fn invoked(
    span: &Span,
    program: &'static str,
    turn: &Result<AgentTurn, AgentError>,
    took: Duration,
) {
    let outcome = match turn {
        Ok(turn) => ended(&turn.end),
        Err(_) => "error",
    };
    measure!(
        monotonic_counter.fapo_agent_sessions_total = 1_u64,
        program,
        outcome
    );
    measure!(
        histogram.fapo_agent_session_seconds = took.as_secs_f64(),
        program
    );
    if span.is_disabled() {
        return;
    }
    span.record(names::STATUS, outcome);
    let Ok(turn) = turn else {
        span.record(names::ERROR_TYPE, outcome);
        span.record("otel.status_code", "ERROR");
        return;
    };
    span.record(names::COST_USD, turn.spend.cost.usd());
    if let Some(answer) = &turn.answer
        && names::content_is_on()
    {
        let text = answer.to_string();
        let messages = json!([{
            "role": "assistant",
            "parts": [{ "type": "text", "content": text }],
            "finish_reason": "stop",
        }]);
        span.record(names::GEN_AI_OUTPUT_MESSAGES, messages.to_string().as_str());
        span.record(names::OUTPUT_VALUE, text.as_str());
    }
}

const fn ended(end: &SessionEnd) -> &'static str {
    match end {
        SessionEnd::Answered => "answered",
        SessionEnd::NoAnswer => "no_answer",
        SessionEnd::OutOfTurns => "out_of_turns",
        SessionEnd::OutOfTime => "out_of_time",
        SessionEnd::OutOfMoney => "out_of_money",
        SessionEnd::Flooded => "flooded",
        SessionEnd::Cancelled => "cancelled",
        SessionEnd::Failed { .. } => "failed",
    }
}
