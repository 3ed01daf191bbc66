//! The whole set-up against a receiver of OTLP in the test's own process.

mod receiver;

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::telemetry as names;
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Instrument as _};

use self::receiver::Receiver;
use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CANARY: &str = "canary-4711";

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn config(endpoint: &str) -> TelemetryConfig {
    TelemetryConfig {
        role: "executor".to_owned(),
        instance: "node-1".to_owned(),
        otlp: Some(Otlp::new(endpoint)),
        metrics: true,
        ..TelemetryConfig::logs("info", Format::Text)
    }
}

/// Does `work` under a configuration, and gives its log lines and what is left to flush.
fn under(config: &TelemetryConfig, work: impl FnOnce(&Guard)) -> (String, Guard) {
    // with only one subscriber in the process, another test's thread could decide for this one that nobody wants a span
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(NoSubscriber::new()));
    let sink = Sink::default();
    let writer = sink.clone();
    let (subscriber, guard) = build(config, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || work(&guard));
    (sink.text(), guard)
}

/// A task that runs a case, which calls a model: as the services do it.
fn work(guard: &Guard) {
    let task = tracing::info_span!("task", { names::JOB_ID } = "job-1");
    let parent: TraceParent = PARENT.parse().unwrap();
    guard.trace_context().adopt(&task, &parent);
    let call = async {
        let span = tracing::info_span!(
            target: names::SPANS,
            "chat",
            otel.name = "chat m",
            otel.kind = "client",
            { names::GEN_AI_INPUT_TOKENS } = 12_i64,
            { names::GEN_AI_FINISH_REASONS } = "stop",
            { names::GEN_AI_INPUT_MESSAGES } = tracing::field::Empty,
        );
        if names::content_is_on() {
            span.record(names::GEN_AI_INPUT_MESSAGES, CANARY);
        }
        async { tracing::info!("a call was made") }
            .instrument(span)
            .await;
    };
    let case = async { call.instrument(tracing::debug_span!("case")).await };
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(case.instrument(task));
    fapo_domain::measure!(
        monotonic_counter.fapo_cases_total = 1_u64,
        status = "completed"
    );
}

#[test]
fn a_trace_goes_from_the_parent_through_the_task_to_the_model_call() {
    let receiver = Receiver::start();
    let (lines, guard) = under(&config(&receiver.endpoint), work);
    assert!(guard.shutdown(Duration::from_secs(10)));
    let seen = receiver.seen();
    let spans = seen.spans();
    assert_eq!(
        spans.iter().map(|span| &*span.name).collect::<Vec<_>>(),
        ["chat m", "case", "task"]
    );
    for span in &spans {
        assert_eq!(span.trace, "0af7651916cd43dd8448eb211c80319c");
    }
    assert_eq!(spans[2].parent, "b7ad6b7169203331");
    assert_eq!(spans[1].parent, spans[2].id);
    assert_eq!(spans[0].parent, spans[1].id);
    assert_eq!(
        spans[0].attribute(names::GEN_AI_INPUT_TOKENS),
        Some("Int(12)")
    );
    assert_eq!(
        spans[0].attribute(names::GEN_AI_FINISH_REASONS),
        Some("[stop]"),
        "a list, by the conventions"
    );
    assert_eq!(seen.resource("fapo.role"), Some("executor"));
    assert_eq!(seen.resource("service.instance.id"), Some("node-1"));
    // the log record belongs to the span in which it was written
    let log = &seen.logs()[0];
    assert_eq!(log.body, "a call was made");
    assert_eq!((&log.trace, &log.span), (&spans[0].trace, &spans[0].id));
    assert_eq!(seen.logs().len(), 1, "a measurement is no log record");
    assert_eq!(seen.metrics(), ["fapo_cases_total"]);
    assert!(lines.contains("a call was made"), "{lines}");
    assert!(
        !lines.contains("chat"),
        "attributes stay out of log lines: {lines}"
    );
}

#[test]
fn prompts_leave_the_process_only_where_content_is_switched_on() {
    for content in [false, true] {
        let receiver = Receiver::start();
        let config = TelemetryConfig {
            content,
            // however much is logged
            filter: "trace".to_owned(),
            ..config(&receiver.endpoint)
        };
        let (lines, guard) = under(&config, work);
        assert!(guard.shutdown(Duration::from_secs(10)));
        let whole = receiver.seen().whole();
        assert!(whole.contains("chat m"), "spans arrive either way");
        assert_eq!(whole.contains(CANARY), content);
        assert!(!lines.contains(CANARY), "never in log lines: {lines}");
    }
}

#[test]
fn of_a_trace_that_its_beginning_left_out_nothing_is_sent() {
    let receiver = Receiver::start();
    let mut config = config(&receiver.endpoint);
    config.otlp.as_mut().unwrap().sample = 0.0;
    let (_, guard) = under(&config, |_| {
        tracing::info_span!("root").in_scope(|| {
            let current = OtelTraceContext.current().unwrap();
            assert!(current.as_str().ends_with("-00"), "{current}");
        });
    });
    assert!(guard.shutdown(Duration::from_secs(10)));
    assert!(receiver.seen().spans().is_empty());
}

#[test]
fn headers_reach_the_receiver_and_are_shown_to_nobody() {
    let receiver = Receiver::start();
    let mut config = config(&receiver.endpoint);
    let headers = &mut config.otlp.as_mut().unwrap().headers;
    headers.insert("Authorization".to_owned(), "Bearer s3cret".to_owned());
    assert!(!format!("{config:?}").contains("s3cret"));
    let (_, guard) = under(&config, work);
    assert!(!format!("{guard:?}").contains("s3cret"));
    assert!(guard.shutdown(Duration::from_secs(10)));
    assert_eq!(receiver.seen().authorization(), Some("Bearer s3cret"));

    let headers = &mut config.otlp.as_mut().unwrap().headers;
    headers.insert("bad name".to_owned(), "s3cret".to_owned());
    let error = build(&config, io::sink).err().unwrap();
    assert!(error.to_string().contains("`bad name`"), "{error}");
}

#[test]
fn a_receiver_that_is_gone_or_silent_slows_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for address in [gone, silent.local_addr().unwrap()] {
        let began = Instant::now();
        let (_, guard) = under(&config(&format!("http://{address}")), |guard| {
            for _ in 0..3_000 {
                work_once(guard);
            }
        });
        let worked = began.elapsed();
        assert!(
            worked < Duration::from_secs(5),
            "set-up and work: {worked:?}"
        );
        let began = Instant::now();
        guard.shutdown(Duration::from_millis(500));
        let ended = began.elapsed();
        assert!(ended < Duration::from_secs(2), "shutdown: {ended:?}");
    }
}

fn work_once(guard: &Guard) {
    let span = tracing::info_span!("task", { names::JOB_ID } = "job-1");
    guard.trace_context().adopt(&span, &PARENT.parse().unwrap());
    span.in_scope(|| tracing::warn!(target: "fapo_test", "work"));
}

#[test]
fn the_metrics_page_says_what_was_measured_with_the_labels_of_the_table() {
    let config = TelemetryConfig {
        metrics: true,
        role: "executor".to_owned(),
        ..TelemetryConfig::logs("error", Format::Text)
    };
    let (lines, guard) = under(&config, |_| {
        for job in 0..3 {
            fapo_domain::measure!(
                monotonic_counter.fapo_cases_total = 1_u64,
                status = "completed",
                job,
            );
        }
        fapo_domain::measure!(histogram.fapo_case_seconds = 0.3_f64);
        fapo_domain::measure!(
            monotonic_counter.fapo_model_cost_usd_total = 0.25_f64,
            role = "task",
            model = "m"
        );
        fapo_domain::measure!(gauge.fapo_jobs_due = 4_u64);
        // nobody's: kept, so that it is seen, but without labels
        fapo_domain::measure!(monotonic_counter.fapo_test_total = 1_u64, job = 7);
    });
    let page = guard.metrics().unwrap().render();
    for line in [
        "# HELP fapo_cases_total Cases that were run, by how they ended.",
        "# TYPE fapo_cases_total counter",
        r#"fapo_cases_total{status="completed"} 3"#,
        r#"fapo_case_seconds_bucket{le="0.25"} 0"#,
        r#"fapo_case_seconds_bucket{le="0.5"} 1"#,
        "fapo_case_seconds_count 1",
        r#"fapo_model_cost_usd_total{model="m",role="task"} 0.25"#,
        "fapo_jobs_due 4",
        "fapo_test_total 1",
    ] {
        assert!(
            page.lines().any(|have| have == line),
            "{line} is not in\n{page}"
        );
    }
    assert!(page.contains(r#"fapo_role="executor""#), "{page}");
    assert!(page.contains("process_resident_memory_bytes"), "{page}");
    assert_eq!(lines, "", "measurements are no log lines");
}

#[test]
fn combinations_of_labels_are_bounded() {
    let config = TelemetryConfig {
        metrics: true,
        ..TelemetryConfig::logs("error", Format::Text)
    };
    let (_, guard) = under(&config, |_| {
        for model in 0..2 * MOST_SERIES {
            fapo_domain::measure!(monotonic_counter.fapo_step_cache_total = 1_u64,
                result = %model,
            );
        }
    });
    let page = guard.metrics().unwrap().render();
    let series = page
        .lines()
        .filter(|line| line.starts_with("fapo_step_cache_total{"))
        .count();
    assert!(
        (MOST_SERIES / 2..=MOST_SERIES + 1).contains(&series),
        "{series}"
    );
    assert!(page.contains("otel_metric_overflow"), "{page}");
}

#[test]
fn without_a_receiver_and_a_page_spans_cost_nothing_and_there_is_no_trace() {
    let (_, guard) = under(&TelemetryConfig::logs(QUIET, Format::Text), |guard| {
        let span = tracing::info_span!(target: names::SPANS, "chat");
        assert!(span.is_disabled());
        assert!(!tracing::enabled!(target: names::METRICS, Level::INFO));
        assert_eq!(guard.trace_context().current(), None);
    });
    assert!(guard.metrics().is_none());
    assert!(guard.shutdown(Duration::ZERO), "there is nothing to flush");
}

#[test]
fn a_bad_filter_and_a_bad_address_are_named() {
    let error = init("fapo=loud", Format::Text).unwrap_err();
    assert!(error.to_string().contains("fapo=loud"));
    let error = build(&config("not an address"), io::sink).err().unwrap();
    assert!(error.to_string().contains("not an address"), "{error}");
}
