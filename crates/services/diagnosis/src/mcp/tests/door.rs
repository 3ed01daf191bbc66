//! Who is let in, and how much may be said.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;

/// What comes back on a connection that is turned away: its end.
async fn turned_away(mut stream: UnixStream) {
    let mut rest = Vec::new();
    // a reset is an end, too
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn who_has_no_token_or_a_wrong_one_is_turned_away_and_recorded() {
    let house = House::new().await;
    let tools = house.open();
    let token = tools.agent_tools().token;
    assert_eq!(
        (token.len(), format!("{tools:?}").contains(&token)),
        (64, false)
    );
    let hello = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";
    let half = &token[..63];
    for first in [
        format!("{}\n", "0".repeat(64)),
        format!("{half}\n"),
        format!("{token} \n"),
        "\n".to_owned(),
        String::from_utf8_lossy(hello).into_owned(),
    ] {
        let mut stream = UnixStream::connect(house.socket()).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        // it may be closed already
        let _ = stream.write_all(hello).await;
        turned_away(stream).await;
    }
    // more than a line may have, without an end
    let mut stream = UnixStream::connect(house.socket()).await.unwrap();
    stream.write_all(&[b'x'; 4096]).await.unwrap();
    turned_away(stream).await;
    // nothing at all
    drop(UnixStream::connect(house.socket()).await.unwrap());
    let client = connect(&tools).await;
    house.ask(&client, "scope", json!({})).await;
    let used = house.end(tools).await;
    assert!(used.refused >= 6, "{:?}", used.refusals);
    assert_eq!(
        used.refusals[0],
        "a connection to the tools with a wrong token"
    );
    assert!(
        used.refusals
            .contains(&"a connection to the tools without a token".to_owned())
    );
    assert!(!format!("{used:?}").contains(&token));
}

#[tokio::test]
async fn two_sessions_have_two_tokens_and_neither_opens_the_other() {
    let (one, other) = (House::new().await, House::new().await);
    let (tools, others) = (one.open(), other.open());
    let mut stream = UnixStream::connect(one.socket()).await.unwrap();
    let line = format!("{}\n", others.agent_tools().token);
    stream.write_all(line.as_bytes()).await.unwrap();
    turned_away(stream).await;
    assert_eq!(one.end(tools).await.refused, 1);
    assert_eq!(other.end(others).await.refused, 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_with_the_token_is_turned_away() {
    let house = House::new().await;
    let tools = house.open();
    let mut stream = UnixStream::connect(house.socket()).await.unwrap();
    stream.write_all(b"0123").await.unwrap();
    let began = Instant::now();
    turned_away(stream).await;
    assert!(began.elapsed() >= Duration::from_secs(5));
    let used = house.end(tools).await;
    assert_eq!(
        used.refusals,
        ["a connection to the tools that was too slow with its token"]
    );
}

#[tokio::test]
async fn several_connections_are_served_at_once_and_none_after_the_end() {
    let house = House::new().await;
    let tools = house.open();
    let mut clients = Vec::new();
    for _ in 0..8 {
        let client = connect(&tools).await;
        house.ask(&client, "scope", json!({})).await;
        clients.push(client);
    }
    // a ninth finds no place
    turned_away(UnixStream::connect(house.socket()).await.unwrap()).await;
    let used = house.end(tools).await;
    assert_eq!(used.calls, [("scope".to_owned(), 8)]);
    assert_eq!(
        used.refusals,
        ["a connection to the tools: there are as many as may be"]
    );
    assert!(UnixStream::connect(house.socket()).await.is_err());
    for client in clients {
        let request = CallToolRequestParams::new("scope");
        assert!(client.call_tool(request).await.is_err());
    }
    // a folder can be used again
    house.end(house.open()).await;
}

#[tokio::test]
async fn dropped_tools_serve_nobody() {
    let house = House::new().await;
    let tools = house.open();
    let client = connect(&tools).await;
    drop(tools);
    client.waiting().await.unwrap();
    assert!(UnixStream::connect(house.socket()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn tools_that_expired_serve_nobody() {
    let mut house = House::new().await;
    house.grant.expires = Instant::now() + Duration::from_secs(60);
    let tools = house.open();
    let mut stream = UnixStream::connect(house.socket()).await.unwrap();
    let line = format!("{}\n", tools.agent_tools().token);
    stream.write_all(line.as_bytes()).await.unwrap();
    // let in, and put out when the time is over
    turned_away(stream).await;
    assert!(Instant::now() >= house.grant.expires);
    assert!(UnixStream::connect(house.socket()).await.is_err());
    assert_eq!(house.end(tools).await.refused, 0);
}

#[tokio::test]
async fn a_message_of_more_than_a_mebibyte_ends_its_connection_and_no_other() {
    let house = House::new().await;
    let tools = house.open();
    let (one, other) = (connect(&tools).await, connect(&tools).await);
    let code = format!("x = '{}'", "y".repeat(1 << 20));
    let request = CallToolRequestParams::new("analyze")
        .with_arguments(super::super::answer::object(json!({ "code": code })));
    assert!(one.call_tool(request).await.is_err());
    house.ask(&other, "scope", json!({})).await;
    let used = house.end(tools).await;
    assert_eq!(used.refusals, ["a message of more than 1 MiB to the tools"]);
    assert_eq!(used.calls, [("scope".to_owned(), 1)]);
}

#[tokio::test]
async fn who_sends_messages_without_end_is_put_out_and_not_let_in_again() {
    let house = House::new().await;
    let tools = house.open();
    let token = tools.agent_tools().token;
    for lines in [10_001, 1] {
        let mut stream = UnixStream::connect(house.socket()).await.unwrap();
        stream
            .write_all(format!("{token}\n").as_bytes())
            .await
            .unwrap();
        // it may be closed before all of it is taken
        let _ = stream.write_all("\n".repeat(lines).as_bytes()).await;
        turned_away(stream).await;
    }
    let used = house.end(tools).await;
    assert_eq!(
        used.refusals,
        ["more messages to the tools than a session may send"; 2]
    );
}

#[tokio::test]
async fn only_the_jobs_own_train_evaluation_can_be_opened() {
    let mut house = House::new().await;
    for split in [Split::Val, Split::Test] {
        house.grant.evaluation.split = split;
        let opened = SessionTools::open(
            house.ports.clone(),
            house.grant.clone(),
            house.folder.path(),
        );
        assert!(opened.unwrap_err().to_string().contains("train"));
    }
    house.grant.evaluation.split = Split::Train;
    house.grant.evaluation.job = JobId::at(1, [1; 10]);
    let opened = SessionTools::open(
        house.ports.clone(),
        house.grant.clone(),
        house.folder.path(),
    );
    assert!(opened.is_err());
    assert!(!house.socket().exists());
}
