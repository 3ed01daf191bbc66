//! Metrics: measured by events, kept by the SDK, given to Prometheus as text and to OTLP receivers.
//!
//! A crate that measures something emits an event ([`fapo_domain::measure!`]). What a metric is called, what its labels are and what it means stands in one
//! table, [`METRICS`](crate::METRICS): labels that its row does not name are dropped, so that no id can become one by
//! mistake, and beyond [`MOST_SERIES`] combinations of labels all further ones are counted as one.

mod table;

use fapo_domain::telemetry;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream};
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};
use tracing_opentelemetry::MetricsLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter};

pub use self::table::{Kind, METRICS, Metric};

/// The most combinations of labels of one metric; what comes after is counted with the label `otel_metric_overflow`.
pub const MOST_SERIES: usize = 500;

/// The process's metrics as text, for a `/metrics` page. Clones share them.
#[derive(Debug, Clone)]
pub struct MetricsPage(Registry);

impl MetricsPage {
    /// The page's media type: Prometheus' text format.
    pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        // Fails only where a collector of the same names is there already: this registry is new.
        let _ = registry.register(Box::new(ProcessCollector::for_self()));
        Self(registry)
    }

    /// What was measured up to now.
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.0.gather())
            .unwrap_or_else(|error| format!("# metrics cannot be written: {error}\n"))
    }
}

/// The provider that keeps what is measured, for the page and for whoever else reads.
pub(crate) fn provider<R: MetricReader>(
    page: &MetricsPage,
    reader: Option<R>,
    resource: &Resource,
) -> Result<SdkMeterProvider, OTelSdkError> {
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(page.0.clone())
        // names are whole as they stand in the table
        .without_units()
        .without_counter_suffixes()
        .scope_info_enabled(false)
        .build()?;
    let mut builder = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_reader(exporter)
        .with_view(view);
    if let Some(reader) = reader {
        builder = builder.with_reader(reader);
    }
    Ok(builder.build())
}

/// What of a measurement is kept. A name that is not in the table is kept without labels.
fn view(instrument: &Instrument) -> Option<Stream> {
    let stream = Stream::builder().with_cardinality_limit(MOST_SERIES);
    let Some(metric) = METRICS
        .iter()
        .find(|metric| metric.name == instrument.name())
    else {
        return stream.with_allowed_attribute_keys([]).build().ok();
    };
    let mut stream = stream
        .with_description(metric.help)
        .with_unit(metric.unit)
        .with_allowed_attribute_keys(metric.labels.iter().map(|label| (*label).into()));
    if let Kind::Histogram(bounds) = metric.kind {
        stream = stream.with_aggregation(Aggregation::ExplicitBucketHistogram {
            boundaries: bounds.to_vec(),
            record_min_max: false,
        });
    }
    stream.build().ok()
}

/// The layer that reads measurements from events, and nothing else.
pub(crate) fn layer(
    provider: SdkMeterProvider,
) -> Box<dyn Layer<tracing_subscriber::Registry> + Send + Sync> {
    let only = FilterFn::new(|metadata| metadata.target() == telemetry::METRICS)
        .with_max_level_hint(LevelFilter::INFO);
    MetricsLayer::new(provider).with_filter(only).boxed()
}

#[cfg(test)]
mod tests;
