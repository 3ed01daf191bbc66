//! A scripted endpoint of the Responses protocol: plays a model for the real Codex CLI.
//!
//! Minimal: replies in order, whatever is asked; each is a list of items, or a failure. Every request is kept. A path other
//! than `/v1/responses` is answered with 404 and kept, too. Only on loopback.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

const POISON: &str = "nothing panics while the endpoint's state is held";

/// What one request is answered with.
#[derive(Debug, Clone)]
pub struct Reply(What);

#[derive(Debug, Clone)]
enum What {
    Items(Vec<Value>),
    Status(u16, String),
    Cut,
}

impl Reply {
    /// A message.
    pub fn text(text: impl Into<String>) -> Self {
        let part = json!({"type": "output_text", "text": text.into()});
        Self(What::Items(vec![
            json!({"type": "message", "role": "assistant", "content": [part]}),
        ]))
    }

    /// A message that is JSON: the answer where a schema was given.
    pub fn answer(value: &Value) -> Self {
        Self::text(value.to_string())
    }

    /// A call of a function of the program's own.
    pub fn call(name: &str, arguments: &Value) -> Self {
        Self(What::Items(vec![
            json!({"type": "function_call", "name": name, "arguments": arguments.to_string()}),
        ]))
    }

    /// A call of a tool of an MCP server.
    pub fn mcp(server: &str, tool: &str, arguments: &Value) -> Self {
        Self(What::Items(vec![json!({
            "type": "function_call",
            "namespace": format!("mcp__{server}"),
            "name": tool,
            "arguments": arguments.to_string(),
        })]))
    }

    /// A call of `apply_patch` with a patch, its first and last line left out.
    pub fn patch(patch: &str) -> Self {
        let input = format!("*** Begin Patch\n{patch}\n*** End Patch");
        Self(What::Items(vec![
            json!({"type": "custom_tool_call", "name": "apply_patch", "input": input}),
        ]))
    }

    /// A failure.
    pub fn status(status: u16, message: impl Into<String>) -> Self {
        Self(What::Status(status, message.into()))
    }

    /// The connection is lost after the first event.
    pub const fn cut() -> Self {
        Self(What::Cut)
    }

    /// This reply's items, and those of `other` after them.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        if let (What::Items(items), What::Items(more)) = (&mut self.0, other.0) {
            items.extend(more);
        }
        self
    }
}

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST` and so on.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Headers, as they were sent.
    pub head: String,
    /// The body as JSON; `Null` where it is none.
    pub body: Value,
}

impl Request {
    /// The names of the tools that are offered; the type where one has no name.
    pub fn tools(&self) -> Vec<&str> {
        let tools = self.body["tools"].as_array().into_iter().flatten();
        tools
            .filter_map(|tool| tool["name"].as_str().or_else(|| tool["type"].as_str()))
            .collect()
    }

    /// The texts of the input's messages of a role, in order.
    pub fn texts(&self, role: &str) -> Vec<&str> {
        let input = self.body["input"].as_array().into_iter().flatten();
        input
            .filter(|item| item["role"] == role)
            .flat_map(|item| item["content"].as_array().into_iter().flatten())
            .filter_map(|part| part["text"].as_str())
            .collect()
    }

    /// The newest output of a tool, as it was sent.
    pub fn last_output(&self) -> Option<String> {
        let input = self.body["input"].as_array()?;
        let item = input.iter().rev().find(|item| !item["output"].is_null())?;
        Some(item["output"].to_string())
    }
}

/// A running endpoint. Dropping it ends it.
#[derive(Debug)]
pub struct ScriptedResponses {
    addr: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    replies: Vec<Reply>,
    seen: Mutex<Vec<Request>>,
    stopped: AtomicBool,
}

impl ScriptedResponses {
    /// Plays `replies` on a free port of 127.0.0.1. Needs no runtime.
    ///
    /// # Errors
    /// When no port or no thread can be had.
    pub fn start(replies: Vec<Reply>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            replies,
            seen: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("scripted-responses".to_owned())
            .spawn(move || {
                for client in listener.incoming() {
                    if serving.stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    // one request a connection, one connection at a time: the program asks one thing at a time, and a client
                    // that breaks off is told by what the test sees of it
                    let _ = client.and_then(|client| serving.serve(client));
                }
            })?;
        Ok(Self {
            addr,
            state,
            thread: Some(thread),
        })
    }

    /// Its port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Everything that was received so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.state.seen.lock().expect(POISON).clone()
    }
}

impl Drop for ScriptedResponses {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // wakes it; where that fails it has ended already
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            // its end is all that matters here; a panic of it was printed
            let _ = thread.join();
        }
    }
}

impl State {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut words = first.split_whitespace().map(str::to_owned);
        let (method, path) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let mut head = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let asks = method == "POST" && path.split('?').next() == Some("/v1/responses");
        let number = {
            let mut seen = self.seen.lock().expect(POISON);
            let number = seen
                .iter()
                .filter(|request| request.path.starts_with("/v1/responses"))
                .count();
            seen.push(Request {
                method,
                path,
                head,
                body: serde_json::from_slice(&body).unwrap_or_default(),
            });
            number
        };
        let reply = if asks {
            self.replies
                .get(number)
                .cloned()
                .unwrap_or_else(|| Reply::text("The script has no move left."))
        } else {
            Reply::status(404, "the script knows no such thing")
        };
        answer(client, &reply, number)
    }
}

fn answer(mut client: TcpStream, reply: &Reply, number: usize) -> io::Result<()> {
    let items = match &reply.0 {
        What::Status(status, message) => {
            let body = json!({"error": {"message": message}}).to_string();
            return write!(
                client,
                "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len(),
            );
        }
        What::Cut => None,
        What::Items(items) => Some(items),
    };
    write!(
        client,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    )?;
    let mut send = |event: Value| {
        let name = event["type"].as_str().unwrap_or_default();
        write!(client, "event: {name}\ndata: {event}\n\n")?;
        client.flush()
    };
    let id = format!("resp_{number}");
    send(json!({"type": "response.created", "response": {"id": id}}))?;
    let Some(items) = items else { return Ok(()) };
    for (index, item) in items.iter().enumerate() {
        let mut item = item.clone();
        item["id"] = json!(format!("item_{number}_{index}"));
        if item["type"] != "message" {
            item["call_id"] = json!(format!("call_{number}_{index}"));
        }
        send(json!({"type": "response.output_item.done", "output_index": index, "item": item}))?;
    }
    send(
        json!({"type": "response.completed", "response": {"id": id, "usage": {
            "input_tokens": 100, "input_tokens_details": {"cached_tokens": 40},
            "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 110,
        }}}),
    )
}
