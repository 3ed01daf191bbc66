//! The scripted endpoint, asked over HTTP.

use fapo_domain::money::Usage;
use fapo_testkit::messages::{Conversation, Gate, Move, Outcome, Script, ScriptedMessages};
use reqwest::{Client, Response};
use serde_json::{Value, json};

fn client() -> Client {
    // losing a race against another test is fine: one is there
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap()
}

fn ask(session: &str, first: &str, stream: bool) -> Value {
    json!({
        "model": "claude-scripted", "max_tokens": 64, "stream": stream,
        "system": [{"type": "text", "text": "You are a test."}],
        "metadata": {"user_id": session},
        "tools": [{"name": "Read", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": first}],
    })
}

async fn send(endpoint: &ScriptedMessages, body: &Value) -> reqwest::Result<Response> {
    let url = format!("{}/messages", endpoint.base_url());
    client().post(url).json(body).send().await
}

async fn text(endpoint: &ScriptedMessages, session: &str, first: &str) -> String {
    let reply = send(endpoint, &ask(session, first, false)).await.unwrap();
    let body: Value = reply.json().await.unwrap();
    body["content"][0]["text"].as_str().unwrap().to_owned()
}

/// The events of a stream.
fn events(body: &str) -> Vec<Value> {
    body.split("\n\n")
        .filter(|event| !event.is_empty())
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            data
        })
        .collect()
}

fn start(script: Script) -> ScriptedMessages {
    ScriptedMessages::start(script).unwrap()
}

fn says(name: &str, texts: &[&str]) -> Conversation {
    texts
        .iter()
        .fold(Conversation::new(name), |conversation, text| {
            conversation.then(Move::text(*text))
        })
}

#[tokio::test]
async fn a_stream_holds_the_whole_reply_with_its_usage() {
    let usage = Usage {
        input_tokens: 1000,
        cached_input_tokens: 600,
        output_tokens: 42,
        reasoning_tokens: 0,
    };
    let input = json!({"file_path": "pipeline/prompt.md", "text": "ä".repeat(100)});
    let said = Move::call("Read", input.clone())
        .saying("First, a look.")
        .using(usage)
        .cache_creation(300);
    let endpoint = start(Script::new().conversation(Conversation::new("one").then(said)));
    let reply = send(&endpoint, &ask("s", "hello", true)).await.unwrap();
    assert_eq!(
        reply.headers()["content-type"],
        "text/event-stream; charset=utf-8"
    );
    let events = events(&reply.text().await.unwrap());
    let used = &events[0]["message"]["usage"];
    assert_eq!(used["input_tokens"], 100);
    assert_eq!(used["cache_read_input_tokens"], 600);
    assert_eq!(used["cache_creation_input_tokens"], 300);
    let deltas = |key: &str| -> String {
        events
            .iter()
            .filter_map(|event| event["delta"][key].as_str())
            .collect()
    };
    assert_eq!(deltas("text"), "First, a look.");
    assert_eq!(
        serde_json::from_str::<Value>(&deltas("partial_json")).unwrap(),
        input
    );
    let last = &events[events.len() - 2];
    assert_eq!(last["delta"]["stop_reason"], "tool_use");
    assert_eq!(last["usage"]["output_tokens"], 42);
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    endpoint
        .wait_for(|requests| requests[0].outcome() == Outcome::Written)
        .await
        .unwrap();
}

#[tokio::test]
async fn each_session_plays_its_own_conversation_in_order() {
    let script = Script::new()
        .conversation(says("reviewer", &["fine"]).first_user_contains("review"))
        .conversation(says("first", &["a", "b"]))
        .conversation(says("second", &["c"]));
    let endpoint = start(script);
    assert_eq!(text(&endpoint, "1", "go").await, "a");
    assert_eq!(text(&endpoint, "2", "go").await, "c");
    assert_eq!(text(&endpoint, "3", "review this").await, "fine");
    assert_eq!(text(&endpoint, "1", "go").await, "b");
    let overrun = text(&endpoint, "1", "go").await;
    assert_eq!(overrun, "The script of `first` has no move left.");
    assert_eq!(endpoint.overruns().len(), 1);
    assert_eq!(endpoint.requests_of("first").len(), 3);
    // a session for which nothing is left, and a side request without tools
    assert_eq!(text(&endpoint, "4", "go").await, "ok");
    let mut side = ask("1", "go", false);
    side.as_object_mut().unwrap().remove("tools");
    send(&endpoint, &side).await.unwrap();
    assert_eq!(endpoint.unmatched().len(), 2);
}

#[tokio::test]
async fn a_conversation_for_each_session_starts_anew() {
    let endpoint = start(Script::new().conversation(says("each", &["a", "b"]).each()));
    for session in ["1", "2"] {
        assert_eq!(text(&endpoint, session, "go").await, "a");
    }
    assert_eq!(text(&endpoint, "1", "go").await, "b");
}

#[tokio::test]
async fn a_script_can_react_to_the_last_result_of_a_tool() {
    let react = Move::react(|request| {
        let result = request.last_tool_result().unwrap();
        Move::call(
            "Next",
            json!({"of": result.name, "case": result.text, "failed": result.is_error}),
        )
    });
    let endpoint = start(Script::new().conversation(Conversation::new("one").then(react)));
    let mut body = ask("s", "go", false);
    body["messages"] = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "mcp__fapo__clusters", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1",
            "content": [{"type": "text", "text": "case-7"}], "is_error": false}]},
    ]);
    let reply: Value = send(&endpoint, &body).await.unwrap().json().await.unwrap();
    assert_eq!(
        reply["content"][0]["input"],
        json!({"of": "mcp__fapo__clusters", "case": "case-7", "failed": false})
    );
}

#[tokio::test]
async fn faults_reach_the_client_as_faults() {
    let conversation = Conversation::new("faults")
        .then(Move::status(429).retry_after(7))
        .then(Move::status(529))
        .then(Move::cut(Move::text("a long text ".repeat(20)), 5))
        .then(Move::cut(Move::text("a long text ".repeat(20)), 1))
        .then(Move::broken())
        .then(Move::reset())
        .then(Move::huge(1_000_000));
    let endpoint = start(Script::new().conversation(conversation));
    let streamed = ask("s", "go", true);
    let limited = send(&endpoint, &streamed).await.unwrap();
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.headers()["retry-after"], "7");
    let body: Value = limited.json().await.unwrap();
    assert_eq!(body["error"]["type"], "rate_limit_error");
    assert_eq!(send(&endpoint, &streamed).await.unwrap().status(), 529);

    let mut cut = send(&endpoint, &streamed).await.unwrap();
    let mut seen = Vec::new();
    let lost = loop {
        match cut.chunk().await {
            Ok(Some(chunk)) => seen.extend_from_slice(&chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(lost);
    assert_eq!(events(std::str::from_utf8(&seen).unwrap()).len(), 5);

    let half = send(&endpoint, &ask("s", "go", false)).await.unwrap();
    assert!(half.text().await.is_err());
    let broken = send(&endpoint, &streamed)
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(broken.ends_with("{\"type\": \"content_bl\n\n"));
    assert!(send(&endpoint, &streamed).await.is_err());
    let huge = text(&endpoint, "s", "go").await;
    assert_eq!(huge.len(), 1_000_000);
}

#[tokio::test]
async fn a_gate_holds_a_reply_and_a_client_that_leaves_is_noticed() {
    let gate = Gate::closed();
    let conversation = Conversation::new("slow")
        .then(Move::text("slow").behind(&gate))
        .then(Move::endless());
    let endpoint = start(Script::new().conversation(conversation));
    let body = ask("s", "go", true);
    // one permit lets the reply begin, and each event takes one more
    gate.let_through(2);
    let mut reply = send(&endpoint, &body).await.unwrap();
    let first = reply.chunk().await.unwrap().unwrap();
    assert_eq!(events(std::str::from_utf8(&first).unwrap()).len(), 1);
    assert_eq!(endpoint.requests()[0].outcome(), Outcome::UnderWay);
    gate.open();
    let mut rest = Vec::new();
    while let Some(chunk) = reply.chunk().await.unwrap() {
        rest.extend_from_slice(&chunk);
    }
    assert!(rest.ends_with(b"data: {\"type\":\"message_stop\"}\n\n"));

    let mut endless = send(&endpoint, &body).await.unwrap();
    for _ in 0..20 {
        assert!(endless.chunk().await.unwrap().is_some());
    }
    drop(endless);
    endpoint
        .wait_for(|requests| requests[1].outcome() == Outcome::Abandoned)
        .await
        .unwrap();
}

#[tokio::test]
async fn everything_is_kept_and_found_however_it_was_escaped() {
    let endpoint = start(Script::new());
    let client = client();
    let url = endpoint.url();
    let canary = "canary \"ß\"\n7";
    send(&endpoint, &ask("s", canary, false)).await.unwrap();
    client.head(&url).send().await.unwrap();
    let counted: Value = client
        .post(format!("{url}/v1/messages/count_tokens?beta=true"))
        .header("x-odd", "header canary")
        .json(&ask("s", "count", false))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(counted["input_tokens"].as_u64().unwrap() > 0);
    let unknown = client.get(format!("{url}/secrets")).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    let all = endpoint.all_text();
    for looked_for in [canary, "header canary", "/secrets", "beta=true"] {
        assert!(all.contains(looked_for), "{looked_for}");
    }
    assert_eq!(endpoint.requests().len(), 4);
    assert_eq!(endpoint.requests()[0].system(), "You are a test.");
}

#[test]
fn a_test_without_a_runtime_can_use_it() {
    let endpoint = start(Script::new());
    let addr = endpoint.addr();
    let asking = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        stream
            .write_all(b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    });
    endpoint
        .wait_for_blocking(|requests| requests.len() == 1)
        .unwrap();
    assert!(asking.join().unwrap().starts_with("HTTP/1.1 200"));
}
