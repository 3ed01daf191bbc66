//! Against a server that plays back bytes and shows what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fapo_domain::error::chain;
use fapo_domain::model::trace::FinishReason;
use fapo_domain::ports::models::{ModelError, Models};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{models, request};

/// What is sent for a request's head.
type Answer = Box<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// Answers every request on every connection with what `answer` makes of the request's head.
struct Raw {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Raw {
    async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                if let Some(head) = read_request(&mut stream).await {
                    let bytes = answer(&head);
                    seen.lock().unwrap().push(head);
                    // The client may hang up before it has read everything.
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.shutdown().await;
                    let _ = stream.read(&mut [0; 1024]).await;
                }
            }
        });
        Self { addr, heads, task }
    }

    fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }
}

/// Reads one request; gives its head.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok()?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return Some(head.to_owned());
            }
        }
        if read == 0 {
            return None;
        }
    }
}

fn http(status: &str, extra: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{extra}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const KEY: &str = "sk-very-secret-0123456789";
const ENV: &[(&str, &str)] = &[("OPENAI_API_KEY", KEY), ("ANTHROPIC_API_KEY", KEY)];

#[tokio::test]
async fn a_key_that_is_echoed_reaches_no_error_and_no_debug_output() {
    let echo = |head: &str| head.replace(['\r', '\n'], " ");
    let bodies: Vec<Answer> = vec![
        Box::new(move |head| {
            http(
                "401 Unauthorized",
                "",
                &json!({"error": {"message": echo(head)}}).to_string(),
            )
        }),
        Box::new(move |head| http("400 Bad Request", "", &echo(head))),
        Box::new(move |head| http("500 Oops", "", &echo(head))),
        Box::new(move |head| {
            http(
                "307 Temporary Redirect",
                "location: http://127.0.0.1:1/?k=sk-very-secret-0123456789\r\n",
                &echo(head),
            )
        }),
        Box::new(move |head| {
            http(
                "200 OK",
                "",
                &json!({"error": {"message": echo(head), "code": 400}}).to_string(),
            )
        }),
        Box::new(move |head| {
            http(
                "200 OK",
                "",
                &json!({"error": {"message": echo(head), "code": 500}}).to_string(),
            )
        }),
        Box::new(move |_| {
            http(
                "200 OK",
                "",
                r#"{"choices": "sk-very-secret-0123456789", "content": "sk-very-secret-0123456789"}"#,
            )
        }),
    ];
    for (index, body) in bodies.into_iter().enumerate() {
        let raw = Raw::start(body).await;
        for provider in ["openai", "anthropic"] {
            let models = models(ENV);
            let spec = json!({"provider": provider, "model": "m", "base_url": raw.base_url(), "attempts": 1});
            let error = models.complete(&request(spec, "x")).await.unwrap_err();
            for text in [chain(&error), format!("{error:?}"), format!("{models:?}")] {
                assert!(!text.contains("very-secret"), "{index} {provider}: {text}");
            }
            let sent = raw.heads.lock().unwrap().last().cloned().unwrap();
            assert!(
                sent.contains(KEY),
                "the key was sent, so it could have leaked: {sent}"
            );
        }
    }
}

#[tokio::test]
async fn headers_are_those_of_the_protocol() {
    let raw = Raw::start(|_| http("400 Bad Request", "", "{}")).await;
    for (provider, path, expected) in [
        (
            "openai",
            "/v1/chat/completions",
            format!("authorization: bearer {KEY}"),
        ),
        ("anthropic", "/v1/messages", format!("x-api-key: {KEY}")),
    ] {
        let spec = json!({"provider": provider, "model": "m", "base_url": raw.base_url()});
        models(ENV).complete(&request(spec, "x")).await.unwrap_err();
        let head = raw.heads.lock().unwrap().last().unwrap().to_lowercase();
        assert!(head.starts_with(&format!("post {path} http/1.1")), "{head}");
        assert!(head.contains(&expected), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!(
            head.contains("anthropic-version: 2023-06-01"),
            provider == "anthropic"
        );
        assert!(head.contains("user-agent: fapo/"), "{head}");
    }
    let spec = json!({"provider": "openai", "model": "m", "base_url": raw.base_url()});
    models(&[]).complete(&request(spec, "x")).await.unwrap_err();
    let head = raw.heads.lock().unwrap().last().unwrap().to_lowercase();
    assert!(
        !head.contains("authorization"),
        "without a key none is sent: {head}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let raw = Raw::start(|_| {
        http(
            "307 Temporary Redirect",
            "location: http://127.0.0.1:1/v1\r\n",
            "",
        )
    })
    .await;
    let spec = json!({"provider": "openai", "model": "m", "base_url": raw.base_url()});
    let error = models(ENV).complete(&request(spec, "x")).await.unwrap_err();
    assert!(
        matches!(&error, ModelError::Rejected { status: 307, message, .. } if message.contains("redirected to")),
        "{error}"
    );
    assert_eq!(raw.heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_empty_account_is_no_fault_of_the_request() {
    let body = r#"{"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}"#;
    let raw = Raw::start(move |_| http("400 Bad", "", body)).await;
    let spec = json!({"provider": "openai", "model": "m", "base_url": raw.base_url()});
    let error = models(&[]).complete(&request(spec, "x")).await.unwrap_err();
    assert!(error.is_configuration(), "{error}");
}

#[tokio::test]
async fn quota_errors_and_the_providers_own_word_decide_on_a_retry() {
    let tries = async |status: &'static str, extra: &'static str, body: &'static str| {
        let raw = Raw::start(move |_| http(status, extra, body)).await;
        let spec =
            json!({"provider": "openai", "model": "m", "base_url": raw.base_url(), "attempts": 2});
        models(&[]).complete(&request(spec, "x")).await.unwrap_err();
        raw.heads.lock().unwrap().len()
    };
    assert_eq!(
        tries(
            "429 Too Many",
            "",
            r#"{"error": {"code": "rate_limit_exceeded"}}"#
        )
        .await,
        2
    );
    assert_eq!(
        tries(
            "429 Too Many",
            "",
            r#"{"error": {"code": "insufficient_quota"}}"#
        )
        .await,
        1
    );
    assert_eq!(
        tries("429 Too Many", "retry-after: 86400\r\n", "").await,
        1,
        "not today"
    );
    assert_eq!(tries("500 Oops", "x-should-retry: false\r\n", "").await, 1);
    assert_eq!(tries("400 Bad", "x-should-retry: true\r\n", "").await, 2);
}

#[tokio::test]
async fn endless_replies_are_cut_off() {
    let raw = Raw::start(|_| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        bytes.resize(33 * 1024 * 1024, b' ');
        bytes
    })
    .await;
    let spec = json!({"provider": "openai", "model": "m", "base_url": raw.base_url()});
    let error = models(&[]).complete(&request(spec, "x")).await.unwrap_err();
    assert!(
        matches!(&error, ModelError::Malformed { message, .. } if message.contains("32 MiB")),
        "{error}"
    );
    assert_eq!(
        raw.heads.lock().unwrap().len(),
        1,
        "it would be as long again"
    );
}

#[tokio::test]
async fn a_reply_without_usage_is_counted_on_the_high_side() {
    let raw = Raw::start(|_| {
        http(
            "200 OK",
            "",
            r#"{"choices":[{"message":{"content":"123456789"},"finish_reason":"stop"}]}"#,
        )
    })
    .await;
    let spec = json!({"provider": "openai", "model": "m", "base_url": raw.base_url(), "price": {"input": 1.0, "output": 1.0}});
    let reply = models(&[])
        .complete(&request(spec, "123456"))
        .await
        .unwrap();
    assert_eq!(reply.finish, FinishReason::Stop);
    assert_eq!(
        (
            reply.spend.usage.input_tokens,
            reply.spend.usage.output_tokens
        ),
        (6, 3)
    );
    assert_eq!(reply.spend.cost.0, 9);
}
