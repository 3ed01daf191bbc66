//! Every metric. `docs/telemetry.md` shows the same table to people; a test holds both against the sources.

use Kind::{Counter, Gauge, Histogram};

/// How values of a metric go together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A sum that only grows, from the start of the process.
    Counter,
    /// How often values fell into each bucket; the buckets' upper bounds.
    Histogram(&'static [f64]),
    /// The last value.
    Gauge,
}

impl Kind {
    /// The prefix of its field in an event.
    pub const fn field(self) -> &'static str {
        match self {
            Counter => "monotonic_counter",
            Histogram(_) => "histogram",
            Gauge => "gauge",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name, the same in events, for Prometheus and over OTLP.
    pub name: &'static str,
    /// How values go together.
    pub kind: Kind,
    /// The unit by UCUM: `s`, `{call}`, `1`.
    pub unit: &'static str,
    /// The labels that it may carry.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
    /// The crate that measures it.
    pub crate_name: &'static str,
}

/// Seconds of commits and small answers: half a millisecond to ten seconds.
const SHORT: Kind = Histogram(&[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
]);
/// Seconds of model calls and of what is made of them: five milliseconds to twenty minutes.
const LONG: Kind = Histogram(&[
    0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0,
]);

const fn metric(
    crate_name: &'static str,
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        unit,
        labels,
        help,
        crate_name,
    }
}

/// The table.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric("fapo-llm", "fapo_model_calls_total", Counter, "{try}", &["provider", "model", "outcome"],
        "Tries of model calls, by how they ended: ok, rejected, overloaded, unavailable, cut_off, timeout, malformed, too_large."),
    metric("fapo-llm", "fapo_model_call_seconds", LONG, "s", &["provider", "model"],
        "How long successful tries took."),
    metric("fapo-llm", "fapo_model_wait_seconds", LONG, "s", &["provider", "model"],
        "How long a try waited for a slot under the provider's limits; waits below a millisecond are left out."),
    metric("fapo-llm", "fapo_model_retries_total", Counter, "{try}", &["provider", "model"],
        "Tries that were not their call's first."),
    metric("fapo-llm", "fapo_model_tokens_total", Counter, "{token}", &["provider", "model", "direction"],
        "Tokens of successful calls: input, output, and cached_input, which is part of input."),
    metric("fapo-llm", "fapo_model_cost_usd_total", Counter, "{USD}", &["role", "model"],
        "Dollars booked for model calls and agents' requests, by who spends: task, judge, diagnosis, proposer, reviewer."),
    metric("fapo-llm", "fapo_step_cache_total", Counter, "{lookup}", &["result"],
        "Metered calls by whether the step cache answered: hit, miss."),
    metric("fapo-llm", "fapo_budget_refusals_total", Counter, "{call}", &["role"],
        "Calls that were not made because a budget had no room."),
    metric("fapo-executor", "fapo_cases_total", Counter, "{case}", &["status"],
        "Cases that were run, by how they ended."),
    metric("fapo-executor", "fapo_case_seconds", LONG, "s", &[],
        "How long a case took, waits included."),
    metric("fapo-executor", "fapo_steps_total", Counter, "{step}", &["kind", "status", "cache_hit"],
        "Steps of cases, by kind and by how they ended."),
    metric("fapo-scoring", "fapo_scores_total", Counter, "{score}", &["status"],
        "Scores that were given, by status."),
    metric("fapo-scoring", "fapo_score_block_seconds", LONG, "s", &[],
        "How long scoring a block took."),
    metric("fapo-diagnosis", "fapo_findings_total", Counter, "{finding}", &["level"],
        "Failed cases that were attributed, by the level that could mend them."),
    metric("fapo-diagnosis", "fapo_proposals_total", Counter, "{proposal}", &["backend", "outcome"],
        "Proposals that were asked for: variant, no_idea, unusable."),
    metric("fapo-diagnosis", "fapo_agent_sessions_total", Counter, "{session}", &["program", "outcome"],
        "Prompts given to coding agents, by how they ended."),
    metric("fapo-diagnosis", "fapo_agent_session_seconds", LONG, "s", &["program"],
        "How long a prompt given to a coding agent took."),
    metric("fapo-sandbox", "fapo_sandbox_processes_total", Counter, "{process}", &["outcome"],
        "Untrusted processes that ended: by themselves (exited), or killed and why."),
    metric("fapo-orchestrator", "fapo_tick_seconds", SHORT, "s", &["outcome"],
        "How long a tick of a job took: ok, failed."),
    metric("fapo-orchestrator", "fapo_job_transitions_total", Counter, "{job}", &["status"],
        "Jobs that came to a status."),
    metric("fapo-orchestrator", "fapo_jobs_due", Gauge, "{job}", &[],
        "Jobs that waited for a tick when the rows were last read."),
    metric("fapo-orchestrator", "fapo_tasks_due", Gauge, "{task}", &["topic"],
        "Tasks that waited for a worker when the rows were last read, at most the reconciler's limit."),
    metric("fapo-orchestrator", "fapo_decisions_total", Counter, "{decision}", &["verdict"],
        "Decisions on candidates: promoted, or why not."),
    metric("fapo-queue", "fapo_tasks_total", Counter, "{task}", &["topic", "outcome"],
        "Claims of tasks that ended, by how."),
    metric("fapo-queue", "fapo_task_seconds", LONG, "s", &["topic", "outcome"],
        "How long a claimed task was worked on."),
    metric("fapo-queue", "fapo_task_wait_seconds", LONG, "s", &["topic"],
        "How long a task's message waited in the queue before a worker took it."),
    metric("fapo-queue", "fapo_queue_dropped_total", Counter, "{message}", &["topic"],
        "Messages that found the queue full; the rows bring them back."),
    metric("fapo", "fapo_queue_waiting", Gauge, "{message}", &["topic"],
        "Messages that wait for a worker."),
    metric("fapo", "fapo_queue_delayed", Gauge, "{message}", &["topic"],
        "Messages that wait for their time."),
    metric("fapo", "fapo_queue_delivered", Gauge, "{message}", &["topic"],
        "Messages that a worker has, or had and lost."),
    metric("fapo", "fapo_queue_oldest_seconds", Gauge, "s", &["topic"],
        "How long the message that waits longest has been waiting: the queue's lag."),
    metric("fapo-rpc", "fapo_rpc_total", Counter, "{call}", &["service", "method", "code"],
        "gRPC calls that were answered, by status code."),
    metric("fapo-rpc", "fapo_rpc_seconds", SHORT, "s", &["service", "method", "code"],
        "How long answering a gRPC call took; of a stream, until its end."),
    metric("fapo-gateway", "fapo_http_requests_total", Counter, "{request}", &["route", "method", "status"],
        "HTTP requests that were answered."),
    metric("fapo-gateway", "fapo_http_seconds", SHORT, "s", &["route", "method", "status"],
        "How long answering an HTTP request took, up to the head of the reply."),
    metric("fapo-store", "fapo_store_commit_seconds", SHORT, "s", &["store"],
        "How long one commit took, with all writes that shared it."),
];
