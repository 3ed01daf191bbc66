//! What the model says.

use serde_json::{Value, json};

use crate::Sim;

fn bridges() -> Value {
    json!({
        "style": "Based on the passages, the answer is {answer}.",
        "facts": [
            {
                "question": "Which river flows through the town where Ada Brandt was born?",
                "needs": ["Ada Brandt was born in Veldorf", "Veldorf lies on the Ilse"],
                "bridge": "Veldorf river",
                "answer": "Ilse",
                "distractor": "Rhine"
            },
            { "question": "Who built the Old Mill?", "answer": "Jon Fell", "requires": ["careful"] }
        ],
        "directives": [
            { "when": "(?i)only the answer", "then": { "style": "{answer}" } },
            { "when": "(?i)as json", "then": { "json": "answer" } },
            { "when": "(?i)step by step", "then": { "reasoning": 20, "flag": "careful" } },
            { "when": "(?i)upper case", "then": { "case": "upper" } }
        ],
        "queries": { "when": "(?i)write a search query" },
        "summaries": { "when": "(?i)summarize" },
        "scripted": [
            { "when": "PROPOSE", "reply": { "edit": 1 }, "once": true },
            { "when": "PROPOSE", "reply": "second" }
        ]
    })
}

const QUESTION: &str = "Which river flows through the town where Ada Brandt was born?";

#[tokio::test]
async fn an_answer_needs_all_of_its_evidence() {
    let sim = Sim::start(&bridges()).await;
    let first = format!("Ada Brandt was born in Veldorf.\n\n{QUESTION}");
    assert_eq!(
        sim.ask(&first).await,
        "Based on the passages, the answer is Rhine."
    );
    let both = format!("Ada Brandt was born in Veldorf. Veldorf lies on the Ilse. {QUESTION}");
    assert_eq!(
        sim.ask(&both).await,
        "Based on the passages, the answer is Ilse."
    );
}

#[tokio::test]
async fn directives_change_the_form_and_combine() {
    let sim = Sim::start(&bridges()).await;
    let facts = "Ada Brandt was born in Veldorf. Veldorf lies on the Ilse.";
    let ask = async |instruction: &str| sim.ask(&format!("{facts} {instruction} {QUESTION}")).await;
    assert_eq!(ask("Give only the answer.").await, "Ilse");
    assert_eq!(ask("Give only the answer in upper case.").await, "ILSE");
    assert_eq!(ask("Reply as JSON.").await, r#"{"answer":"Ilse"}"#);
    let reasoned = ask("Think step by step, then give only the answer.").await;
    assert!(reasoned.ends_with("\nIlse"), "{reasoned}");
    assert_eq!(reasoned.split_whitespace().count(), 21);
}

#[tokio::test]
async fn a_flag_that_only_a_directive_raises_can_be_required() {
    let sim = Sim::start(&bridges()).await;
    assert!(sim.ask("Who built the Old Mill?").await.contains("unknown"));
    let careful = sim.ask("Think step by step. Who built the Old Mill?").await;
    assert!(careful.contains("Jon Fell"), "{careful}");
}

#[tokio::test]
async fn the_question_that_stands_last_is_the_one_asked() {
    let sim = Sim::start(&bridges()).await;
    let prompt = format!("Example: {QUESTION} Ilse.\nThink step by step: who built the old mill?");
    assert!(sim.ask(&prompt).await.contains("Jon Fell"));
}

#[tokio::test]
async fn a_search_query_asks_for_the_next_missing_evidence() {
    let sim = Sim::start(&bridges()).await;
    let query = async |context: &str| {
        sim.ask(&format!("{context} Write a search query for: {QUESTION}"))
            .await
    };
    assert_eq!(query("").await, QUESTION);
    assert_eq!(
        query("Ada Brandt was born in Veldorf.").await,
        "Veldorf river"
    );
    let unknown = sim.ask("Write a search query.\nWhere is Ulm?").await;
    assert_eq!(unknown, "Where is Ulm?");
}

#[tokio::test]
async fn a_summary_keeps_the_evidence_that_is_there() {
    let sim = Sim::start(&bridges()).await;
    let prompt = format!("Summarize for {QUESTION}: noise. VELDORF lies on the Ilse! noise.");
    assert_eq!(sim.ask(&prompt).await, "Veldorf lies on the Ilse");
    let nothing = sim.ask(&format!("Summarize for {QUESTION}: noise.")).await;
    assert_eq!(nothing, "The passages do not say.");
}

#[tokio::test]
async fn labels_are_fuzzy_until_the_prompt_lists_them_and_confused_until_it_defines_them() {
    let sim = Sim::start(&json!({
        "labels": {
            "subject": "(?s)Message: (.*?)\nLabel:",
            "otherwise": "OTHER",
            "classes": [
                { "name": "REFUND", "cues": ["money back", "refund"], "fuzzy": "a refund request" },
                { "name": "BILLING", "cues": ["charged", "invoice"], "fuzzy": "billing question",
                  "confused_with": "REFUND", "unless": "(?i)billing means" }
            ]
        }
    }))
    .await;
    let label = async |instruction: &str, message: &str| {
        sim.ask(&format!("{instruction}\nMessage: {message}\nLabel:"))
            .await
    };
    let listed = "Labels: REFUND, BILLING.";
    assert_eq!(label("", "I want my money back").await, "a refund request");
    assert_eq!(label(listed, "I want my money back").await, "REFUND");
    assert_eq!(label(listed, "I was charged twice").await, "REFUND");
    let defined = "Labels: REFUND, BILLING. Billing means a wrong invoice, not a refund.";
    assert_eq!(label(defined, "I was charged twice").await, "BILLING");
    assert_eq!(label(listed, "hello").await, "OTHER");
    assert_eq!(
        label("", "REFUND and BILLING: money back").await,
        "a refund request",
        "labels inside the classified text are no list"
    );
}

#[tokio::test]
async fn max_tokens_cuts_the_answer_and_says_so() {
    let sim = Sim::start(&bridges()).await;
    let facts = "Ada Brandt was born in Veldorf. Veldorf lies on the Ilse.";
    let prompt = format!("{facts} {QUESTION}");
    let reply = sim.chat(&prompt, json!({"max_tokens": 8})).await;
    let choice = &reply["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(
        choice["message"]["content"],
        "Based on the passages, the answer"
    );
    assert_eq!(reply["usage"]["completion_tokens"], 8);
    assert!(reply["usage"]["prompt_tokens"].as_u64().unwrap() > 20);
    let whole = sim
        .chat(&prompt, json!({"max_completion_tokens": 11}))
        .await;
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_stop_text_ends_the_answer() {
    let sim = Sim::start(&bridges()).await;
    let facts = "Ada Brandt was born in Veldorf. Veldorf lies on the Ilse.";
    let reply = sim
        .chat(&format!("{facts} {QUESTION}"), json!({"stop": [", the"]}))
        .await;
    let choice = &reply["choices"][0];
    assert_eq!(choice["message"]["content"], "Based on the passages");
    assert_eq!(choice["finish_reason"], "stop");
}

#[tokio::test]
async fn noise_flips_by_messages_and_seed_and_never_at_temperature_zero() {
    let facts: Vec<Value> = (0..60)
        .map(|n| json!({"question": format!("Question number {n}?"), "answer": "right", "distractor": "wrong"}))
        .collect();
    let sim = Sim::start(&json!({"facts": facts, "noise": {"rate": 0.3}})).await;
    let mut wrong = 0;
    for n in 0..60 {
        let prompt = format!("Question number {n}?");
        assert_eq!(sim.ask(&prompt).await, "right");
        let hot = sim
            .chat(&prompt, json!({"temperature": 0.7, "seed": 1}))
            .await;
        let again = sim
            .chat(&prompt, json!({"temperature": 0.7, "seed": 1}))
            .await;
        assert_eq!(hot["choices"], again["choices"]);
        let unset = sim.chat(&prompt, json!({"seed": 1})).await;
        assert_eq!(
            hot["choices"], unset["choices"],
            "the default temperature is 1"
        );
        wrong += u32::from(hot["choices"][0]["message"]["content"] == "wrong");
    }
    assert!((8..=30).contains(&wrong), "{wrong}");
    let mut answers = std::collections::BTreeSet::new();
    for seed in 0..30 {
        let reply = sim.chat("Question number 1?", json!({"seed": seed})).await;
        answers.insert(reply["choices"][0]["message"]["content"].to_string());
    }
    assert_eq!(answers.len(), 2, "another seed is another sample");
}

#[tokio::test]
async fn scripts_answer_first_and_once_stays_with_its_request() {
    let sim = Sim::start(&bridges()).await;
    assert_eq!(sim.ask("PROPOSE a").await, r#"{"edit":1}"#);
    assert_eq!(sim.ask("PROPOSE b").await, "second");
    assert_eq!(
        sim.ask("PROPOSE a").await,
        r#"{"edit":1}"#,
        "the same request again"
    );
}

#[tokio::test]
async fn structured_requests_get_json_that_fits_the_schema() {
    let sim = Sim::start(&json!({"default_answer": "B"})).await;
    let schema = json!({
        "type": "object",
        "properties": {
            "why": {"type": "string"},
            "answer": {"enum": ["A", "B"]},
            "score": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}}
        }
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let reply = sim.chat("?", json!({"response_format": format})).await;
    let text = reply["choices"][0]["message"]["content"].as_str().unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        value,
        json!({"why": "simulated", "answer": "B", "score": 0.0, "tags": ["simulated"]})
    );
    let reply = sim
        .chat("?", json!({"response_format": {"type": "json_object"}}))
        .await;
    assert_eq!(
        reply["choices"][0]["message"]["content"],
        r#"{"answer":"B"}"#
    );
}

#[tokio::test]
async fn the_messages_protocol_is_spoken_and_its_rules_are_held() {
    let sim = Sim::start(&bridges()).await;
    let mut body = json!({
        "model": "claude", "max_tokens": 50, "system": "Give only the answer. Ada Brandt was born in Veldorf.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": format!("Veldorf lies on the Ilse. {QUESTION}")}]}]
    });
    let reply: Value = sim
        .post("/messages", &body)
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(reply["content"][0]["text"], "Ilse");
    assert_eq!(reply["stop_reason"], "end_turn");
    assert_eq!(reply["usage"]["output_tokens"], 2);

    body["tools"] = json!([{"name": "reply", "input_schema": {"type": "object", "properties": {"answer": {"type": "string"}}}}]);
    body["tool_choice"] = json!({"type": "tool", "name": "reply"});
    let reply: Value = sim
        .post("/messages", &body)
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(reply["content"][0]["input"], json!({"answer": "Ilse"}));
    assert_eq!(reply["stop_reason"], "tool_use");

    for (bad, what) in [
        (
            json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}),
            "max_tokens",
        ),
        (
            json!({"model": "m", "max_tokens": 1, "messages": [{"role": "system", "content": "x"}]}),
            "unexpected role",
        ),
        (
            json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]}),
            "alternate",
        ),
        (
            json!({"model": "m", "max_tokens": 1, "messages": []}),
            "at least one",
        ),
    ] {
        let response = sim.post("/messages", &bad).await.unwrap();
        assert_eq!(response.status(), 400);
        let text = response.text().await.unwrap();
        assert!(text.contains(what), "{text}");
    }
}

#[tokio::test]
async fn echo_mode_answers_both_protocols_with_the_fixed_text() {
    let sim = Sim::start(&json!({"echo": "fixed"})).await;
    assert_eq!(sim.ask("anything").await, "fixed");
    let reply = sim.post("/messages", &json!({})).await.unwrap();
    let reply: Value = reply.json().await.unwrap();
    assert_eq!(reply["content"][0]["text"], "fixed");
    assert_eq!(sim.handle.stats().answered, 2);
}

#[tokio::test]
async fn stats_tell_repeated_answers_and_the_server_stops_cleanly() {
    let sim = Sim::start(&json!({})).await;
    for prompt in ["a b", "a b", "c", "a b"] {
        sim.ask(prompt).await;
    }
    let stats: fapo_sim::Stats = sim
        .http
        .get(format!("http://{}/sim/stats", sim.handle.addr))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(stats, sim.handle.stats());
    assert_eq!((stats.requests, stats.answered, stats.distinct), (4, 4, 2));
    assert_eq!((stats.repeated, stats.most_repeated), (2, 3));
    assert_eq!(
        (stats.input_tokens, stats.output_tokens),
        (4 * 4 + 3 * 3 + 2, 8)
    );
    let health = sim.http.get(format!("http://{}/health", sim.handle.addr));
    assert_eq!(health.send().await.unwrap().text().await.unwrap(), "ok");
    let addr = sim.handle.addr;
    sim.handle.stop().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}
