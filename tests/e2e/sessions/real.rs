//! The real CLI, well behaved or unlucky.

use fapo_domain::model::session::SessionEnd;
use fapo_domain::money::{Spend, Usage};
use fapo_domain::ports::agents::AgentError;
use fapo_testkit::messages::Gate;
use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_edits_files_answers_and_is_paid_by_its_role() {
    let Some(claude) = claude("a_session_edits_files") else {
        return;
    };
    let usage = Usage {
        input_tokens: 1_000,
        output_tokens: 100,
        ..Usage::default()
    };
    let lab = Lab::playing([
        Move::call(
            "Read",
            json!({"file_path": "/session/work/pipeline/prompts/answer.md"}),
        )
        .using(usage),
        edit(
            "/session/work/pipeline/prompts/answer.md",
            "Answer.",
            "Answer briefly.",
        )
        .using(usage),
        edit("/session/work/pipeline/prompts/new.md", "", "Another.\n").using(usage),
        Move::answer(answer()).using(usage),
    ])
    .await;
    let mut session = lab.open(claude, minute()).await;
    let turn = session
        .prompt("Go on.", 10, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(turn.end, SessionEnd::Answered);
    assert_eq!(turn.answer, Some(answer()));
    assert_eq!(turn.refusals, vec![]);
    assert_eq!(
        turn.tree.text("prompts/answer.md"),
        Some("Answer briefly.\n")
    );
    assert_eq!(turn.tree.text("prompts/new.md"), Some("Another.\n"));
    assert_eq!(turn.spend.model_calls, 4);
    let record = session.close().await.unwrap();
    assert_eq!(record.end, SessionEnd::Answered);
    assert_eq!(record.turns, 4);
    assert_eq!(record.version.as_deref(), Some("2.1.330"));
    assert!(record.first_request_ms.is_some_and(|ms| ms < 30_000));
    assert_eq!(
        record.tool_calls,
        vec![
            ("Read".to_owned(), 1),
            ("Edit".to_owned(), 2),
            ("StructuredOutput".to_owned(), 1)
        ]
    );
    // 4 * (1000 * $1 + 100 * $2) / 1M
    let expected = Spend {
        cost: MicroUsd(4_800),
        model_calls: 4,
        usage: Usage {
            input_tokens: 4_000,
            output_tokens: 400,
            ..Usage::default()
        },
    };
    assert_eq!(record.spend, expected);
    let balance = lab.balance().await;
    assert_eq!(balance.spent, vec![(SpendRole::Proposer, expected)]);
    assert_eq!(
        balance.reserved,
        fapo_domain::ports::ledger::Amount::default()
    );
    // the key is the relay's: the client sent another, and nothing that was kept holds it
    let request = &lab.claude.requests()[0];
    assert_eq!(request.header("x-api-key"), Some(KEY));
    assert!(!String::from_utf8_lossy(&record.transcript_text).contains(KEY));
    assert_eq!(
        std::fs::read_dir(lab.folder.path().join("s"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ran_out_of_turns_goes_on_where_it_was() {
    let Some(claude) = claude("a_session_that_ran_out_of_turns") else {
        return;
    };
    let look = || {
        Move::call(
            "Read",
            json!({"file_path": "/session/work/pipeline/pipeline.yaml"}),
        )
    };
    let lab = Lab::playing([look(), look(), look(), Move::answer(answer())]).await;
    let mut session = lab.open(claude, minute()).await;
    let stop = CancellationToken::new();
    let first = session.prompt("Go on.", 2, &stop).await.unwrap();
    assert_eq!(first.end, SessionEnd::OutOfTurns);
    assert_eq!(first.answer, None);
    let second = session
        .prompt("You ran out of turns.", 5, &stop)
        .await
        .unwrap();
    assert_eq!(second.end, SessionEnd::Answered);
    let requests = lab.claude.requests();
    let last = requests.last().unwrap();
    assert!(
        last.first_user().contains("Go on."),
        "the conversation was kept"
    );
    assert!(last.text.contains("You ran out of turns."));
    let record = session.close().await.unwrap();
    assert_eq!(record.prompts, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_is_a_configuration_error_and_is_told_at_once() {
    let Some(claude) = claude("a_wrong_key") else {
        return;
    };
    let lab = Lab::playing((0..12).map(|_| Move::status(401))).await;
    let mut session = lab.open(claude, minute()).await;
    let error = session
        .prompt("Go on.", 5, &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            AgentError::Provider {
                configuration: true,
                ..
            }
        ),
        "{error:?}"
    );
    // not ten times, over minutes
    assert!(lab.claude.requests().len() <= 2);
    assert_eq!(spent(&lab.balance().await), MicroUsd::ZERO);
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overload_that_lasts_can_be_tried_again_and_one_that_passes_is_survived() {
    let Some(claude) = claude("an_overload") else {
        return;
    };
    let lab = Lab::playing((0..12).map(|_| Move::status(529))).await;
    let mut session = lab.open(claude.clone(), minute()).await;
    let error = session
        .prompt("Go on.", 5, &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            AgentError::Provider {
                configuration: false,
                ..
            }
        ),
        "{error:?}"
    );
    session.close().await.unwrap();

    let lab = Lab::playing([
        Move::status(529),
        Move::cut(Move::text("half"), 3),
        Move::answer(answer()),
    ])
    .await;
    let mut session = lab.open(claude, minute()).await;
    let turn = session
        .prompt("Go on.", 5, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(turn.end, SessionEnd::Answered);
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_stops_at_its_money_before_it_is_spent() {
    let Some(claude) = claude("a_session_stops_at_its_money") else {
        return;
    };
    let usage = Usage {
        input_tokens: 10_000,
        output_tokens: 10_000,
        ..Usage::default()
    };
    let look = || {
        Move::call(
            "Read",
            json!({"file_path": "/session/work/pipeline/pipeline.yaml"}),
        )
        .using(usage)
    };
    let lab = Lab::playing((0..20).map(|_| look())).await;
    let cap = MicroUsd(120_000);
    let limits = AgentLimits {
        cost: Some(cap),
        ..minute()
    };
    let mut session = lab.open(claude, limits).await;
    let turn = session
        .prompt("Go on.", 50, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(turn.end, SessionEnd::OutOfMoney);
    let record = session.close().await.unwrap();
    assert!(record.spend.cost > MicroUsd::ZERO && record.spend.cost <= cap);
    assert!(spent(&lab.balance().await) <= cap);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_a_session_whole_and_what_it_did_is_kept() {
    let Some(claude) = claude("a_stop_ends_a_session") else {
        return;
    };
    let gate = Gate::closed();
    let lab = Lab::playing([
        edit("/session/work/pipeline/prompts/new.md", "", "Begun.\n"),
        Move::text("never said").behind(&gate),
    ])
    .await;
    let mut session = lab.open(claude, minute()).await;
    let stop = CancellationToken::new();
    let canceller = stop.clone();
    let (turn, waited) = tokio::join!(session.prompt("Go on.", 10, &stop), async {
        let waited = lab.claude.wait_for(|requests| requests.len() == 2).await;
        canceller.cancel();
        waited
    });
    waited.unwrap();
    let turn = turn.unwrap();
    assert_eq!(turn.end, SessionEnd::Cancelled);
    assert_eq!(turn.tree.text("prompts/new.md"), Some("Begun.\n"));
    let record = session.close().await.unwrap();
    assert_eq!(record.end, SessionEnd::Cancelled);
    gate.open();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_namespaces_a_session_works_at_the_hosts_own_paths() {
    let Some(claude) = claude("without_namespaces") else {
        return;
    };
    let lab = Lab::playing([
        Move::react(|request| {
            // the host's own path, which the CLI names as its working folder
            let system = request.text.clone();
            let at = system
                .find("pipeline is at ")
                .map(|at| at + "pipeline is at ".len());
            let path: String = at.map_or_else(String::new, |at| {
                system[at..]
                    .chars()
                    .take_while(|c| !c.is_whitespace())
                    .collect()
            });
            Move::call(
                "Read",
                json!({"file_path": format!("{path}/prompts/answer.md")}),
            )
        }),
        Move::react(|request| {
            let call = request.body["messages"][1]["content"][0]["input"]["file_path"].clone();
            edit(
                call.as_str().unwrap_or_default(),
                "Answer.",
                "Answer briefly.",
            )
        }),
        Move::answer(answer()),
    ])
    .await;
    let parts = lab.parts_held(lab.claude.base_url(), SandboxMode::Off);
    let agent = CliAgent::new(ClaudeCode::new(claude), parts.clone());
    let request = lab.request(minute());
    let pipeline = parts.scratch.join(request.id.short()).join("work/pipeline");
    let mut session = agent.open(request).await.unwrap();
    let text = format!("Go on: the pipeline is at {} now.", pipeline.display());
    let turn = session
        .prompt(&text, 10, &CancellationToken::new())
        .await
        .unwrap();
    let record = session.close().await.unwrap();
    let transcript = String::from_utf8(record.transcript_text).unwrap();
    assert_eq!(turn.end, SessionEnd::Answered, "{transcript}");
    assert_eq!(
        turn.tree.text("prompts/answer.md"),
        Some("Answer briefly.\n"),
        "{transcript}"
    );
    assert!(!record.confinement.namespaces);
}
