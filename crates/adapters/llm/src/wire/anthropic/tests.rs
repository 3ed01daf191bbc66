use fapo_domain::ports::models::ChatRole::{Assistant, System, User};

use super::*;
use crate::wire::Protocol;
use crate::wire::tests::{request, sent};

const MODEL: &str = "claude-sonnet-4-5";

fn body(request: &ModelRequest) -> Value {
    sent(Protocol::Anthropic, request)
}

fn read(request: &ModelRequest, value: &Value) -> Result<Reply, BadReply> {
    Protocol::Anthropic.decode(request, value.to_string().as_bytes())
}

#[test]
fn system_messages_are_joined_and_roles_alternate() {
    let messages = [
        (System, "s1"),
        (User, "u1"),
        (User, "u2"),
        (System, "s2"),
        (Assistant, "begin \n"),
    ];
    let mut ask = request("anthropic", MODEL, &messages);
    ask.temperature = Some(0.0);
    ask.stop = vec!["END".into(), "\n".into()];
    assert_eq!(
        body(&ask),
        json!({
            "model": MODEL, "max_tokens": 64, "system": "s1\n\ns2", "temperature": 0.0, "stop_sequences": ["END"],
            "messages": [{"role": "user", "content": "u1\n\nu2"}, {"role": "assistant", "content": "begin"}]
        })
    );
}

#[test]
fn a_prompt_always_begins_with_the_user() {
    let only_system = body(&request("anthropic", MODEL, &[(System, "s")]));
    assert_eq!(
        only_system["messages"],
        json!([{"role": "user", "content": "s"}])
    );
    assert_eq!(only_system.get("system"), None);
    let answer_first = body(&request(
        "anthropic",
        MODEL,
        &[(Assistant, "a"), (User, "u")],
    ));
    assert_eq!(answer_first["messages"][0]["role"], "user");
    assert_eq!(answer_first["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn white_space_stop_texts_are_applied_on_our_side() {
    let mut ask = request("anthropic", MODEL, &[(User, "u")]);
    ask.stop = vec!["\n".into()];
    let reply =
        json!({"content": [{"type": "text", "text": "one\ntwo"}], "stop_reason": "max_tokens"});
    let reply = read(&ask, &reply).unwrap();
    assert_eq!(
        (reply.text.as_str(), reply.finish),
        ("one", FinishReason::Stop)
    );
}

#[test]
fn abilities_follow_the_models_name() {
    let table = [
        ("claude-3-5-sonnet-20241022", true, true),
        ("claude-opus-4-20250514", true, true),
        ("claude-sonnet-4-5-20250929", true, true),
        ("claude-sonnet-4-6", true, true),
        ("claude-opus-4-7", false, true),
        ("claude-sonnet-5", false, true),
        ("anthropic/claude-opus-5-5", false, false),
        ("claude-haiku-5-5", false, false),
        ("claude-fable-5-1", false, false),
        ("claude-newest", false, false),
        ("some-other-model", true, true),
    ];
    for (model, sampling, forced_tool) in table {
        let abilities = Abilities {
            sampling,
            forced_tool,
        };
        assert_eq!(Abilities::of(model), abilities, "{model}");
    }
    let mut ask = request("anthropic", "claude-opus-5-5", &[(User, "u")]);
    ask.temperature = Some(0.0);
    ask.top_p = Some(0.9);
    ask.schema = Some(Value::Bool(true));
    let sent = body(&ask);
    assert_eq!(sent.get("temperature"), None);
    assert_eq!(sent.get("top_p"), None);
    assert_eq!(sent["tool_choice"], json!({"type": "auto"}));
    assert!(sent["system"].as_str().unwrap().contains("`reply`"));
}

#[test]
fn structured_output_is_a_forced_tool_and_its_input_the_reply() {
    let mut ask = request("anthropic", MODEL, &[(User, "u")]);
    ask.schema = Some(json!({"type": "object", "properties": {"a": {"type": "integer"}}}));
    let sent = body(&ask);
    assert_eq!(
        sent["tool_choice"],
        json!({"type": "tool", "name": "reply"})
    );
    assert_eq!(
        &sent["tools"][0]["input_schema"],
        ask.schema.as_ref().unwrap()
    );
    let reply = read(&ask, &json!({
        "model": "m", "stop_reason": "tool_use",
        "content": [{"type": "text", "text": "Sure."}, {"type": "tool_use", "id": "t", "name": "reply", "input": {"a": 1}}]
    }))
    .unwrap();
    assert_eq!(
        (reply.text.as_str(), reply.finish),
        (r#"{"a":1}"#, FinishReason::Stop)
    );
    let cut = json!({"content": [{"type": "tool_use", "input": {}}], "stop_reason": "max_tokens"});
    assert_eq!(read(&ask, &cut).unwrap().finish, FinishReason::Length);
    let words = json!({"content": [{"type": "text", "text": "{}"}], "stop_reason": "end_turn"});
    assert_eq!(
        read(&ask, &words).unwrap().text,
        "{}",
        "a model may answer without the tool"
    );
}

#[test]
fn schemas_of_other_things_than_objects_are_wrapped() {
    let mut ask = request("anthropic", MODEL, &[(User, "u")]);
    ask.schema = Some(
        json!({"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"type": "string"}}}),
    );
    let schema = body(&ask)["tools"][0]["input_schema"].clone();
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["properties"]["value"]["type"], "array");
    assert_eq!(schema["$defs"], json!({"x": {"type": "string"}}));
    let reply = json!({"content": [{"type": "tool_use", "input": {"value": ["a"]}}], "stop_reason": "tool_use"});
    assert_eq!(read(&ask, &reply).unwrap().text, r#"["a"]"#);
    let bare =
        json!({"content": [{"type": "tool_use", "input": ["a"]}], "stop_reason": "tool_use"});
    assert_eq!(read(&ask, &bare).unwrap().text, r#"["a"]"#);
}

#[test]
fn a_wrapped_reply_in_words_is_unwrapped_and_nothing_else_is() {
    let text = |schema: Value, text: &str| {
        let mut ask = request("anthropic", MODEL, &[(User, "u")]);
        ask.schema = Some(schema);
        let reply = json!({"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"});
        read(&ask, &reply).unwrap().text
    };
    let list = || json!({"type": "array"});
    assert_eq!(text(list(), r#" {"value": ["a", 1]} "#), r#"["a", 1]"#);
    let fenced = "```json\n{\"value\": []}\n```";
    assert_eq!(text(list(), fenced), "[]");
    for bare in [
        r#"["a"]"#,
        r#"{"value": ["a"], "other": 1}"#,
        r#"{"other": 1}"#,
        r#"So: {"value": ["a"]}"#,
        "",
    ] {
        assert_eq!(text(list(), bare), bare);
    }
    for unwrapped in [json!({"type": "object"}), json!(true)] {
        let own = r#"{"value": 1}"#;
        assert_eq!(text(unwrapped, own), own);
    }
}

#[test]
fn replies_are_read_with_usage_and_every_way_to_stop() {
    let ask = request("anthropic", MODEL, &[(User, "u")]);
    let reply = read(&ask, &json!({
        "model": "claude-x", "stop_reason": "end_turn",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 2, "output_tokens": 3}
    }))
    .unwrap();
    assert_eq!(reply.text, "ab");
    assert_eq!(reply.served_by.as_deref(), Some("claude-x"));
    let usage = Usage {
        input_tokens: 14,
        output_tokens: 3,
        cached_input_tokens: 7,
        reasoning_tokens: 0,
    };
    assert_eq!(reply.usage, Some(usage));
    let finish = |reason: &str| {
        let reply = json!({"content": [], "stop_reason": reason});
        read(&ask, &reply).unwrap().finish
    };
    assert_eq!(finish("stop_sequence"), FinishReason::Stop);
    assert_eq!(finish("max_tokens"), FinishReason::Length);
    assert_eq!(
        finish("model_context_window_exceeded"),
        FinishReason::Length
    );
    assert_eq!(finish("tool_use"), FinishReason::ToolCall);
    assert_eq!(finish("refusal"), FinishReason::Refusal);
    assert_eq!(finish("pause_turn"), FinishReason::Other);
}

#[test]
fn what_is_no_message_is_malformed() {
    let ask = request("anthropic", MODEL, &[(User, "u")]);
    for bytes in [
        &b"{"[..],
        b"{}",
        br#"{"content": "x"}"#,
        br#"{"type": "message", "usage": {}}"#,
    ] {
        let result = Protocol::Anthropic.decode(&ask, bytes);
        assert!(matches!(result, Err(BadReply::Malformed(_))), "{bytes:?}");
    }
}
