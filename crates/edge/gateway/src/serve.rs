//! Accepts connections and serves a router on them. axum has a loop for this; ours adds what a port that strangers reach needs:
//! a bound on connections, a time limit for a request's head (and with it for idle connections), TLS, and an end that is
//! bounded, too.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::client::Peer;
use crate::tls::TlsServer;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long to wait after the system could not give a connection, which is when it has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How a listener is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// TLS; plain HTTP where absent.
    pub tls: Option<TlsServer>,
    /// Connections at once; more wait in the system's queue.
    pub connections: usize,
    /// How long a client may take to send the head of a request, or to begin another one on the same connection.
    pub head_time: Duration,
    /// How long requests under way may go on after the stop.
    pub grace: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            tls: None,
            connections: 1024,
            head_time: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves `router` (HTTP/1.1) on `listener` until `stop` is cancelled. Then nothing new is accepted, idle connections are closed,
/// requests under way are answered within `grace`, and what is left is cut off.
///
/// # Errors
/// None while it serves: a connection that cannot be accepted is logged, and the next one is tried.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    stop: CancellationToken,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(options.connections.max(1)));
    let mut connections = JoinSet::new();
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // those that ended are taken off the list
            Some(_) = connections.join_next() => continue,
            next = accept(&listener, &places) => next,
        };
        match next {
            Ok((stream, peer, place)) => {
                let connection = Connection {
                    router: router.clone(),
                    options: options.clone(),
                    peer,
                    stop: stop.clone(),
                };
                connections.spawn(async move {
                    connection.run(stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(options.grace, ended).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "connections were cut off at the end of the grace"
        );
        connections.shutdown().await;
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

struct Connection {
    router: Router,
    options: ServeOptions,
    peer: SocketAddr,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // answers are written whole, so waiting to fill a packet only makes them late
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let Some(tls) = self.options.tls.clone() else {
            return self.speak(stream).await;
        };
        match tokio::time::timeout(HANDSHAKE, tls.0.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => {
                tracing::debug!(peer = %self.peer, %error, "the TLS handshake failed");
            }
            Err(_) => {
                tracing::debug!(peer = %self.peer, "the TLS handshake took too long");
            }
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let (router, peer) = (self.router, Peer(self.peer));
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let router = router.clone();
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(peer);
                Ok::<_, Infallible>(match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                })
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.head_time)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %peer.0, %error, "a connection ended early");
        }
    }
}
