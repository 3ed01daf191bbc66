//! What traces and metrics see of calls.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fapo_domain::ports::models::Models;
use fapo_domain::telemetry as names;
use fapo_sim::{SimHandle, SimServer, World};
use fapo_testkit::observed::Observed;
use serde_json::{Value, json};
use tracing::Instrument as _;

use crate::{models, request};

const PROMPT: &str = "canary of the prompt";
const ANSWER: &str = "canary of the answer";

async fn start(world: Value) -> SimHandle {
    let world = World::load(&world.to_string()).unwrap();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    SimServer::start(world, addr).await.unwrap()
}

fn spec(sim: &SimHandle) -> Value {
    json!({
        "provider": "openai", "model": "gpt-4.1-mini", "base_url": sim.base_url(),
        "price": {"input": 1.0, "output": 2.0},
    })
}

#[tokio::test]
async fn a_call_is_a_span_with_model_tokens_and_cost_inside_the_span_of_its_step() {
    let sim = start(json!({"model": "served-1", "default_answer": ANSWER})).await;
    let (observed, _guard) = Observed::on_this_thread(false);
    let step = tracing::info_span!(target: "fapo_test", "step");
    let reply = models(&[])
        .complete(&request(spec(&sim), PROMPT))
        .instrument(step)
        .await
        .unwrap();
    let span = observed.span("chat").unwrap();
    assert_eq!(span.parent.as_deref(), Some("step"));
    let usage = reply.spend.usage;
    let cost = format!("{:?}", reply.spend.cost.usd());
    for (name, value) in [
        ("otel.name", "chat gpt-4.1-mini"),
        ("otel.kind", "client"),
        (names::GEN_AI_OPERATION, "chat"),
        (names::GEN_AI_PROVIDER, "openai"),
        (names::GEN_AI_REQUEST_MODEL, "gpt-4.1-mini"),
        (names::GEN_AI_RESPONSE_MODEL, "served-1"),
        (names::GEN_AI_FINISH_REASONS, "stop"),
        (names::GEN_AI_INPUT_TOKENS, &usage.input_tokens.to_string()),
        (
            names::GEN_AI_OUTPUT_TOKENS,
            &usage.output_tokens.to_string(),
        ),
        (names::COST_USD, &cost),
        (names::OPENINFERENCE_KIND, "LLM"),
        (names::LLM_COST, &cost),
        (names::ATTEMPT, "1"),
    ] {
        assert_eq!(
            span.fields.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    assert!(!span.fields.contains_key(names::ERROR_TYPE));
    let model = [("provider", "openai"), ("model", "gpt-4.1-mini")];
    assert_eq!(observed.counted("fapo_model_calls_total", &model), 1.0);
    assert_eq!(
        observed.counted("fapo_model_tokens_total", &[("direction", "output")]),
        usage.output_tokens as f64
    );
    assert_eq!(observed.measured("fapo_model_call_seconds"), 1);
}

#[tokio::test]
async fn prompts_and_replies_are_on_the_span_only_where_content_is_switched_on() {
    let sim = start(json!({"default_answer": ANSWER})).await;
    for content in [false, true] {
        let (observed, _guard) = Observed::on_this_thread(content);
        models(&[])
            .complete(&request(spec(&sim), PROMPT))
            .await
            .unwrap();
        let whole = observed.whole();
        assert_eq!(whole.contains(PROMPT), content, "{whole}");
        assert_eq!(whole.contains(ANSWER), content, "{whole}");
        if content {
            let span = observed.span("chat").unwrap();
            let messages: Value =
                serde_json::from_str(&span.fields[names::GEN_AI_INPUT_MESSAGES]).unwrap();
            assert_eq!(
                messages,
                json!([{"role": "user", "parts": [{"type": "text", "content": PROMPT}]}])
            );
            let messages: Value =
                serde_json::from_str(&span.fields[names::GEN_AI_OUTPUT_MESSAGES]).unwrap();
            assert_eq!(messages[0]["parts"][0]["content"], ANSWER);
            assert_eq!(messages[0]["finish_reason"], "stop");
        }
    }
}

#[tokio::test]
async fn each_try_is_a_span_of_its_own_and_says_how_it_failed() {
    let sim = start(json!({
        "default_answer": "fine",
        "faults": [{"first": 1, "fault": {"kind": "status", "status": 429}}]
    }))
    .await;
    let (observed, _guard) = Observed::on_this_thread(false);
    let mut ask = request(spec(&sim), "shaky");
    Arc::make_mut(&mut ask.spec).attempts = 3;
    let reply = models(&[]).complete(&ask).await.unwrap();
    assert_eq!(reply.attempts, 2);
    let chats: Vec<_> = observed
        .spans()
        .into_iter()
        .filter(|span| span.name == "chat")
        .collect();
    assert_eq!(chats.len(), 2);
    assert_eq!(chats[0].fields[names::ERROR_TYPE], "overloaded");
    assert_eq!(chats[0].fields["otel.status_code"], "ERROR");
    assert_eq!(chats[1].fields[names::ATTEMPT], "2");
    assert!(!chats[1].fields.contains_key(names::ERROR_TYPE));
    for (outcome, count) in [("overloaded", 1.0), ("ok", 1.0)] {
        let labels = [("outcome", outcome)];
        assert_eq!(observed.counted("fapo_model_calls_total", &labels), count);
    }
    assert_eq!(observed.counted("fapo_model_retries_total", &[]), 1.0);
}
