//! What does not pass.

use fapo_domain::error::Classified;

use super::*;

async fn answer(relay: &dyn Relay, method: &str, path: &str, body: &str) -> Read {
    let request = request(method, path, body.to_owned());
    let mut client = client(relay.socket()).await;
    read(client.send_request(request).await.unwrap()).await
}

#[tokio::test]
async fn only_the_paths_of_the_protocol_are_there() {
    let lab = Lab::playing([]).await;
    let relay = lab.open().await;
    for (method, path) in [
        ("POST", "/v1/complete"),
        ("GET", "/v1/files"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/responses"),
        ("DELETE", "/v1/messages"),
        ("POST", "/v1/messages/../files"),
        ("GET", "/v1/organizations/api_keys"),
        ("POST", "http://elsewhere.example/v1/files"),
    ] {
        let refused = answer(&*relay, method, path, "{}").await;
        assert_eq!(
            refused.error(),
            (404, "not_found_error".to_owned()),
            "{path}"
        );
    }
    assert_eq!(answer(&*relay, "HEAD", "/", "").await.status, 200);
    assert_eq!(answer(&*relay, "GET", "/", "").await.status, 200);
    let models = answer(&*relay, "GET", "/v1/models", "").await;
    assert!(models.text.contains("claude-scripted"));
    assert!(lab.claude.requests().is_empty());
    let counted = answer(
        &*relay,
        "POST",
        "/v1/messages/count_tokens",
        r#"{"model": "claude-scripted", "messages": []}"#,
    )
    .await;
    assert!(counted.text.contains("input_tokens"));
    let used = relay.close().await.unwrap();
    assert_eq!((used.requests, used.refused.len()), (0, 8));
    assert_eq!(lab.balance().await.total().model_calls, 0);
}

#[tokio::test]
async fn what_would_reach_elsewhere_or_cost_the_unforeseen_is_refused() {
    let lab = Lab::playing([]).await;
    let relay = lab.open().await;
    let image = |source: Value| {
        json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "image", "source": source},
        ]}]}])
    };
    let document = |source: Value| json!([{"role": "user", "content": [{"type": "document", "source": source}]}]);
    let url = "https://elsewhere.example/?secret";
    for (name, value) in [
        (
            "tools",
            json!([{"type": "web_fetch_20250910", "name": "web_fetch"}]),
        ),
        (
            "tools",
            json!([{"name": "Read"}, {"type": "code_execution_20250825", "name": "x"}]),
        ),
        (
            "mcp_servers",
            json!([{"type": "url", "url": url, "name": "x"}]),
        ),
        ("messages", image(json!({"type": "url", "url": url}))),
        ("messages", image(json!({"type": "file", "file_id": "f"}))),
        (
            "messages",
            document(json!({"type": "text", "media_type": "text/plain", "data": "x"})),
        ),
        (
            "messages",
            image(json!({"type": "base64", "media_type": "application/pdf", "data": "AA"})),
        ),
        ("speed", json!("fast")),
        ("service_tier", json!("priority")),
        ("inference_geo", json!("us")),
        ("container", json!("c")),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(1e18)),
        ("max_tokens", Value::Null),
        ("model", json!(7)),
    ] {
        let mut asked = body(10, false);
        asked[name] = value.clone();
        let refused = read(send(relay.socket(), &asked).await).await;
        assert_eq!(
            refused.error(),
            (400, "invalid_request_error".to_owned()),
            "{name}: {value}"
        );
    }
    for text in ["", "[]", "{", "\"x\"", "{\"model\": \"x\"} {}"] {
        let refused = answer(&*relay, "POST", "/v1/messages", text).await;
        assert_eq!(refused.status, 400, "{text}");
    }
    assert!(lab.claude.requests().is_empty());
    assert_eq!(relay.used().refused.len(), 20);
}

#[tokio::test]
async fn what_is_like_it_and_harmless_passes() {
    let lab = Lab::playing([Move::text("ok")]).await;
    let relay = lab.open().await;
    let mut asked = body(10, false);
    asked["messages"] = json!([
        {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "AA"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Write",
            "input": {"source": {"type": "url", "url": "https://example.org"}, "file_id": 7}}]},
        {"role": "user", "content": "the text \"type\": \"url\""},
    ]);
    asked["tools"] = json!([{"name": "Read"}, {"type": "custom", "name": "x"}, {"type": "bash_20250124", "name": "bash"}]);
    asked["service_tier"] = "auto".into();
    assert_eq!(read(send(relay.socket(), &asked).await).await.status, 200);
    assert_eq!(lab.claude.requests()[0].body, asked);
}

#[tokio::test]
async fn a_body_cannot_mean_one_thing_here_and_another_there() {
    let lab = Lab::playing([Move::text("ok")]).await;
    let relay = lab.open().await;
    let twice = r#"{"max_tokens": 100000, "model": "claude-opus-4-5", "messages": [],
        "max_tokens": 5, "model": "claude-scripted"}"#;
    let passed = answer(&*relay, "POST", "/v1/messages", twice).await;
    assert_eq!(passed.status, 200);
    let received = &lab.claude.requests()[0].text;
    assert_eq!(received.matches("max_tokens").count(), 1);
    assert!(received.contains("\"max_tokens\":5"));
    assert!(!received.contains("opus"));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read_whole() {
    let mut lab = Lab::playing([Move::text("ok")]).await;
    lab.config.request_bytes = 10_000;
    let relay = lab.open().await;
    let mut asked = body(10, false);
    asked["messages"][0]["content"] = "x".repeat(9_000).into();
    assert_eq!(read(send(relay.socket(), &asked).await).await.status, 200);
    asked["messages"][0]["content"] = "x".repeat(10_001).into();
    let refused = read(send(relay.socket(), &asked).await).await;
    assert_eq!(refused.error(), (413, "request_too_large".to_owned()));
}

#[tokio::test]
async fn a_socket_that_cannot_be_made_is_said_so() {
    let lab = Lab::playing([]).await;
    let first = lab.open().await;
    let second = lab.try_open(lab.grant()).await.err().unwrap();
    assert_eq!(second.reason(), "RELAY_FAILED");
    first.close().await.unwrap();
    // closing gave it back
    lab.open().await;
}

#[tokio::test]
async fn a_provider_that_the_operator_did_not_name_gets_no_relay() {
    let mut lab = Lab::playing([]).await;
    lab.addresses = Addresses::listed([]).unwrap();
    // what begins with a variable is the operator's choice
    lab.open().await.close().await.unwrap();
    let mut grant = lab.grant();
    grant.model.base_url = Some(lab.claude.base_url());
    let refused = lab.try_open(grant).await.err().expect("it is refused");
    assert_eq!(refused.reason(), "MODEL_CONFIG", "{refused:?}");
    assert!(lab.claude.requests().is_empty());
}
