//! Logs, traces and metrics: the one place that knows subscribers and exporters.
//!
//! Everything else in the workspace only emits `tracing` spans and events. This crate decides once per process where they
//! go:
//!
//! * **log lines** to standard error, never to standard output, which belongs to a command's data. The default shows
//!   warnings and errors only, so that live progress stays readable; a person who wants more raises the level with `-v`, or
//!   writes a filter such as `fapo_llm=debug,info`;
//! * **traces** (spans of this workspace, and what is logged inside them), **logs** and **metrics** over OTLP/gRPC, where a
//!   receiver is configured;
//! * **metrics** as a page of text for Prometheus, where that is asked for.
//!
//! Prompts and outputs are in traces only where content is switched on, and in log lines never. Work is never slowed by a
//! receiver that is slow or gone: queues are bounded, and what does not fit is dropped.

mod context;
mod conventions;
mod logs;
mod metrics;
mod otlp;
mod watched;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fapo_domain::ports::trace_context::{NoTraces, TraceContext};
use fapo_domain::telemetry;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterFn, LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry};

pub use context::OtelTraceContext;
pub use logs::{CLEAR_LINE, Format, QUIET};
pub use metrics::{Kind, METRICS, MOST_SERIES, Metric, MetricsPage};
pub use otlp::Otlp;

use otlp::Pipelines;

/// Where a process's telemetry goes.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// What is logged, in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// How log lines are written.
    pub format: Format,
    /// `service.name` of what is exported.
    pub service: String,
    /// The roles that the process has, such as `executor` or `gateway,traces`: `fapo.role`.
    pub role: String,
    /// The process's own name, unique among all: `service.instance.id`.
    pub instance: String,
    /// Where traces, logs and metrics are sent, if anywhere.
    pub otlp: Option<Otlp>,
    /// Whether metrics are kept for a page.
    pub metrics: bool,
    /// Whether prompts and outputs are part of traces.
    pub content: bool,
}

impl TelemetryConfig {
    /// Log lines on standard error, and nothing else.
    pub fn logs(filter: impl Into<String>, format: Format) -> Self {
        Self {
            filter: filter.into(),
            format,
            service: "fapo".to_owned(),
            role: String::new(),
            instance: String::new(),
            otlp: None,
            metrics: false,
            content: false,
        }
    }

    fn resource(&self) -> Resource {
        Resource::builder()
            .with_service_name(self.service.clone())
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", self.instance.clone()),
                KeyValue::new("fapo.role", self.role.clone()),
            ])
            .build()
    }
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("the log filter {filter:?} cannot be read")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The process has a global subscriber already.
    #[error("logging is set up already in this process")]
    Twice(#[from] TryInitError),
    /// The receiver's address, or what is set for it in the environment, cannot be used.
    #[error("telemetry cannot be sent to {endpoint}")]
    Otlp {
        /// The address.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: ExporterBuildError,
    },
    /// A header for the receiver is not one. Its value is a secret and is not shown.
    #[error(
        "the header `{name}` for the telemetry receiver has a name or a value that cannot be sent"
    )]
    Header {
        /// Its name.
        name: String,
    },
    /// Metrics cannot be kept.
    #[error("metrics cannot be kept")]
    Metrics(#[source] OTelSdkError),
    /// There is no thread to export with.
    #[error("no thread can be started for exporting telemetry")]
    Runtime(#[source] io::Error),
}

/// Keeps telemetry running. [`Guard::shutdown`] it last, so that what is buffered is sent; dropping it does the same, with
/// two seconds for it.
#[derive(Debug)]
#[must_use = "telemetry stops when the guard is dropped"]
pub struct Guard {
    exports: Option<Exports>,
    page: Option<MetricsPage>,
    traces: bool,
}

/// What has to be flushed.
#[derive(Debug)]
struct Exports {
    tracer: Option<SdkTracerProvider>,
    logger: Option<SdkLoggerProvider>,
    meter: Option<SdkMeterProvider>,
    runtime: Option<Runtime>,
}

/// How long a guard that is dropped waits.
const DROPPED: Duration = Duration::from_secs(2);

impl Guard {
    /// The process's metrics, where they are kept.
    pub fn metrics(&self) -> Option<MetricsPage> {
        self.page.clone()
    }

    /// How the process's spans are part of distributed traces.
    pub fn trace_context(&self) -> Arc<dyn TraceContext> {
        if self.traces {
            Arc::new(OtelTraceContext)
        } else {
            Arc::new(NoTraces)
        }
    }

    /// Sends what is buffered and stops exporting; log lines go on. Blocks for at most `timeout`, and tells whether all was
    /// sent by then.
    pub fn shutdown(mut self, timeout: Duration) -> bool {
        self.flush(timeout)
    }

    fn flush(&mut self, timeout: Duration) -> bool {
        let Some(exports) = self.exports.take() else {
            return true;
        };
        exports.shutdown(timeout)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.flush(DROPPED);
    }
}

impl Exports {
    /// All at the same time: the SDK's own waits are not all bounded, and one must not use up the time of another.
    fn shutdown(self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let (done, results) = mpsc::channel();
        let mut waiting = 0;
        let mut start = |flush: Box<dyn FnOnce() -> bool + Send>| {
            let done = done.clone();
            let started = thread::Builder::new()
                .name("fapo-telemetry-flush".to_owned())
                .spawn(move || {
                    // whoever waits may be gone when it ends
                    let _ = done.send(flush());
                });
            waiting += usize::from(started.is_ok());
        };
        if let Some(tracer) = self.tracer {
            start(Box::new(move || {
                tracer.shutdown_with_timeout(timeout).is_ok()
            }));
        }
        if let Some(logger) = self.logger {
            start(Box::new(move || {
                logger.shutdown_with_timeout(timeout).is_ok()
            }));
        }
        if let Some(meter) = self.meter {
            start(Box::new(move || {
                meter.shutdown_with_timeout(timeout).is_ok()
            }));
        }
        let mut whole = true;
        for _ in 0..waiting {
            let left = deadline.saturating_duration_since(Instant::now());
            match results.recv_timeout(left) {
                Ok(sent) => whole &= sent,
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        if let Some(runtime) = self.runtime {
            runtime.shutdown_background();
        }
        whole
    }
}

/// Sets up logging to standard error for the whole process, and nothing else.
///
/// `filter` has the syntax of `tracing_subscriber::EnvFilter` (`warn`, `info`, `fapo_llm=debug,warn`).
///
/// # Errors
/// [`TelemetryError::Filter`] for a filter that cannot be read; [`TelemetryError::Twice`] when called a second time.
pub fn init(filter: &str, format: Format) -> Result<Guard, TelemetryError> {
    start(&TelemetryConfig::logs(filter, format))
}

/// Sets up telemetry for the whole process. Connects to nothing: an OTLP receiver that is absent is warned of once, when
/// the first batch does not reach it.
///
/// # Errors
/// When part of the configuration cannot be used, and [`TelemetryError::Twice`] when called a second time.
pub fn start(config: &TelemetryConfig) -> Result<Guard, TelemetryError> {
    let (subscriber, guard) = build(config, io::stderr)?;
    subscriber.try_init()?;
    Ok(guard)
}

/// The subscriber that [`start`] installs, over any writer of log lines.
fn build<W: Write + 'static>(
    config: &TelemetryConfig,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Result<(Box<dyn tracing::Subscriber + Send + Sync>, Guard), TelemetryError> {
    let filter = || {
        logs::filter(&config.filter).map_err(|source| TelemetryError::Filter {
            filter: config.filter.clone(),
            source,
        })
    };
    let lines = logs::lines(config.format, writer);
    if config.otlp.is_none() && !config.metrics {
        // The filter holds for the whole process, so that what is not logged costs nothing at all.
        let subscriber = tracing_subscriber::registry().with(lines).with(filter()?);
        let guard = Guard {
            exports: None,
            page: None,
            traces: false,
        };
        return Ok((Box::new(subscriber), guard));
    }
    let resource = config.resource();
    let pipelines = match &config.otlp {
        Some(otlp) => Some(Pipelines::start(otlp, &resource)?),
        None => None,
    };
    let (tracer, logger, reader, runtime) = match pipelines {
        Some(pipelines) => (
            Some(pipelines.tracer),
            Some(pipelines.logger),
            Some(pipelines.reader),
            Some(pipelines.runtime),
        ),
        None => (None, None, None, None),
    };
    let page = MetricsPage::new();
    let meter = metrics::provider(&page, reader, &resource).map_err(TelemetryError::Metrics)?;
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![
        lines.with_filter(filter()?).boxed(),
        metrics::layer(meter.clone()),
    ];
    if let Some(tracer) = &tracer {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer.tracer("fapo"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        let only = FilterFn::new(is_traced).with_max_level_hint(LevelFilter::DEBUG);
        layers.push(layer.with_filter(only).boxed());
    }
    if let Some(logger) = &logger {
        let layer = OpenTelemetryTracingBridge::new(logger);
        layers.push(layer.with_filter(filter()?).boxed());
    }
    let content = config.content && config.otlp.is_some();
    let gate = FilterFn::new(move |metadata| content || metadata.target() != telemetry::CONTENT);
    let subscriber = tracing_subscriber::registry().with(layers).with(gate);
    let guard = Guard {
        traces: tracer.is_some(),
        exports: Some(Exports {
            tracer,
            logger,
            meter: Some(meter),
            runtime,
        }),
        page: config.metrics.then_some(page),
    };
    Ok((Box::new(subscriber), guard))
}

/// What becomes part of traces: the spans of this workspace, and the warnings inside them. Other crates' spans are left
/// out, those of the exporters' own connections among them. [`telemetry::CONTENT`] is let through for its answer to
/// [`telemetry::content_is_on`]; nothing is emitted under it.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    if !target.starts_with("fapo") || target == telemetry::METRICS {
        return false;
    }
    metadata.is_span() || target == telemetry::CONTENT || *metadata.level() <= Level::WARN
}

#[cfg(test)]
mod tests;
