//! A receiver of OTLP/gRPC that remembers what it was sent.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio::runtime::Runtime;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// The receiver; it ends with its runtime.
pub struct Receiver {
    pub endpoint: String,
    store: Store,
    _runtime: Runtime,
}

/// What arrived.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    spans: Vec<ExportTraceServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    authorization: Option<String>,
}

/// A span, its ids in hex.
pub struct Span {
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    attributes: Vec<(String, String)>,
}

/// A log record.
pub struct Log {
    pub body: String,
    pub trace: String,
    pub span: String,
}

#[derive(Clone, Default)]
struct Store(Arc<Mutex<Seen>>);

impl Receiver {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let store = Store::default();
        let entered = runtime.enter();
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let endpoint = format!("http://{}", incoming.local_addr().unwrap());
        let gzip = CompressionEncoding::Gzip;
        let server = Server::builder()
            .add_service(TraceServiceServer::new(store.clone()).accept_compressed(gzip))
            .add_service(LogsServiceServer::new(store.clone()).accept_compressed(gzip))
            .add_service(MetricsServiceServer::new(store.clone()).accept_compressed(gzip))
            .serve_with_incoming(incoming);
        drop(entered);
        runtime.spawn(server);
        Self {
            endpoint,
            store,
            _runtime: runtime,
        }
    }

    pub fn seen(&self) -> Seen {
        self.store.0.lock().unwrap().clone()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown(attribute: &KeyValue) -> (String, String) {
    let value = attribute
        .value
        .as_ref()
        .and_then(|value| value.value.as_ref());
    let text = match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => format!("Int({number})"),
        Some(Value::ArrayValue(list)) => {
            let texts = list.values.iter().map(|value| match &value.value {
                Some(Value::StringValue(text)) => text.clone(),
                other => format!("{other:?}"),
            });
            format!("[{}]", texts.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    };
    (attribute.key.clone(), text)
}

impl Span {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Seen {
    /// In the order in which they ended.
    pub fn spans(&self) -> Vec<Span> {
        self.spans
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| &scope.spans)
            .map(|span| Span {
                name: span.name.clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                attributes: span.attributes.iter().map(shown).collect(),
            })
            .collect()
    }

    pub fn logs(&self) -> Vec<Log> {
        self.logs
            .iter()
            .flat_map(|request| &request.resource_logs)
            .flat_map(|resource| &resource.scope_logs)
            .flat_map(|scope| &scope.log_records)
            .map(|record| Log {
                body: match record.body.as_ref().and_then(|body| body.value.as_ref()) {
                    Some(Value::StringValue(text)) => text.clone(),
                    other => format!("{other:?}"),
                },
                trace: hex(&record.trace_id),
                span: hex(&record.span_id),
            })
            .collect()
    }

    pub fn metrics(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .metrics
            .iter()
            .flat_map(|request| &request.resource_metrics)
            .flat_map(|resource| &resource.scope_metrics)
            .flat_map(|scope| &scope.metrics)
            .map(|metric| metric.name.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// A text attribute of the resource that sent the spans.
    pub fn resource(&self, name: &str) -> Option<&str> {
        let resource = self.spans.first()?.resource_spans.first()?;
        let attributes = &resource.resource.as_ref()?.attributes;
        let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
        match attribute.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text),
            _ => None,
        }
    }

    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Everything, as text to search in.
    pub fn whole(&self) -> String {
        format!("{self:?}")
    }
}

impl Store {
    fn keep<T>(&self, request: Request<T>, keep: impl FnOnce(&mut Seen, T)) {
        let mut seen = self.0.lock().unwrap();
        if let Some(value) = request.metadata().get("authorization") {
            seen.authorization = value.to_str().ok().map(str::to_owned);
        }
        keep(&mut seen, request.into_inner());
    }
}

#[tonic::async_trait]
impl TraceService for Store {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.keep(request, |seen, request| seen.spans.push(request));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Store {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.keep(request, |seen, request| seen.logs.push(request));
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Store {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.keep(request, |seen, request| seen.metrics.push(request));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
