//! Exporters that say when their receiver is gone, once, and when it is back.
//!
//! The SDK drops what it cannot deliver without a word. A person needs to hear of it, but not once per batch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::conventions::conform;

/// Whether the receiver takes what it is sent; shared by the exporters of one receiver.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// As a person wrote it.
    endpoint: String,
    gone: AtomicBool,
}

impl Receiver {
    pub(crate) fn new(endpoint: &str) -> Arc<Self> {
        Arc::new(Self {
            endpoint: endpoint.to_owned(),
            gone: AtomicBool::new(false),
        })
    }

    fn heard(&self, result: &OTelSdkResult) {
        match result {
            Ok(()) => {
                if self.gone.swap(false, Ordering::Relaxed) {
                    tracing::warn!(endpoint = %self.endpoint, "telemetry reaches its receiver again");
                }
            }
            Err(error) => {
                if !self.gone.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        endpoint = %self.endpoint,
                        %error,
                        "telemetry does not reach its receiver and is dropped until it does; work goes on"
                    );
                }
            }
        }
    }
}

/// An exporter whose results are heard.
pub(crate) struct Watched<E> {
    inner: E,
    receiver: Arc<Receiver>,
}

impl<E> Watched<E> {
    pub(crate) fn new(inner: E, receiver: &Arc<Receiver>) -> Self {
        Self {
            inner,
            receiver: Arc::clone(receiver),
        }
    }
}

impl<E> fmt::Debug for Watched<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the inner exporter's headers may hold a token
        f.debug_struct("Watched")
            .field("receiver", &self.receiver)
            .finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(conform);
        let result = self.inner.export(batch).await;
        self.receiver.heard(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Watched<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        self.receiver.heard(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.inner.export(metrics).await;
        self.receiver.heard(&result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Mutex;

    use opentelemetry_sdk::error::OTelSdkError;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

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

    impl MakeWriter<'_> for Sink {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_receiver_that_goes_and_comes_back_is_spoken_of_once_each() {
        let sink = Sink::default();
        let subscriber = tracing_subscriber::fmt().with_writer(sink.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let receiver = Receiver::new("http://collector:4317");
            let lost = || Err(OTelSdkError::InternalFailure("refused".to_owned()));
            for result in [Ok(()), lost(), lost(), lost(), Ok(()), Ok(()), lost()] {
                receiver.heard(&result);
            }
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("does not reach").count(), 2, "{text}");
        assert_eq!(text.matches("again").count(), 1, "{text}");
        assert!(text.contains("http://collector:4317"), "{text}");
    }
}
