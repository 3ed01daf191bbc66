//! A connection to a server, and what every call over it has: a token, a deadline, a place in a trace, and, where repeating
//! is harmless, further tries.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::ErrorCode;
use fapo_domain::error::Retry;
use fapo_domain::model::access::Credential;
use fapo_domain::ports::trace_context::TraceContext;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

use crate::fault::Fault;

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `http://host:port`, or `https://host:port`.
    pub url: String,
    /// The token to show; a call on somebody's behalf shows theirs.
    pub credential: Option<Credential>,
    /// A PEM file with the certificates that the server's may lead to, for `https`.
    pub ca: Option<PathBuf>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a call may take, with all its tries.
    pub deadline: Duration,
    /// How long the run of a case may take.
    pub run_deadline: Duration,
    /// The largest message that is read or sent, in bytes.
    pub message_bytes: usize,
    /// Tries of a call that may be repeated, the first included.
    pub tries: u32,
}

impl ClientOptions {
    /// The usual bounds.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            credential: None,
            ca: None,
            connect_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(60),
            run_deadline: Duration::from_secs(3600),
            message_bytes: 16 << 20,
            tries: 4,
        }
    }
}

/// Why no connection can be made with these options.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("{url:?} is no address of a server, such as http://127.0.0.1:7400")]
    Url {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The certificates cannot be used.
    #[error("the certificates for {url} cannot be used")]
    Tls {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The token cannot be sent.
    #[error("the token has characters that no token has")]
    Token,
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        Self::new(
            ErrorCode::Unauthenticated,
            "TOKEN_INVALID",
            error.to_string(),
        )
    }
}

/// A connection, shared by its clones. It comes about with the first call and again after it was lost.
#[derive(Clone)]
pub struct Connection {
    channel: Channel,
    options: Arc<ClientOptions>,
    bearer: Option<MetadataValue<Ascii>>,
    trace: Arc<dyn TraceContext>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("url", &self.options.url)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Makes ready; connects to nothing yet. `trace` tells the server where its spans belong.
    ///
    /// # Errors
    /// Where an option cannot be used.
    pub fn new(options: ClientOptions, trace: Arc<dyn TraceContext>) -> Result<Self, ConnectError> {
        let url = || options.url.clone();
        let mut endpoint = Endpoint::from_shared(options.url.clone())
            .map_err(|source| ConnectError::Url { url: url(), source })?
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        if options.url.starts_with("https:") {
            let mut tls = ClientTlsConfig::new();
            if let Some(path) = &options.ca {
                let pem = std::fs::read(path).map_err(|source| ConnectError::Tls {
                    url: url(),
                    source: source.into(),
                })?;
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint.tls_config(tls).map_err(|e| ConnectError::Tls {
                url: url(),
                source: e.into(),
            })?;
        }
        let bearer = options.credential.as_ref().map(bearer).transpose()?;
        Ok(Self {
            channel: endpoint.connect_lazy(),
            options: Arc::new(options),
            bearer,
            trace,
        })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// The address, for messages.
    pub(crate) fn server(&self) -> &str {
        &self.options.url
    }

    /// A call that may be repeated, as whoever these options are.
    pub(crate) async fn call<Q, R, F, Fut>(&self, message: Q, send: F) -> Result<R, Fault>
    where
        Q: Clone,
        F: Fn(Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        self.call_as(None, message, send).await
    }

    /// A call that may be repeated, on behalf of `credential` where there is one.
    ///
    /// Every method of every service is harmless to repeat: those that write say so in their protos. Only a server that
    /// is UNAVAILABLE is asked again.
    pub(crate) async fn call_as<Q, R, F, Fut>(
        &self,
        credential: Option<&Credential>,
        message: Q,
        send: F,
    ) -> Result<R, Fault>
    where
        Q: Clone,
        F: Fn(Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let until = Instant::now() + self.options.deadline;
        let mut backoff = Duration::from_millis(100);
        for left in (0..self.options.tries.max(1)).rev() {
            let request = self.request(credential, message.clone(), until)?;
            let fault = match self.until(until, send(request)).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(fault) => fault,
            };
            let wait = match (fault.code, fault.retry) {
                (ErrorCode::Unavailable, Retry::After(wait)) => wait.max(backoff),
                (ErrorCode::Unavailable, Retry::Now) => backoff,
                _ => return Err(fault),
            };
            if left == 0 || Instant::now() + wait >= until {
                return Err(fault);
            }
            sleep(wait).await;
            backoff *= 3;
        }
        Err(self.late())
    }

    /// One try of anything, up to `until`.
    pub(crate) async fn until<R>(
        &self,
        until: Instant,
        answer: impl Future<Output = Result<R, Status>>,
    ) -> Result<R, Fault> {
        match timeout_at(until, answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(status)) => Err(self.fault(&status)),
            Err(_) => Err(self.late()),
        }
    }

    /// What a status of this server says.
    pub(crate) fn fault(&self, status: &Status) -> Fault {
        Fault::read(status, self.server())
    }

    fn late(&self) -> Fault {
        let seconds = self.options.deadline.as_secs_f64();
        let message = format!("no answer from {} within {seconds} s", self.server());
        Fault {
            retry: Retry::Now,
            server: self.server().to_owned(),
            ..Fault::new(ErrorCode::Timeout, "REQUEST_TIMED_OUT", message)
        }
    }

    /// A request with all that goes along.
    pub(crate) fn request<Q>(
        &self,
        credential: Option<&Credential>,
        message: Q,
        until: Instant,
    ) -> Result<Request<Q>, ConnectError> {
        let mut request = Request::new(message);
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        let bearer = match credential {
            Some(theirs) => Some(bearer(theirs)?),
            None => self.bearer.clone(),
        };
        let metadata = request.metadata_mut();
        if let Some(bearer) = bearer {
            metadata.insert("authorization", bearer);
        }
        if let Some(parent) = self.trace.current()
            && let Ok(parent) = parent.as_str().parse()
        {
            metadata.insert("traceparent", parent);
        }
        Ok(request)
    }
}

/// The header; never printed.
fn bearer(credential: &Credential) -> Result<MetadataValue<Ascii>, ConnectError> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", credential.expose())
        .parse()
        .map_err(|_| ConnectError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sends a message by one of a generated client's methods, with all tries.
macro_rules! call {
    ($connection:expr, $client:expr, $method:ident, $message:expr) => {
        $crate::channel::call!($connection, $client, $method, $message, None)
    };
    ($connection:expr, $client:expr, $method:ident, $message:expr, $credential:expr) => {
        $connection
            .call_as($credential, $message, |request| {
                let mut client = $client.clone();
                async move { client.$method(request).await }
            })
            .await
    };
}
pub(crate) use call;
