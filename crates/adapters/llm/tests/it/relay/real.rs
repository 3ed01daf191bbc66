//! The relay with a provider of the other protocol, and with the real Claude Code CLI.

use fapo_testkit::claude_or_skip;
use tokio::net::TcpListener;

use super::*;

/// The most that an OpenAI request can cost is known although it names no bound, and its use is reported although it did not ask.
#[tokio::test]
async fn the_openai_protocol_is_relayed_too() {
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 4});
    let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = provider.local_addr().unwrap();
    let (received, mut seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = provider.accept().await {
            let (received, usage) = (received.clone(), usage.clone());
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (received, usage) = (received.clone(), usage.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let bytes = body.collect().await?.to_bytes();
                    let body: Value = serde_json::from_slice(&bytes).unwrap();
                    let key = head.headers["authorization"].to_str().unwrap().to_owned();
                    received.send((head.uri.to_string(), key, body)).unwrap();
                    let reply = json!({"choices": [], "usage": usage}).to_string();
                    Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(reply))))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    let lab = Lab::playing([]).await;
    let mut grant = lab.grant();
    let model = json!({
        "provider": "openai", "model": "gpt-scripted", "base_url": format!("http://{address}/v1"),
        "api_key_env": "ANTHROPIC_API_KEY", "price": {"input": 1.0, "output": 2.0},
    });
    grant.model = serde_json::from_value(model).unwrap();
    grant.cost = Some(MicroUsd(70_000));
    let relay = lab.try_open(grant).await.unwrap();
    let post = async |path: &str, body: Value| {
        let request = request("POST", path, body.to_string());
        let mut client = client(relay.socket()).await;
        read(client.send_request(request).await.unwrap()).await
    };
    let chat = json!({"model": "gpt-scripted", "stream": true, "messages": []});
    assert_eq!(post("/v1/chat/completions", chat.clone()).await.status, 200);
    let (path, key, body) = seen.recv().await.unwrap();
    assert_eq!(path, "/v1/chat/completions");
    assert_eq!(key, format!("Bearer {KEY}"));
    assert_eq!(body["max_completion_tokens"], 32_768);
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    let responses =
        json!({"model": "gpt-scripted", "input": "go", "tools": [{"type": "local_shell"}]});
    assert_eq!(post("/v1/responses", responses).await.status, 200);
    assert_eq!(seen.recv().await.unwrap().2["max_output_tokens"], 32_768);
    // several replies cost as much as several
    let mut many = chat;
    many["n"] = 2.into();
    assert_eq!(post("/v1/chat/completions", many).await.status, 402);
    for refused in [
        json!({"model": "gpt-scripted", "input": "go", "previous_response_id": "r"}),
        json!({"model": "gpt-scripted", "input": "go", "background": true}),
        json!({"model": "gpt-scripted", "input": "go", "tools": [{"type": "web_search"}]}),
        json!({"model": "gpt-scripted", "input": [{"type": "input_image", "image_url": "https://example.org/x"}]}),
    ] {
        assert_eq!(post("/v1/responses", refused).await.status, 400);
    }
    let used = relay.close().await.unwrap();
    assert_eq!(used.spend.cost, MicroUsd(2 * (9 + 8)));
}

/// Joins a port to a socket, as the sandbox does for a session.
async fn port_to(socket: std::path::PathBuf) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                if let Ok(mut to) = UnixStream::connect(socket).await {
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn the_real_cli_spends_through_the_relay_and_stops_when_the_money_is_gone() {
    let Some(program) = claude_or_skip("the real CLI through the relay") else {
        return;
    };
    let lab = Lab::playing([
        Move::call("Read", json!({"file_path": "/nowhere"})).using(usage(1000, 20)),
        Move::text("done").using(usage(2000, 30)),
    ])
    .await;
    let run = async |grant: RelayGrant| {
        let relay = lab.try_open(grant).await.unwrap();
        let address = port_to(relay.socket().to_owned()).await;
        let output = tokio::process::Command::new(&program)
            .args(["-p", "go", "--bare", "--output-format", "json"])
            .args(["--tools", "Read", "--model", "claude-scripted"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", lab.folder.path())
            .env("ANTHROPIC_BASE_URL", format!("http://{address}"))
            .env("ANTHROPIC_API_KEY", "a-key-of-the-session")
            .env("CLAUDE_CODE_MAX_OUTPUT_TOKENS", "1000")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .current_dir(lab.folder.path())
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        (result, relay.close().await.unwrap())
    };
    let (result, used) = run(lab.grant()).await;
    assert_eq!(result["result"], "done", "{result}");
    assert_eq!(used.spend.cost, MicroUsd(3000 + 100));
    assert_eq!(used.requests, 2);
    assert_eq!(used.refused, Vec::<String>::new());
    assert!(!lab.claude.all_text().contains("a-key-of-the-session"));

    let mut poor = lab.grant();
    poor.cost = Some(MicroUsd(10));
    let (result, used) = run(poor).await;
    assert_eq!(result["api_error_status"], 402, "{result}");
    assert!(used.out_of_money);
    // once, and not again
    assert_eq!(used.refused.len(), 1, "{:?}", used.refused);
}
