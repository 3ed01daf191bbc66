//! Limits that several processes share, here several clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fapo_domain::model::project::ModelSpec;
use fapo_domain::ports::limits::SharedLimits;
use fapo_domain::ports::models::{ModelRequest, Models};
use fapo_llm::ProviderModels;
use fapo_queue::MemoryLimits;
use fapo_sim::{SimHandle, SimServer, World};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{models, request};

async fn start(world: Value) -> SimHandle {
    let world = World::load(&world.to_string()).unwrap();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    SimServer::start(world, addr).await.unwrap()
}

fn ask(sim: &SimHandle, prompt: &str, change: impl FnOnce(&mut ModelSpec)) -> ModelRequest {
    let spec = json!({"provider": "openai", "model": "m", "base_url": sim.base_url()});
    let mut request = request(spec, prompt);
    change(Arc::make_mut(&mut request.spec));
    request
}

/// Clients that know nothing of each other but the limits.
fn clients(count: usize) -> Vec<ProviderModels> {
    let limits: Arc<dyn SharedLimits> = Arc::new(MemoryLimits::new());
    (0..count)
        .map(|_| models(&[]).with_shared_limits(Arc::clone(&limits)))
        .collect()
}

#[tokio::test]
async fn clients_that_share_a_limit_hold_it_together() {
    const LATENCY: Duration = Duration::from_millis(60);
    let sim = start(json!({"latency_ms": LATENCY.as_millis()})).await;
    let clients = clients(3);
    let ask = ask(&sim, "x", |spec| spec.total_concurrency = Some(1));
    let began = Instant::now();
    let calls = (0..6).map(|number| clients[number % 3].complete(&ask));
    for reply in join_all(calls).await {
        let reply = reply.unwrap();
        assert!(
            reply.took < LATENCY * 5,
            "the wait for a slot is no time of the model: {:?}",
            reply.took
        );
    }
    assert!(
        began.elapsed() >= LATENCY * 6,
        "six calls one after another took {:?}",
        began.elapsed()
    );
    assert_eq!(ask.waits.watch().borrow().waiting, 0);
}

#[tokio::test]
async fn tokens_that_a_call_did_not_use_serve_the_next() {
    let sim = start(json!({"default_answer": "yes"})).await;
    let clients = clients(2);
    // each may need some 900 tokens and uses a few
    let ask = ask(&sim, "a short question", |spec| {
        spec.tokens_per_minute = Some(2_000);
    });
    let ask = ModelRequest {
        max_tokens: 900,
        ..ask
    };
    let began = Instant::now();
    for number in 0..20 {
        clients[number % 2].complete(&ask).await.unwrap();
    }
    // at their worst, 18 000 tokens would have taken eight minutes
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_rate_holds_back_what_is_beyond_it() {
    let sim = start(json!({})).await;
    let clients = clients(2);
    // a hundred at once, then one every 100 ms
    let ask = ask(&sim, "x", |spec| spec.requests_per_minute = Some(600));
    let began = Instant::now();
    let calls = (0..106).map(|number| clients[number % 2].complete(&ask));
    for reply in join_all(calls).await {
        reply.unwrap();
    }
    assert!(
        began.elapsed() >= Duration::from_millis(500),
        "106 calls at 600 a minute, 100 of them at once, took {:?}",
        began.elapsed()
    );
}
