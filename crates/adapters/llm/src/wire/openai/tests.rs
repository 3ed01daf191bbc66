use fapo_domain::ports::models::ChatRole::{Assistant, System, User};
use serde_json::json;

use super::*;
use crate::wire::Protocol;
use crate::wire::tests::{request, sent};

fn body(request: &ModelRequest) -> Value {
    sent(Protocol::OpenAi, request)
}

fn read(value: &Value) -> Result<Reply, BadReply> {
    decode(value.to_string().as_bytes())
}

fn reply(message: Value, finish: Value) -> Reply {
    read(&json!({"choices": [{"message": message, "finish_reason": finish}]})).unwrap()
}

#[test]
fn only_what_is_given_is_sent() {
    let mut ask = request(
        "openai",
        "gpt-4.1-mini",
        &[(System, "s"), (User, "u"), (Assistant, "a")],
    );
    assert_eq!(
        body(&ask),
        json!({"model": "gpt-4.1-mini", "max_tokens": 64, "messages": [
            {"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}
        ]})
    );
    ask.temperature = Some(0.0);
    ask.top_p = Some(0.5);
    ask.seed = Some(3);
    ask.stop = vec!["\n".into()];
    let full = body(&ask);
    assert_eq!(full["temperature"], json!(0.0));
    assert_eq!(
        (&full["top_p"], &full["seed"], &full["stop"]),
        (&json!(0.5), &json!(3), &json!(["\n"]))
    );
}

#[test]
fn reasoning_models_get_other_limits_and_no_sampling() {
    for model in [
        "o1",
        "o3-mini",
        "o4-mini-2025-04-16",
        "gpt-5",
        "gpt-5.4-mini",
        "openai/gpt-5-nano",
    ] {
        let mut ask = request("openai", model, &[(User, "u")]);
        ask.temperature = Some(0.0);
        ask.top_p = Some(0.9);
        ask.stop = vec!["END".into()];
        assert_eq!(
            body(&ask),
            json!({"model": model, "max_completion_tokens": 64, "messages": [{"role": "user", "content": "u"}]})
        );
        let bytes =
            json!({"choices": [{"message": {"content": "x END y"}, "finish_reason": "stop"}]});
        let reply = Protocol::OpenAi
            .decode(&ask, bytes.to_string().as_bytes())
            .unwrap();
        assert_eq!(reply.text, "x ", "stop texts are applied on our side");
    }
    for model in ["gpt-5-chat-latest", "gpt-4o", "o1ympus", "gpt-50b"] {
        let sent = body(&request("openai", model, &[(User, "u")]));
        assert_eq!(sent["max_tokens"], 64, "{model}");
    }
}

#[test]
fn schemas_become_response_formats() {
    let mut ask = request("openai", "m", &[(User, "Reply in Json.")]);
    ask.schema = Some(json!({"type": "object"}));
    assert_eq!(
        body(&ask)["response_format"],
        json!({"type": "json_schema", "json_schema": {"name": "reply", "schema": {"type": "object"}, "strict": false}})
    );
    ask.schema = Some(Value::Bool(true));
    assert_eq!(
        body(&ask)["response_format"],
        json!({"type": "json_object"})
    );
    ask.messages[0].content = "no mention".into();
    assert_eq!(body(&ask).get("response_format"), None);
}

#[test]
fn more_stop_texts_than_the_protocol_takes_are_applied_on_our_side() {
    let mut ask = request("openai", "m", &[(User, "u")]);
    ask.stop = ["1", "2", "3", "4", "5"].map(str::to_owned).to_vec();
    assert_eq!(body(&ask)["stop"], json!(["1", "2", "3", "4"]));
    let bytes = json!({"choices": [{"message": {"content": "ab5c"}, "finish_reason": "length"}]});
    let reply = Protocol::OpenAi
        .decode(&ask, bytes.to_string().as_bytes())
        .unwrap();
    assert_eq!(
        (reply.text.as_str(), reply.finish),
        ("ab", FinishReason::Stop)
    );
}

#[test]
fn replies_are_read_with_usage_and_served_model() {
    let reply = read(&json!({
        "id": "x", "model": "gpt-4.1-mini-2025-04-14",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "caf\u{e9} \"q\""}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                  "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}
    }))
    .unwrap();
    assert_eq!(reply.text, "café \"q\"");
    assert_eq!(reply.finish, FinishReason::Stop);
    assert_eq!(reply.served_by.as_deref(), Some("gpt-4.1-mini-2025-04-14"));
    let usage = Usage {
        input_tokens: 10,
        output_tokens: 5,
        cached_input_tokens: 4,
        reasoning_tokens: 2,
    };
    assert_eq!(reply.usage, Some(usage));
}

#[test]
fn every_way_to_stop_is_told_apart() {
    let finish = |reason| reply(json!({"content": "x"}), reason).finish;
    assert_eq!(finish(json!("stop")), FinishReason::Stop);
    assert_eq!(finish(json!("length")), FinishReason::Length);
    assert_eq!(finish(json!("content_filter")), FinishReason::Refusal);
    assert_eq!(finish(json!("tool_calls")), FinishReason::ToolCall);
    assert_eq!(finish(json!("new_reason")), FinishReason::Other);
    assert_eq!(finish(Value::Null), FinishReason::Other);
}

#[test]
fn contents_of_every_kind_are_read() {
    let refused = reply(
        json!({"content": null, "refusal": "I won't"}),
        json!("stop"),
    );
    assert_eq!(
        (refused.text.as_str(), refused.finish),
        ("I won't", FinishReason::Refusal)
    );
    let empty = reply(json!({"content": ""}), json!("stop"));
    assert_eq!(
        (empty.text.as_str(), empty.finish),
        ("", FinishReason::Stop)
    );
    let thoughts_only = reply(json!({"content": null}), json!("length"));
    assert_eq!(
        (thoughts_only.text.as_str(), thoughts_only.finish),
        ("", FinishReason::Length)
    );
    let absent = reply(json!({"role": "assistant"}), json!("stop"));
    assert_eq!(absent.text, "");
    let tool = reply(
        json!({"content": null, "tool_calls": [{"id": "1"}]}),
        json!("stop"),
    );
    assert_eq!(tool.finish, FinishReason::ToolCall);
    let parts = reply(
        json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        json!("stop"),
    );
    assert_eq!(parts.text, "ab");
}

#[test]
fn what_is_no_reply_is_malformed_and_hidden_errors_keep_their_status() {
    for bytes in [
        &b""[..],
        b"{",
        b"[]",
        b"{}",
        br#"{"choices": []}"#,
        br#"{"choices": [{}]}"#,
        br#"{"choices": [{"message": {"content": 5}}]}"#,
    ] {
        assert!(
            matches!(decode(bytes), Err(BadReply::Malformed(_))),
            "{bytes:?}"
        );
    }
    let hidden = read(&json!({"error": {"message": "upstream is busy", "code": 429}}));
    assert_eq!(
        hidden,
        Err(BadReply::Error {
            status: 429,
            message: "upstream is busy".into()
        })
    );
    let unknown = read(&json!({"error": "boom"}));
    assert_eq!(
        unknown,
        Err(BadReply::Error {
            status: 502,
            message: "boom".into()
        })
    );
    let null = read(&json!({"error": null, "choices": [{"message": {"content": "x"}}]}));
    assert_eq!(null.unwrap().text, "x");
}
