//! Codex, the second agent, in the same sandbox and through the same relay.

use fapo_diagnosis::agent::{Codex, find_codex};
use fapo_domain::model::session::SessionEnd;
use fapo_testkit::codex::codex_or_skip;
use fapo_testkit::responses::{Reply, ScriptedResponses};
use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_edits_answers_and_is_paid_through_the_relay() {
    let Some(program) = codex_or_skip("codex_edits_answers") else {
        return;
    };
    let program = program.display().to_string();
    let installed = find_codex(&|name| (name == "FAPO_CODEX").then(|| program.clone())).unwrap();
    let endpoint = ScriptedResponses::start(vec![
        Reply::call(
            "exec_command",
            &json!({"cmd": "sed -i s/Answer/Reply/ pipeline/prompts/answer.md; echo mine > fapo.yaml; env; cat /proc/*/environ"}),
        ),
        Reply::answer(&answer()),
    ])
    .unwrap();
    let lab = Lab::playing([]).await;
    let address = format!("http://127.0.0.1:{}/v1", endpoint.port());
    let parts = lab.parts_to(address);
    let mut request = lab.request(minute());
    request.model = serde_json::from_value(json!({
        "provider": "openai", "model": "gpt-5-codex", "base_url": "${ADDRESS}",
        "price": {"input": 1.0, "output": 2.0},
    }))
    .unwrap();
    let agent = CliAgent::new(Codex::new(installed), parts);
    let mut session = agent.open(request).await.unwrap();
    let turn = session
        .prompt("Go on.", 10, &CancellationToken::new())
        .await
        .unwrap();
    let record = session.close().await.unwrap();
    let transcript = String::from_utf8(record.transcript_text).unwrap();
    assert_eq!(turn.end, SessionEnd::Answered, "{transcript}");
    assert_eq!(turn.answer, Some(answer()));
    assert_eq!(
        turn.tree.text("prompts/answer.md"),
        Some("Reply.\n"),
        "{transcript}"
    );
    // its shell may do no more than the sandbox lets it
    assert_eq!(turn.refusals, vec![]);
    assert!(!transcript.contains(KEY), "{transcript}");
    assert_eq!(record.agent, "codex");
    assert_eq!(record.turns, 2);
    let balance = lab.balance().await;
    assert_eq!(balance.total().model_calls, 2);
    assert!(spent(&balance) > MicroUsd::ZERO);
}
