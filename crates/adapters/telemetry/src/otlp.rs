//! Exporting over OTLP/gRPC.
//!
//! Batches are made and sent by threads of the SDK, over connections that a small runtime of this crate's own drives, so
//! that exporting neither needs nor slows the runtime that does the work. Queues are bounded: what does not fit, because
//! the receiver is slow or gone, is dropped.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, LogExporter, MetricExporter, SpanExporter,
    WithExportConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatchConfig, BatchLogProcessor, SdkLoggerProvider,
};
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanBatchConfig, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tokio::runtime::Runtime;

use crate::TelemetryError;
use crate::watched::{Receiver, Watched};

/// Spans, and log records, that wait to be sent; about 16 MiB of spans as they are here.
const QUEUE: usize = 8192;
/// How many are sent at once.
const BATCH: usize = 512;
/// How long they are collected.
const DELAY: Duration = Duration::from_secs(2);
/// How often metrics are sent.
const METRICS_EVERY: Duration = Duration::from_secs(15);

/// A receiver of OTLP over gRPC, such as the OpenTelemetry collector.
#[derive(Clone)]
pub struct Otlp {
    /// Its address, such as `http://127.0.0.1:4317`; `https` is checked against the usual certificate authorities.
    pub endpoint: String,
    /// Metadata that each request carries, such as `authorization`. Values are secrets and are never shown.
    pub headers: BTreeMap<String, String>,
    /// How long one request may take.
    pub timeout: Duration,
    /// The share of new traces that is kept, from 0 to 1. What continues a trace follows its beginning.
    pub sample: f64,
}

impl Otlp {
    /// The receiver at an address: no headers, 5 seconds, all traces.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(5),
            sample: 1.0,
        }
    }
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp")
            .field("endpoint", &self.endpoint)
            .field("headers", &self.headers.keys())
            .field("timeout", &self.timeout)
            .field("sample", &self.sample)
            .finish()
    }
}

/// What sends telemetry.
pub(crate) struct Pipelines {
    pub(crate) tracer: SdkTracerProvider,
    pub(crate) logger: SdkLoggerProvider,
    pub(crate) reader: PeriodicReader<Watched<MetricExporter>>,
    pub(crate) runtime: Runtime,
}

impl Pipelines {
    /// Sets the pipelines up. Connects to nothing: an absent receiver is met, and warned of, at the first batch.
    pub(crate) fn start(otlp: &Otlp, resource: &Resource) -> Result<Self, TelemetryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("fapo-otlp")
            .enable_all()
            .build()
            .map_err(TelemetryError::Runtime)?;
        // lazy connections belong to the runtime in which they are made
        let entered = runtime.enter();
        let metadata = metadata(&otlp.headers)?;
        let receiver = Receiver::new(&otlp.endpoint);
        let exporters = exporters(otlp, metadata, &receiver);
        let (spans, logs, metrics) = exporters.map_err(|source| TelemetryError::Otlp {
            endpoint: otlp.endpoint.clone(),
            source,
        })?;
        drop(entered);
        let spans = BatchSpanProcessor::builder(spans)
            .with_batch_config(
                SpanBatchConfig::default()
                    .with_max_queue_size(QUEUE)
                    .with_max_export_batch_size(BATCH)
                    .with_scheduled_delay(DELAY)
                    .build(),
            )
            .build();
        let logs = BatchLogProcessor::builder(logs)
            .with_batch_config(
                LogBatchConfig::default()
                    .with_max_queue_size(QUEUE)
                    .with_max_export_batch_size(BATCH)
                    .with_scheduled_delay(DELAY)
                    .build(),
            )
            .build();
        let ratio = Sampler::TraceIdRatioBased(otlp.sample.clamp(0.0, 1.0));
        let tracer = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(Sampler::ParentBased(Box::new(ratio)))
            .with_span_processor(spans)
            .build();
        let logger = SdkLoggerProvider::builder()
            .with_resource(resource.clone())
            .with_log_processor(logs)
            .build();
        let reader = PeriodicReader::builder(metrics)
            .with_interval(METRICS_EVERY)
            .build();
        Ok(Self {
            tracer,
            logger,
            reader,
            runtime,
        })
    }
}

type Exporters = (
    Watched<SpanExporter>,
    Watched<LogExporter>,
    Watched<MetricExporter>,
);

fn exporters(
    otlp: &Otlp,
    metadata: MetadataMap,
    receiver: &Arc<Receiver>,
) -> Result<Exporters, ExporterBuildError> {
    let spans = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&otlp.endpoint)
        .with_timeout(otlp.timeout)
        .with_metadata(metadata.clone())
        .with_compression(Compression::Gzip)
        .build()?;
    let logs = LogExporter::builder()
        .with_tonic()
        .with_endpoint(&otlp.endpoint)
        .with_timeout(otlp.timeout)
        .with_metadata(metadata.clone())
        .with_compression(Compression::Gzip)
        .build()?;
    let metrics = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(&otlp.endpoint)
        .with_timeout(otlp.timeout)
        .with_metadata(metadata)
        .with_compression(Compression::Gzip)
        .build()?;
    Ok((
        Watched::new(spans, receiver),
        Watched::new(logs, receiver),
        Watched::new(metrics, receiver),
    ))
}

fn metadata(headers: &BTreeMap<String, String>) -> Result<MetadataMap, TelemetryError> {
    let mut metadata = HashMap::new();
    for (name, value) in headers {
        let one = HashMap::from([(name.clone(), value.clone())]);
        // one by one, to be able to name the one that is wrong
        (&one)
            .try_into()
            .map(MetadataMap::from_headers)
            .map_err(|_| TelemetryError::Header { name: name.clone() })?;
        metadata.extend(one);
    }
    let all = (&metadata).try_into().map(MetadataMap::from_headers);
    Ok(all.unwrap_or_default())
}
