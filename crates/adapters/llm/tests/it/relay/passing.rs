//! What passes, and what it is settled at.

use fapo_testkit::messages::{Gate, Outcome};

use super::*;

#[tokio::test]
async fn a_stream_passes_unchanged_and_is_settled_by_role() {
    let said = |text: &str| {
        Move::call("Read", json!({"file_path": text}))
            .saying("ä long text ".repeat(50))
            .using(Usage {
                cached_input_tokens: 100,
                ..usage(1000, 50)
            })
            .cache_creation(400)
    };
    let lab = Lab::playing([said("a")]).await;
    let relay = lab.open().await;
    let reply = read(send(relay.socket(), &body(500, true)).await).await;
    let alike = Lab::playing([said("a")]).await;
    let direct = reqwest_text(&alike.claude, &body(500, true)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text, direct);
    assert_eq!(
        reply.headers["content-type"],
        "text/event-stream; charset=utf-8"
    );
    let used = relay.close().await.unwrap();
    // 900 at 1, of which 400 at a quarter more; 100 at 0.5; 50 at 2
    assert_eq!(used.spend.cost, MicroUsd(900 + 100 + 50 + 100));
    assert_eq!(used.spend.usage.input_tokens, 1000);
    assert_eq!(used.requests, 1);
    assert!(used.first_request_ms.is_some());
    assert!(!used.out_of_money && used.failure.is_none() && used.refused.is_empty());
    let balance = lab.balance().await;
    assert_eq!(spent(&balance, SpendRole::Proposer), (1150, 1));
    assert_eq!(balance.total().cost, MicroUsd(1150));
    nothing_is_reserved(&balance);
}

/// The same without the relay.
async fn reqwest_text(claude: &ScriptedMessages, body: &Value) -> String {
    let stream = tokio::net::TcpStream::connect(claude.addr()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = request("POST", "/v1/messages", body.to_string());
    read(sender.send_request(request).await.unwrap()).await.text
}

#[tokio::test]
async fn the_key_is_added_and_what_the_client_sent_as_one_is_dropped() {
    let lab = Lab::playing([Move::text("ok")]).await;
    let relay = lab.open().await;
    assert_eq!(ask(&*relay, 10).await.status, 200);
    let received = lab.claude.requests();
    let received = &received[0];
    assert_eq!(received.header("x-api-key"), Some(KEY));
    assert_eq!(received.header("anthropic-beta"), Some("some-beta"));
    assert_eq!(received.header("user-agent"), Some("claude-cli/test"));
    assert!(received.header("anthropic-version").is_some());
    assert_eq!(received.header("accept-encoding"), None);
    assert!(!lab.claude.all_text().contains("the-clients"));
}

#[tokio::test]
async fn betas_that_change_prices_do_not_pass() {
    let lab = Lab::playing([Move::text("ok"), Move::text("ok")]).await;
    let relay = lab.open().await;
    let mut client = client(relay.socket()).await;
    let some = [
        "claude-code-20250219, context-1m-2025-08-07",
        "Fast-Mode-2026-02-01,files-api-2025-04-14",
        "code-execution-2025-08-25,interleaved-thinking-2025-05-14,mcp-client-2025-11-20,web-fetch-2025-09-10",
    ];
    for betas in [&some as &[&str], &some[1..2]] {
        let mut request = request("POST", "/v1/messages", body(10, false).to_string());
        request.headers_mut().remove("anthropic-beta");
        for beta in betas {
            let beta = beta.parse().unwrap();
            request.headers_mut().append("anthropic-beta", beta);
        }
        let reply = read(client.send_request(request).await.unwrap()).await;
        assert_eq!(reply.status, 200);
    }
    let received = lab.claude.requests();
    assert_eq!(
        received[0].header("anthropic-beta"),
        Some("claude-code-20250219,interleaved-thinking-2025-05-14")
    );
    assert_eq!(received[1].header("anthropic-beta"), None);
}

#[tokio::test]
async fn an_error_of_the_provider_passes_with_its_wait_and_costs_nothing() {
    let echo = format!("your key {KEY} is tired");
    let lab = Lab::playing([
        Move::status(529).retry_after(3).message(echo),
        Move::status(401),
        Move::text("ok").using(usage(10, 5)),
    ])
    .await;
    let relay = lab.open().await;
    let overloaded = ask(&*relay, 10).await;
    assert_eq!(overloaded.error(), (529, "overloaded_error".to_owned()));
    assert_eq!(overloaded.headers["retry-after"], "3");
    assert!(overloaded.text.contains("your key [key] is tired"));
    assert_eq!(ask(&*relay, 10).await.status, 401);
    assert!(relay.used().failure.unwrap().contains("status 401"));
    assert_eq!(ask(&*relay, 10).await.status, 200);
    let used = relay.close().await.unwrap();
    // it is well again
    assert_eq!(used.failure, None);
    assert_eq!((used.spend.cost, used.lost), (MicroUsd(20), MicroUsd::ZERO));
    assert_eq!(used.requests, 3);
    nothing_is_reserved(&lab.balance().await);
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_seen_to_and_counts_as_lost() {
    let long = || Move::text("a long text ".repeat(20));
    let lab = Lab::playing([Move::cut(long(), 5), Move::broken(), Move::reset()]).await;
    let relay = lab.open().await;
    let asked = body(100, true);
    let cut = send(relay.socket(), &asked).await;
    assert!(cut.into_body().collect().await.is_err());
    // ends properly, and says nothing of its use
    let broken = read(send(relay.socket(), &asked).await).await;
    assert!(broken.text.contains("content_bl"));
    let reset = read(send(relay.socket(), &asked).await).await;
    assert_eq!(reset.error(), (503, "api_error".to_owned()));
    let used = relay.close().await.unwrap();
    // also the one whose connection was reset: the provider had it
    assert_eq!(used.lost, MicroUsd(3 * worst(&asked)));
    assert_eq!(used.spend.model_calls, 0);
    let balance = lab.balance().await;
    assert_eq!(balance.lost.cost, used.lost);
    nothing_is_reserved(&balance);
}

#[tokio::test]
async fn a_provider_that_is_not_there_costs_nothing() {
    let lab = Lab::playing([]).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let mut grant = lab.grant();
    grant.model.base_url = Some(format!("http://{address}"));
    let relay = lab.try_open(grant).await.unwrap();
    assert_eq!(
        ask(&*relay, 10).await.error(),
        (503, "api_error".to_owned())
    );
    let used = relay.close().await.unwrap();
    assert_eq!((used.spend.model_calls, used.lost), (0, MicroUsd::ZERO));
    nothing_is_reserved(&lab.balance().await);
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_given_up() {
    let (before, during) = (Gate::closed(), Gate::closed());
    let slow = |gate: &Gate| Move::text("slow").behind(gate);
    let mut lab = Lab::playing([slow(&before), slow(&during)]).await;
    lab.config.silence = Duration::from_millis(500);
    let relay = lab.open().await;
    let asked = body(100, true);
    let never = read(send(relay.socket(), &asked).await).await;
    assert_eq!(never.error(), (503, "api_error".to_owned()));
    during.let_through(3);
    let stopped = send(relay.socket(), &asked).await;
    assert!(stopped.into_body().collect().await.is_err());
    let used = relay.close().await.unwrap();
    assert_eq!(used.lost, MicroUsd(2 * worst(&asked)));
    assert!(used.failure.unwrap().contains("did not answer"));
}

#[tokio::test]
async fn a_request_waits_until_its_reply_begins() {
    let gate = Gate::closed();
    let lab = Lab::playing([Move::text("slow").behind(&gate), Move::status(400)]).await;
    let relay = lab.open().await;
    let asked = body(100, true);
    let (reply, ()) = tokio::join!(send(relay.socket(), &asked), async {
        lab.claude
            .wait_for(|requests| !requests.is_empty())
            .await
            .unwrap();
        assert_eq!(relay.used().waiting, 1);
        gate.let_through(1);
    });
    assert_eq!(relay.used().waiting, 0);
    gate.open();
    read(reply).await;
    // what was wrong about a request is nobody else's failure
    assert_eq!(ask(&*relay, 10).await.status, 400);
    let used = relay.close().await.unwrap();
    assert_eq!((used.waiting, used.failure), (0, None));
}

#[tokio::test]
async fn a_client_that_goes_away_pays_what_the_reply_cost() {
    let gate = Gate::closed();
    let lab = Lab::playing([Move::text("slow").using(usage(30, 7)).behind(&gate)]).await;
    let relay = lab.open().await;
    gate.let_through(2);
    let mut reply = send(relay.socket(), &body(100, true)).await;
    assert!(reply.body_mut().frame().await.unwrap().is_ok());
    drop(reply);
    gate.open();
    let used = relay.close().await.unwrap();
    assert_eq!(used.spend.cost, MicroUsd(30 + 14));
    assert_eq!(used.lost, MicroUsd::ZERO);
    assert_eq!(lab.claude.requests()[0].outcome(), Outcome::Written);
    nothing_is_reserved(&lab.balance().await);
}

#[tokio::test]
async fn closing_cuts_off_what_does_not_end_and_counts_it_as_lost() {
    let mut lab = Lab::playing([Move::endless()]).await;
    lab.config.close_wait = Duration::ZERO;
    let relay = lab.open().await;
    let socket = relay.socket().to_owned();
    let asked = body(100, true);
    let mut reply = send(&socket, &asked).await;
    assert!(reply.body_mut().frame().await.unwrap().is_ok());
    assert_eq!(lab.balance().await.reserved.cost, MicroUsd(worst(&asked)));
    let used = relay.close().await.unwrap();
    assert_eq!(used.lost, MicroUsd(worst(&asked)));
    let balance = lab.balance().await;
    assert_eq!(balance.lost.cost, used.lost);
    nothing_is_reserved(&balance);
    // the client sees that something is missing, and nobody is let in any more
    assert!(reply.into_body().collect().await.is_err());
    assert!(UnixStream::connect(&socket).await.is_err());
}

#[tokio::test]
async fn a_dropped_relay_settles_what_it_had_under_way_once() {
    let lab = Lab::playing([Move::endless()]).await;
    let relay = lab.open().await;
    let asked = body(100, true);
    let mut reply = send(relay.socket(), &asked).await;
    assert!(reply.body_mut().frame().await.unwrap().is_ok());
    drop(relay);
    lab.claude
        .wait_for(|requests| requests[0].outcome() == Outcome::Abandoned)
        .await
        .unwrap();
    // the end of the claim, whether it comes before or after the relay's own settling
    let fence = lab.grant().fence;
    lab.store.close(job(), fence.into()).await.unwrap();
    let settled = async {
        while lab.balance().await.lost.cost != MicroUsd(worst(&asked)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), settled)
        .await
        .unwrap();
    nothing_is_reserved(&lab.balance().await);
}
