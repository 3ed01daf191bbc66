//! Against the simulated model.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fapo_domain::MicroUsd;
use fapo_domain::model::trace::FinishReason;
use fapo_domain::ports::models::{ChatRole, Message, ModelError, ModelRequest, Models};
use fapo_sim::{SimHandle, SimServer, World};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{models, request};

async fn start(world: Value) -> SimHandle {
    let world = World::load(&world.to_string()).unwrap();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    SimServer::start(world, addr).await.unwrap()
}

fn to(sim: &SimHandle, provider: &str, prompt: &str) -> ModelRequest {
    let spec = json!({
        "provider": provider, "model": "gpt-4.1-mini", "base_url": sim.base_url(),
        "price": {"input": 1.0, "output": 2.0},
    });
    request(spec, prompt)
}

fn with(
    mut request: ModelRequest,
    change: impl FnOnce(&mut fapo_domain::model::project::ModelSpec),
) -> ModelRequest {
    change(Arc::make_mut(&mut request.spec));
    request
}

#[tokio::test]
async fn both_protocols_give_text_finish_usage_cost_and_model() {
    let sim = start(json!({"model": "served-1", "default_answer": "four words in all"})).await;
    for provider in ["openai", "anthropic"] {
        let reply = models(&[])
            .complete(&to(&sim, provider, "one two three"))
            .await
            .unwrap();
        assert_eq!(reply.text, "four words in all");
        assert_eq!(reply.finish, FinishReason::Stop);
        assert_eq!(reply.served_by.as_deref(), Some("served-1"));
        assert_eq!((reply.attempts, reply.spend.model_calls), (1, 1));
        let usage = reply.spend.usage;
        assert_eq!((usage.input_tokens, usage.output_tokens), (8, 6));
        assert_eq!(reply.spend.cost, MicroUsd(8 + 12));
    }
}

#[tokio::test]
async fn a_cut_off_reply_and_a_refusal_are_visible() {
    let sim = start(json!({
        "default_answer": "a reply of quite a few words",
        "faults": [{"when": "poison", "fault": {"kind": "refusal"}}]
    }))
    .await;
    for provider in ["openai", "anthropic"] {
        let mut ask = to(&sim, provider, "x");
        ask.max_tokens = 4;
        let reply = models(&[]).complete(&ask).await.unwrap();
        assert_eq!(
            (reply.text.as_str(), reply.finish),
            ("a reply of", FinishReason::Length)
        );
        let reply = models(&[])
            .complete(&to(&sim, provider, "poison"))
            .await
            .unwrap();
        assert_eq!(reply.finish, FinishReason::Refusal);
        assert!(!reply.text.is_empty());
    }
}

#[tokio::test]
async fn structured_output_is_json_text_on_both_protocols() {
    let sim = start(json!({"default_answer": "yes"})).await;
    for provider in ["openai", "anthropic"] {
        let mut ask = to(&sim, provider, "Reply in JSON.");
        ask.schema = Some(json!({"type": "object", "properties": {"answer": {"type": "boolean"}}}));
        let reply = models(&[]).complete(&ask).await.unwrap();
        assert_eq!(
            (reply.text.as_str(), reply.finish),
            (r#"{"answer":true}"#, FinishReason::Stop)
        );
        ask.schema = Some(json!({"type": "array", "items": {"type": "string"}}));
        if provider == "anthropic" {
            let reply = models(&[]).complete(&ask).await.unwrap();
            assert_eq!(reply.text, r#"["yes"]"#);
        }
        ask.schema = Some(Value::Bool(true));
        let reply = models(&[]).complete(&ask).await.unwrap();
        assert_eq!(reply.text, r#"{"answer":"yes"}"#);
    }
}

#[tokio::test]
async fn anthropic_prompts_of_any_shape_keep_the_protocols_rules() {
    let sim = start(json!({"default_answer": "fine"})).await;
    use ChatRole::{Assistant, System, User};
    for roles in [
        vec![System],
        vec![System, System, User],
        vec![User, User],
        vec![Assistant, User],
        vec![User, Assistant, System, Assistant],
    ] {
        let mut ask = to(&sim, "anthropic", "");
        ask.messages = roles
            .iter()
            .map(|role| Message {
                role: *role,
                content: "text".into(),
            })
            .collect();
        let reply = models(&[]).complete(&ask).await;
        assert_eq!(reply.unwrap().text, "fine", "{roles:?}");
    }
}

#[tokio::test]
async fn what_can_pass_is_tried_again_and_answered_once() {
    let faults = [
        json!({"kind": "status", "status": 500}),
        json!({"kind": "status", "status": 429}),
        json!({"kind": "status", "status": 529}),
        json!({"kind": "status", "status": 408}),
        json!({"kind": "malformed"}),
        json!({"kind": "empty_choices"}),
        json!({"kind": "cut_body"}),
        json!({"kind": "disconnect"}),
    ];
    let pairs = faults
        .iter()
        .flat_map(|fault| [(fault, "openai"), (fault, "anthropic")]);
    join_all(pairs.map(async |(fault, provider)| {
        let sim = start(json!({"faults": [{"first": 1, "fault": fault}]})).await;
        let reply = models(&[]).complete(&to(&sim, provider, "x")).await;
        let reply = reply.unwrap_or_else(|error| panic!("{fault}: {error}"));
        assert_eq!((reply.attempts, reply.spend.model_calls), (2, 1), "{fault}");
        assert_eq!(sim.stats().answered, 1, "{fault}");
    }))
    .await;
}

#[tokio::test]
async fn what_cannot_pass_is_tried_once() {
    for status in [400, 401, 403, 404, 413, 422, 501] {
        let sim = start(json!({"faults": [
            {"every": 1, "fault": {"kind": "status", "status": status, "message": "so it is"}}
        ]}))
        .await;
        let error = models(&[])
            .complete(&to(&sim, "openai", "x"))
            .await
            .unwrap_err();
        let ModelError::Rejected {
            status: said,
            message,
            provider,
            unanswered: 0,
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!((*said, message.as_str()), (status, "so it is"));
        assert_eq!(*provider, sim.addr.to_string());
        assert_eq!(sim.stats().requests, 1);
    }
}

#[tokio::test]
async fn attempts_run_out_with_the_last_failure() {
    let ask = |sim: &SimHandle| with(to(sim, "openai", "x"), |spec| spec.attempts = 2);
    let sim =
        start(json!({"faults": [{"every": 1, "fault": {"kind": "status", "status": 503}}]})).await;
    let error = models(&[]).complete(&ask(&sim)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ModelError::Overloaded {
                status: 503,
                attempts: 2,
                ..
            }
        ),
        "{error}"
    );
    let sim = start(json!({"faults": [{"every": 1, "fault": {"kind": "disconnect"}}]})).await;
    let error = models(&[]).complete(&ask(&sim)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ModelError::Unavailable {
                attempts: 2,
                unanswered: 0,
                ..
            }
        ),
        "{error}"
    );
    let sim = start(json!({"faults": [{"every": 1, "fault": {"kind": "malformed"}}]})).await;
    let error = models(&[]).complete(&ask(&sim)).await.unwrap_err();
    assert!(matches!(error, ModelError::Malformed { .. }), "{error}");
    assert_eq!(error.unanswered(), 2);
    let sim = start(json!({"faults": [{"every": 1, "fault": {"kind": "cut_body"}}]})).await;
    let error = models(&[]).complete(&ask(&sim)).await.unwrap_err();
    assert!(
        matches!(&error, ModelError::Unavailable { message, .. } if message.contains("broke off")),
        "{error}"
    );
    assert_eq!(error.unanswered(), 2, "the provider had written it");
    let gone = sim.base_url();
    sim.stop().await;
    let ask = request(
        json!({"provider": "openai", "model": "m", "base_url": gone, "attempts": 1}),
        "x",
    );
    let error = models(&[]).complete(&ask).await.unwrap_err();
    assert!(
        matches!(error, ModelError::Unavailable { attempts: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_slow_reply_times_out_each_try_by_itself() {
    let sim =
        start(json!({"faults": [{"at": [1, 3, 4], "fault": {"kind": "slow", "ms": 60_000}}]}))
            .await;
    let ask = |attempts| {
        with(to(&sim, "openai", "x"), |spec| {
            spec.timeout_s = 1;
            spec.attempts = attempts;
        })
    };
    let reply = models(&[]).complete(&ask(2)).await.unwrap();
    assert_eq!(reply.attempts, 2);
    let error = models(&[]).complete(&ask(2)).await.unwrap_err();
    assert!(
        matches!(
            error,
            ModelError::Timeout {
                seconds: 1,
                attempts: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn retry_after_holds_back_every_caller_of_the_model() {
    let sim = start(json!({"faults": [{"first": 1, "fault": {"kind": "status", "status": 429, "retry_after_s": 1}}]})).await;
    let models = models(&[]);
    let started = Instant::now();
    let asks: Vec<_> = (0..6)
        .map(|n| {
            with(to(&sim, "openai", &n.to_string()), |spec| {
                spec.concurrency = 4;
            })
        })
        .collect();
    for reply in join_all(asks.iter().map(|ask| models.complete(ask))).await {
        reply.unwrap();
        assert!(started.elapsed() >= Duration::from_secs(1));
    }
    assert_eq!(sim.stats().requests, 7, "nobody asked during the pause");
}

#[tokio::test]
async fn overload_lowers_the_limit_and_success_raises_it() {
    let sim =
        start(json!({"faults": [{"at": [5], "fault": {"kind": "status", "status": 529}}]})).await;
    let models = models(&[]);
    let ask = with(to(&sim, "openai", "x"), |spec| spec.concurrency = 16);
    let limit = || models.limit(&ask.spec).unwrap().limit;
    for _ in 0..4 {
        models.complete(&ask).await.unwrap();
    }
    assert_eq!(limit(), 5, "a quarter of 16, and one for four successes");
    models.complete(&ask).await.unwrap();
    assert_eq!(limit(), 2);
    let other = with(to(&sim, "openai", "x"), |spec| {
        spec.model = "another".into();
    });
    models.complete(&other).await.unwrap();
    assert_eq!(
        models.limit(&other.spec).unwrap().limit,
        4,
        "models are limited apart"
    );
}

#[tokio::test]
async fn dropping_a_call_cancels_it() {
    let sim =
        start(json!({"faults": [{"first": 1, "fault": {"kind": "slow", "ms": 60_000}}]})).await;
    let models = models(&[]);
    let ask = with(to(&sim, "openai", "x"), |spec| spec.concurrency = 1);
    let mut call = Box::pin(models.complete(&ask));
    while sim.stats().faults == 0 {
        assert!(futures::poll!(call.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    drop(call);
    assert_eq!(models.limit(&ask.spec).unwrap().in_flight, 0);
    models.complete(&ask).await.unwrap();
    assert_eq!(
        sim.stats().requests,
        2,
        "a cancelled call is not tried again"
    );
}

#[tokio::test]
async fn the_simulated_provider_is_found_by_its_world_and_is_free() {
    let sim = start(json!({"default_answer": "free"})).await;
    let models = models(&[]).with_simulated("sim.json", sim.base_url());
    let ask = request(
        json!({"provider": "sim", "model": "sim", "world": "sim.json"}),
        "x",
    );
    let reply = models.complete(&ask).await.unwrap();
    assert_eq!(
        (reply.text.as_str(), reply.spend.cost),
        ("free", MicroUsd::ZERO)
    );
    assert_eq!(models.worst_case(&ask).unwrap().cost, MicroUsd::ZERO);
    let unknown = request(
        json!({"provider": "sim", "model": "sim", "world": "other.json"}),
        "x",
    );
    assert!(matches!(
        models.complete(&unknown).await,
        Err(ModelError::Config { .. })
    ));
}

#[tokio::test]
async fn the_worst_case_bounds_the_real_cost() {
    let sim = start(json!({"default_answer": "several words of an answer that goes on"})).await;
    let models = models(&[]);
    for prompt in ["x", "several words of a question", "äöü 漢字 🙂"] {
        for schema in [
            None,
            Some(json!({"type": "object"})),
            Some(Value::Bool(true)),
        ] {
            let mut ask = to(&sim, "openai", prompt);
            ask.schema = schema;
            let worst = models.worst_case(&ask).unwrap();
            let reply = models.complete(&ask).await.unwrap();
            assert_eq!(worst.model_calls, 1);
            assert!(reply.spend.cost <= worst.cost);
        }
    }
    let ask = to(&sim, "openai", "12345");
    assert_eq!(
        models.worst_case(&ask).unwrap().cost,
        MicroUsd(5 + 16 + 2 * 64)
    );
    let unpriced = request(
        json!({"provider": "openai", "model": "nobody-knows", "base_url": sim.base_url()}),
        "x",
    );
    assert!(matches!(
        models.worst_case(&unpriced),
        Err(ModelError::Config { .. })
    ));
    assert_eq!(
        models.complete(&unpriced).await.unwrap().spend.cost,
        MicroUsd::ZERO
    );
}
