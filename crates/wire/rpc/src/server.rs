//! A server of any of the services, with health, reflection, limits, and an orderly end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::ports::trace_context::TraceContext;
use fapo_proto::diagnosis::v1::diagnosis_service_server::DiagnosisServiceServer;
use fapo_proto::executor::v1::executor_service_server::ExecutorServiceServer;
use fapo_proto::optimizer::v1::optimizer_service_server::OptimizerServiceServer;
use fapo_proto::scoring::v1::scoring_service_server::ScoringServiceServer;
use fapo_proto::traces::v1::traces_service_server::TracesServiceServer;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::auth::Authenticator;
use crate::diagnosis::DiagnosisServer;
use crate::executor::ExecutorServer;
use crate::guard::{GuardLayer, Rules};
use crate::optimizer::OptimizerServer;
use crate::scoring::ScorerServer;
use crate::traces::TracesServer;

/// Certificate and key of a server, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate, with those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Bounds of a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The largest message that is read or sent, in bytes.
    pub message_bytes: usize,
    /// The most that one stream of requests may hold, in bytes: it is kept in memory until it is stored as a whole.
    pub stream_bytes: usize,
    /// Calls under way at once, streams included; more are RESOURCE_EXHAUSTED.
    pub calls: usize,
    /// How long a call may take until its answer begins.
    pub call_timeout: Duration,
    /// How long calls under way may go on once the server is to stop.
    pub grace: Duration,
    /// Encryption; none where absent.
    pub tls: Option<ServerTls>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            message_bytes: 16 << 20,
            stream_bytes: 256 << 20,
            calls: 1024,
            call_timeout: Duration::from_secs(120),
            grace: Duration::from_secs(10),
            tls: None,
        }
    }
}

/// Why a server could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file of the certificate cannot be read.
    #[error("{} cannot be read", path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error("the certificate in {} cannot be used with its key", path.display())]
    Tls {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The server failed.
    #[error("the gRPC server failed")]
    Failed(#[source] tonic::transport::Error),
}

/// Switches what the health service says of a server's services.
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
    names: Vec<&'static str>,
}

impl Health {
    /// Says that all of them serve, or that none does.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in self.names.iter().copied().chain([""]) {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// Collects services and serves them.
pub struct ServerBuilder {
    options: ServerOptions,
    authenticator: Authenticator,
    trace: Arc<dyn TraceContext>,
    routes: RoutesBuilder,
    health: Health,
}

/// A service with the server's limits on messages.
macro_rules! add {
    ($self:ident, $server:ident, $adapter:expr) => {{
        let most = $self.options.message_bytes;
        let service = $server::new($adapter)
            .max_decoding_message_size(most)
            .max_encoding_message_size(most);
        $self.add(service)
    }};
}

impl ServerBuilder {
    /// A server without services. `trace` joins its spans to those of its callers.
    pub fn new(
        options: ServerOptions,
        authenticator: Authenticator,
        trace: Arc<dyn TraceContext>,
    ) -> Self {
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut routes = RoutesBuilder::default();
        routes.add_service(health);
        Self {
            options,
            authenticator,
            trace,
            routes,
            health: Health {
                reporter,
                names: Vec::new(),
            },
        }
    }

    /// Adds the executor's service.
    #[must_use]
    pub fn executor(self, adapter: ExecutorServer) -> Self {
        add!(self, ExecutorServiceServer, adapter)
    }

    /// Adds the traces' service.
    #[must_use]
    pub fn traces(self, mut adapter: TracesServer) -> Self {
        adapter.stream_bytes = self.options.stream_bytes;
        add!(self, TracesServiceServer, adapter)
    }

    /// Adds the scorer's service.
    #[must_use]
    pub fn scorer(self, adapter: ScorerServer) -> Self {
        add!(self, ScoringServiceServer, adapter)
    }

    /// Adds the service of diagnosis.
    #[must_use]
    pub fn diagnosis(self, adapter: DiagnosisServer) -> Self {
        add!(self, DiagnosisServiceServer, adapter)
    }

    /// Adds the optimizer's service.
    #[must_use]
    pub fn optimizer(self, mut adapter: OptimizerServer) -> Self {
        adapter.stream_bytes = self.options.stream_bytes;
        add!(self, OptimizerServiceServer, adapter)
    }

    fn add<S>(mut self, service: S) -> Self
    where
        S: tower::Service<
                tonic::codegen::http::Request<tonic::body::Body>,
                Response = tonic::codegen::http::Response<tonic::body::Body>,
                Error = std::convert::Infallible,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.health.names.push(S::NAME);
        self
    }

    /// The switch of its health, for who knows more of the server's state than that it runs.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Serves on `listener` until `stop`: then health says NOT_SERVING, no new connection is taken, and calls under way have
    /// until the grace is over.
    ///
    /// # Errors
    /// Where the certificate cannot be used, or the server fails.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        self.reflect();
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)));
        if let Some(tls) = &self.options.tls {
            server = server
                .tls_config(identity(tls)?)
                .map_err(|source| ServeError::Tls {
                    path: tls.certificate.clone(),
                    source,
                })?;
        }
        let rules = Arc::new(Rules {
            authenticator: self.authenticator,
            trace: self.trace,
            permits: Arc::new(Semaphore::new(self.options.calls)),
            timeout: self.options.call_timeout,
        });
        let health = self.health;
        health.set_serving(true).await;
        let ending = {
            let (health, stop) = (health.clone(), stop.clone());
            async move {
                stop.cancelled().await;
                health.set_serving(false).await;
            }
        };
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = server
            .layer(GuardLayer(rules))
            .add_routes(self.routes.routes())
            .serve_with_incoming_shutdown(incoming, ending);
        let grace = self.options.grace;
        let over = async move {
            stop.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            ended = serving => ended.map_err(ServeError::Failed),
            () = over => {
                tracing::warn!("calls were broken off: they were still under way at the end of the grace");
                Ok(())
            }
        }
    }

    /// Both versions of reflection: older clients know the first only.
    fn reflect(&mut self) {
        let configured = || {
            let mut builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(fapo_proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            for name in &self.health.names {
                builder = builder.with_service_name(*name);
            }
            builder.with_service_name("grpc.health.v1.Health")
        };
        let why = "the descriptors are those that the program was built from";
        let v1 = configured().build_v1().expect(why);
        let v1alpha = configured().build_v1alpha().expect(why);
        self.routes.add_service(v1);
        self.routes.add_service(v1alpha);
    }
}

fn identity(tls: &ServerTls) -> Result<ServerTlsConfig, ServeError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| ServeError::TlsFile {
            path: path.clone(),
            source,
        })
    };
    let identity = Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?);
    Ok(ServerTlsConfig::new().identity(identity))
}
