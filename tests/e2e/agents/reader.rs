//! Failures that the rules leave unclear, read by the real CLI: what it proves with words of the trace counts, and nothing else.

use super::*;

/// Failures in train, and how many of them may be read: two prompts, of five and of two.
const WRONG: usize = 8;
const READ: u32 = 7;

/// The prompt-fault example with a model that answers plainly wrong in some train cases, where everything stands that is
/// needed; Claude Code reads those.
fn project(endpoint: &str) -> Project {
    let project = Project::example("answer-form").unwrap();
    let train = project.read("data/train.jsonl").unwrap();
    let wrong: Vec<String> = train
        .lines()
        .take(WRONG)
        .map(|line| ticket(&serde_json::from_str(line).unwrap()))
        .collect();
    let mut world: Value = serde_json::from_str(&project.read("sim.json").unwrap()).unwrap();
    world["style"] = json!("{answer}");
    for fact in world["facts"].as_array_mut().unwrap() {
        if wrong.iter().any(|ticket| fact["question"] == **ticket) {
            fact["answer"] = json!("parking");
        }
    }
    project.write("sim.json", world.to_string()).unwrap();
    let edit = |from: &str, to: &str| project.edit("fapo.yaml", from, to).unwrap();
    edit(
        "models:\n",
        &format!(
            "models:\n  reader: {{ provider: anthropic, model: claude-opus-4-5, base_url: \"{endpoint}\", price: {{ input: 5, output: 25 }} }}\n"
        ),
    );
    // what the reader costs is booked under a cap in dollars
    edit(
        "world: sim.json,",
        "world: sim.json, price: { input: 0.1, output: 0.1 },",
    );
    edit("proposals: 20", "proposals: 1, usd: 50");
    edit(
        "target: { exact_match: 0.95 }",
        &format!("diagnosis: {{ reader: {{ backend: claude-code, cases: {READ} }} }}"),
    );
    for (split, canary) in [("val", VAL_CANARY), ("test", TEST_CANARY)] {
        plant(&project, split, canary);
    }
    project
}

fn ticket(case: &Value) -> String {
    case["input"]["ticket"].as_str().unwrap().to_owned()
}

/// The ticket of the failure with this number, as the session was told it.
fn told(request: &fapo_testkit::messages::Request, number: u64) -> String {
    let text = format!("{}\n{}", request.first_user(), request.last_user());
    let start = format!("# Failure {number}\n");
    let (_, task) = text.split_once(&start).unwrap_or_default();
    let (_, rest) = task.split_once("input ticket: ").unwrap_or_default();
    rest.lines().next().unwrap_or_default().to_owned()
}

fn reading(failure: u64, quote: &str) -> Value {
    json!({
        "failure": failure, "kind": "reasoning", "step": "classify", "quote": quote,
        "explanation": "It took the ticket for something else.",
    })
}

#[test]
fn claude_code_reads_failures_and_only_true_quotes_count() {
    let conversation = Conversation::new("reader")
        .system_contains("You find out why a pipeline")
        .then(read(&format!("{PIPELINE}/prompts/classify.md")))
        .then(Move::react(|request| {
            Move::answer(json!({"readings": [
                // what the step was given, and what it wrote
                reading(1, &told(request, 1)),
                reading(2, "parking"),
                // invented; of another trace; the fourth is left out
                reading(3, "the customer asked for a space to park"),
                reading(5, &told(request, 1)),
            ]}))
        }))
        // the same session goes on, and so do its numbers
        .then(Move::react(|request| {
            Move::answer(json!({"readings": [
                reading(6, &told(request, 6)),
                reading(7, &told(request, 7)),
            ]}))
        }));
    let script = Script::new().conversation(conversation);
    let test = "claude_code_reads_failures";
    let Some(program) = fapo_testkit::claude_or_skip(test) else {
        return;
    };
    let claude = ScriptedMessages::start(script).unwrap();
    let stage = Stage {
        project: project(&claude.base_url()),
        claude,
        program,
    };
    let summary = stage.optimize();

    let sessions = stage.sessions();
    assert_eq!(sessions.len(), 1, "{sessions:#?}");
    let session = &sessions[0];
    assert_eq!(session["role"], "diagnosis");
    assert_eq!(session["end"]["end"], "answered", "{session:#}");
    assert_eq!(session["prompts"], 2);
    assert_eq!(session["spend"]["model_calls"], 3);
    assert_eq!(session["confinement"]["namespaces"], true);
    let requests = stage.claude.requests_of("reader");
    assert_eq!(requests.len(), 3);
    for request in &requests {
        let tools = request.tools();
        let is_closed = |tool: &&str| *tool != "Edit" && !tool.starts_with("mcp__");
        assert!(tools.iter().all(is_closed), "{tools:?}");
    }
    // it saw the files of the variant that failed
    let file = requests[1].last_tool_result().unwrap();
    assert!(file.text.contains("You sort customer tickets."), "{file:?}");

    let report = stage.report(&summary);
    let id = session["id"].as_str().unwrap();
    for part in [
        "The rules left 8 failures unclear; a model read 7 of them and proved 4 readings",
        "3 were thrown away: 2 quoted what is not there, 1 could not be read",
        &format!("It read in session {}.", &id[..12]),
        "read: 4 reasoning",
        "It took the ticket for something else.",
        &told(&requests[1], 1),
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert!(!report.contains("a space to park"), "{report}");

    let paid: f64 = summary["spending"]["by_role"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["role"] == "diagnosis")
        .map(|row| row["usd"].as_f64().unwrap())
        .sum();
    assert!(paid > 0.0, "{summary:#}");

    // nothing of a held-out case was told, nor the key
    let (asked, transcripts) = (stage.claude.all_text(), stage.transcripts());
    let train = stage.project.read("data/train.jsonl").unwrap();
    let mut held_out = 0;
    for split in ["val", "test"] {
        let cases = stage.project.read(&format!("data/{split}.jsonl")).unwrap();
        for line in cases.lines() {
            let ticket = ticket(&serde_json::from_str(line).unwrap());
            // some are the end of a train ticket that only adds a greeting
            if !train.contains(&ticket) {
                held_out += 1;
                assert!(!asked.contains(&ticket), "{ticket} of {split}");
            }
        }
    }
    assert!(held_out > 60, "{held_out}");
    for canary in [VAL_CANARY, TEST_CANARY, KEY] {
        assert!(!transcripts.contains(canary), "{canary}");
    }
    for canary in [VAL_CANARY, TEST_CANARY] {
        assert!(!asked.contains(canary), "{canary}");
    }
}

#[test]
fn an_agent_that_is_to_read_and_is_not_there_is_told_before_anything_is_paid() {
    let project = project("http://127.0.0.1:9");
    let env = [
        ("ANTHROPIC_API_KEY", KEY),
        ("FAPO_CLAUDE", "/nowhere/claude"),
    ];
    let ran = project.fapo_with_env("optimize", &[], &env).unwrap();
    assert_ne!(ran.code(), 0);
    let said = ran.stderr();
    assert!(said.contains("`claude-code` is to read failures"), "{said}");
    // there is no job that could have paid
    let jobs = project.fapo_with_env("status", &["--json"], &env).unwrap();
    assert_eq!(jobs.json().unwrap(), json!([]));
}
