//! What goes wrong on purpose.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Sim;

fn chat(prompt: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": prompt}]})
}

#[tokio::test]
async fn statuses_come_by_the_request_counter_with_retry_after() {
    let sim = Sim::start(&json!({"faults": [
        {"at": [2], "fault": {"kind": "status", "status": 429, "retry_after_s": 7}},
        {"every": 4, "fault": {"kind": "status", "status": 529, "message": "busy"}}
    ]}))
    .await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        let response = sim.post("/chat/completions", &chat("x")).await.unwrap();
        let wait = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().to_owned());
        seen.push((response.status().as_u16(), wait));
    }
    assert_eq!(
        seen,
        [
            (200, None),
            (429, Some("7".into())),
            (200, None),
            (529, None),
            (200, None)
        ]
    );
    let stats = sim.handle.stats();
    assert_eq!((stats.requests, stats.answered, stats.faults), (5, 3, 2));
}

#[tokio::test]
async fn a_share_of_requests_fails_on_the_first_try_only() {
    let world = json!({"faults": [
        {"share": 0.4, "fault": {"kind": "status", "status": 500}}
    ]});
    let sim = Sim::start(&world).await;
    let mut failed = Vec::new();
    for n in 0..50 {
        let body = chat(&n.to_string());
        let first = sim.post("/chat/completions", &body).await.unwrap().status();
        let second = sim.post("/chat/completions", &body).await.unwrap().status();
        assert_eq!(second, 200);
        failed.push(first == 500);
    }
    let count = failed.iter().filter(|failed| **failed).count();
    assert!((10..=30).contains(&count), "{count}");
    let again = Sim::start(&world).await;
    for (n, expected) in failed.iter().enumerate() {
        let response = again.post("/chat/completions", &chat(&n.to_string())).await;
        assert_eq!(
            response.unwrap().status() == 500,
            *expected,
            "same world, same faults"
        );
    }
}

#[tokio::test]
async fn replies_can_be_refusals_broken_or_empty() {
    let sim = Sim::start(&json!({"faults": [
        {"when": "poison", "fault": {"kind": "refusal"}},
        {"when": "garble", "tries": 1, "fault": {"kind": "malformed"}},
        {"when": "void", "fault": {"kind": "empty_choices"}}
    ]}))
    .await;
    let reply = sim.chat("poison", json!({})).await;
    assert_eq!(reply["choices"][0]["message"]["content"], Value::Null);
    assert!(reply["choices"][0]["message"]["refusal"].is_string());
    let body =
        json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "poison"}]});
    let reply: Value = sim
        .post("/messages", &body)
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(reply["stop_reason"], "refusal");

    let garbled = sim
        .post("/chat/completions", &chat("garble"))
        .await
        .unwrap();
    assert_eq!(garbled.status(), 200);
    assert!(garbled.json::<Value>().await.is_err());
    let retried = sim
        .post("/chat/completions", &chat("garble"))
        .await
        .unwrap();
    assert!(retried.json::<Value>().await.is_ok());

    let reply = sim.chat("void", json!({})).await;
    assert_eq!(reply["choices"], json!([]));
}

#[tokio::test]
async fn connections_break_in_the_body_or_before_it() {
    let sim = Sim::start(&json!({"faults": [
        {"at": [1], "fault": {"kind": "cut_body"}},
        {"at": [2], "fault": {"kind": "disconnect"}}
    ]}))
    .await;
    let response = sim.post("/chat/completions", &chat("x")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err());
    assert!(sim.post("/chat/completions", &chat("x")).await.is_err());
    let response = sim.post("/chat/completions", &chat("x")).await.unwrap();
    assert!(response.bytes().await.is_ok());
    assert_eq!(sim.handle.stats().answered, 1);
}

#[tokio::test]
async fn slow_answers_are_late_and_do_not_hold_up_a_stop() {
    let sim = Sim::start(&json!({
        "latency_ms": 30,
        "faults": [{"when": "forever", "fault": {"kind": "slow", "ms": 600_000}}]
    }))
    .await;
    let started = Instant::now();
    sim.ask("x").await;
    assert!(started.elapsed() >= Duration::from_millis(30));
    let slow = tokio::spawn({
        let request = sim
            .http
            .post(format!("{}/chat/completions", sim.handle.base_url()))
            .json(&chat("forever"));
        async move { request.send().await }
    });
    while sim.handle.stats().faults == 0 {
        tokio::task::yield_now().await;
    }
    sim.handle.stop().await;
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn bad_requests_and_keys_are_refused() {
    let sim = Sim::start(&json!({"api_key": "sim-key"})).await;
    let response = sim.post("/chat/completions", &chat("x")).await.unwrap();
    assert_eq!(response.status(), 401);
    let request = |auth: (&'static str, &'static str), body: Value| {
        sim.http
            .post(format!("{}/chat/completions", sim.handle.base_url()))
            .header(auth.0, auth.1)
            .json(&body)
            .send()
    };
    let bearer = ("authorization", "Bearer sim-key");
    assert_eq!(request(bearer, chat("x")).await.unwrap().status(), 200);
    assert_eq!(
        request(("x-api-key", "sim-key"), chat("x"))
            .await
            .unwrap()
            .status(),
        200
    );
    for bad in [
        json!({"model": "m"}),
        json!({"model": "m", "messages": []}),
        json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": true}),
    ] {
        assert_eq!(request(bearer, bad).await.unwrap().status(), 400);
    }
}
