//! The HTTP server: routes, faults on the wire, and the handle by which it is watched and stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::{get, post};
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::behave::{Answer, Ask, Brain};
use crate::faults::Moment;
use crate::file::FaultKind;
use crate::line::{Line, SimListener};
use crate::protocol::{self, Protocol};
use crate::stats::{Counters, Stats};
use crate::world::World;

/// Largest request body: far above any prompt.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// The server.
pub struct SimServer;

/// A running server. Dropping it stops the server, too, without waiting.
#[derive(Debug)]
pub struct SimHandle {
    /// Where it listens.
    pub addr: SocketAddr,
    counters: Arc<Counters>,
    stop: CancellationToken,
    task: Option<JoinHandle<io::Result<()>>>,
}

impl SimServer {
    /// Serves `world` on `addr` (port 0 picks a free one) until the handle is stopped or dropped.
    ///
    /// # Errors
    /// What binding the address says.
    pub async fn start(world: World, addr: SocketAddr) -> io::Result<SimHandle> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let counters = Arc::new(Counters::default());
        let echo = world.echo.as_deref().map(|text| {
            let ask = Ask {
                model: "sim".to_owned(),
                input_tokens: 100,
                ..Ask::default()
            };
            let answer = Answer {
                text: text.to_owned(),
                ending: crate::behave::Ending::Done,
                output_tokens: crate::text::count_tokens(text),
            };
            let tokens = (ask.input_tokens, answer.output_tokens);
            let body = |protocol| Bytes::from(protocol::reply(protocol, "sim", &ask, &answer, 0));
            Echo {
                openai: body(Protocol::OpenAi),
                anthropic: body(Protocol::Anthropic),
                tokens,
            }
        });
        let app = Arc::new(App {
            brain: Brain::new(world),
            echo,
            counters: Arc::clone(&counters),
            stop: stop.clone(),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(openai))
            .route("/v1/messages", post(anthropic))
            .route("/v1/models", get(models))
            .route("/health", get(|| async { "ok" }))
            .route("/sim/stats", get(stats))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(app)
            .into_make_service_with_connect_info::<Line>();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            axum::serve(SimListener(listener), router)
                .with_graceful_shutdown(async move { stopped.cancelled().await })
                .await
        });
        Ok(SimHandle {
            addr,
            counters,
            stop,
            task: Some(task),
        })
    }
}

impl SimHandle {
    /// The base URL for OpenAI-compatible and Anthropic clients, up to and including `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// What it was asked and answered so far.
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    /// Stops it and waits until requests under way are answered; late answers come at once.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Ok(Err(error)) = task.await
        {
            tracing::warn!(%error, "the simulated model's server ended with an error");
        }
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct App {
    brain: Brain,
    echo: Option<Echo>,
    counters: Arc<Counters>,
    stop: CancellationToken,
}

struct Echo {
    openai: Bytes,
    anthropic: Bytes,
    tokens: (u64, u64),
}

async fn openai(
    State(app): State<Arc<App>>,
    ConnectInfo(line): ConnectInfo<Line>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    app.serve(Protocol::OpenAi, &line, &headers, &body).await
}

async fn anthropic(
    State(app): State<Arc<App>>,
    ConnectInfo(line): ConnectInfo<Line>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    app.serve(Protocol::Anthropic, &line, &headers, &body).await
}

async fn stats(State(app): State<Arc<App>>) -> Response<Body> {
    let body = serde_json::to_vec(&app.counters.stats()).unwrap_or_default();
    json(StatusCode::OK, body)
}

async fn models(State(app): State<Arc<App>>) -> Response<Body> {
    let id = app.brain.world.model.as_deref().unwrap_or("sim");
    let list = serde_json::json!({"object": "list", "data": [{"id": id, "object": "model"}]});
    json(StatusCode::OK, list.to_string())
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}

impl App {
    async fn serve(
        &self,
        protocol: Protocol,
        line: &Line,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Response<Body> {
        let number = self.counters.request();
        if let Some(echo) = &self.echo {
            self.counters.answered(None, echo.tokens.0, echo.tokens.1);
            return json(
                StatusCode::OK,
                match protocol {
                    Protocol::OpenAi => echo.openai.clone(),
                    Protocol::Anthropic => echo.anthropic.clone(),
                },
            );
        }
        let refuse = |status: StatusCode, message: &str| {
            json(status, protocol::error(protocol, status.as_u16(), message))
        };
        if let Some(key) = &self.brain.world.api_key
            && !carries_key(headers, key)
        {
            return refuse(StatusCode::UNAUTHORIZED, "incorrect or missing API key");
        }
        let ask = match protocol::read(protocol, body) {
            Ok(ask) => ask,
            Err(message) => return refuse(StatusCode::BAD_REQUEST, &message),
        };
        let moment = Moment {
            number,
            attempt: self.counters.attempt(ask.hash),
            hash: ask.hash,
            seed: self.brain.world.seed,
            prompt: &ask.prompt,
        };
        let fault = self
            .brain
            .world
            .faults
            .iter()
            .find(|fault| fault.is_due(&moment))
            .map(|fault| &fault.kind);
        if fault.is_some() {
            self.counters.fault();
        }
        self.wait(self.brain.world.latency_ms).await;
        let model = self.brain.world.model.as_deref().unwrap_or(&ask.model);
        let answer = match fault {
            None => self.brain.answer(&ask),
            Some(FaultKind::Slow { ms }) => {
                self.wait(*ms).await;
                self.brain.answer(&ask)
            }
            Some(FaultKind::Refusal) => Answer::refusal(),
            Some(FaultKind::Status {
                status,
                retry_after_s,
                message,
            }) => {
                let message = message.as_deref().unwrap_or("simulated failure");
                let status =
                    StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = refuse(status, message);
                if let Some(seconds) = retry_after_s {
                    response
                        .headers_mut()
                        .insert(header::RETRY_AFTER, (*seconds).into());
                }
                return response;
            }
            Some(FaultKind::Malformed) => {
                return json(StatusCode::OK, "{\"choices\": [{\"message\": {\"content\"");
            }
            Some(FaultKind::EmptyChoices) => {
                return json(StatusCode::OK, protocol::empty_reply(protocol, model));
            }
            Some(FaultKind::CutBody) => {
                let whole =
                    protocol::reply(protocol, model, &ask, &self.brain.answer(&ask), number);
                return cut_off(whole);
            }
            Some(FaultKind::Disconnect) => {
                line.cut();
                return json(StatusCode::OK, "");
            }
        };
        self.counters
            .answered(Some(ask.hash), ask.input_tokens, answer.output_tokens);
        json(
            StatusCode::OK,
            protocol::reply(protocol, model, &ask, &answer, number),
        )
    }

    async fn wait(&self, ms: u64) {
        if ms > 0 {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}

fn carries_key(headers: &HeaderMap, key: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    text("x-api-key") == Some(key)
        || text("authorization").and_then(|value| value.strip_prefix("Bearer ")) == Some(key)
}

/// A reply that announces its whole length and ends in the middle.
fn cut_off(whole: Vec<u8>) -> Response<Body> {
    let length = whole.len();
    let half = Bytes::from(whole).slice(..length / 2);
    let parts = futures::stream::once(async { Ok(half) }).chain(futures::stream::once(async {
        // Giving way once lets the first half go out before the connection breaks.
        tokio::task::yield_now().await;
        Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "simulated cut",
        ))
    }));
    let mut response = json(StatusCode::OK, Body::from_stream(parts));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length.into());
    response
}
