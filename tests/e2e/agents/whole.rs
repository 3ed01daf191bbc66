//! From failures to an exported variant.

use super::*;

fn by_role(summary: &Value, role: &str) -> f64 {
    summary["spending"]["by_role"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["role"] == role)
        .map(|row| row["usd"].as_f64().unwrap())
        .sum()
}

/// What both runs must show.
fn is_solved(stage: &Stage, summary: &Value) {
    assert!(
        summary["test"]["baseline"]["mean"].as_f64().unwrap() < 0.5,
        "{summary:#}"
    );
    assert!(
        summary["test"]["best"]["mean"].as_f64().unwrap() > 0.95,
        "{summary:#}"
    );
    let lineage = stage.lineage();
    let fates: Vec<(&str, &str)> = lineage
        .iter()
        .map(|row| {
            (
                row["level"].as_str().unwrap_or("-"),
                row["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    let lost = |fate: &&(&str, &str)| fate.0 == "prompt" && fate.1 == "rejected_on_train";
    assert!(fates.iter().filter(lost).count() >= 3, "{fates:?}");
    let promoted: Vec<&Value> = lineage
        .iter()
        .filter(|row| row["outcome"] == "promoted")
        .collect();
    assert_eq!(promoted.len(), 1, "{fates:?}");
    assert_eq!(promoted[0]["level"], "structure");
    assert_eq!(promoted[0]["technique"], "extra_hop");

    let report = stage.report(summary);
    for words in [
        "level prompt",
        "level structure",
        "retrieval_partial@retrieve",
    ] {
        assert!(report.contains(words), "{words} in {report}");
    }

    // every proposal had its session and its reviewer's, each recorded, held and paid
    let sessions = stage.sessions();
    let of = |role: &str| {
        sessions
            .iter()
            .filter(|session| session["role"] == role)
            .collect::<Vec<_>>()
    };
    assert!(
        of("proposer").len() >= 4 && of("reviewer").len() >= 4,
        "{sessions:#?}"
    );
    for session in &sessions {
        assert_eq!(session["end"]["end"], "answered", "{session:#}");
        assert_eq!(session["confinement"]["namespaces"], true);
        assert!(session["transcript"].is_string());
        assert!(session["spend"]["model_calls"].as_u64().unwrap() > 0);
    }
    let tools = |session: &Value| session["tool_calls"].to_string();
    assert!(
        of("proposer")
            .iter()
            .any(|session| tools(session).contains("mcp__fapo__try")),
        "{sessions:#?}"
    );
    assert!(by_role(summary, "proposer") > 0.0 && by_role(summary, "reviewer") > 0.0);
    assert!(by_role(summary, "lost replies") == 0.0, "{summary:#}");

    let to = stage.project.path().join("out");
    let exported = stage.fapo("export", &["--to", to.to_str().unwrap()]);
    assert_eq!(exported.code(), 0, "{}", exported.stderr());
    let pipeline = std::fs::read_to_string(to.join("pipeline.yaml")).unwrap();
    assert!(pipeline.contains("next_query"), "{pipeline}");
    assert!(to.join("prompts/next_query.md").is_file());
    stage.nothing_leaked();
    assert!(
        stage.claude.overruns().is_empty(),
        "{:#?}",
        stage.claude.overruns()
    );
}

#[test]
fn claude_code_tries_prompts_then_adds_the_missing_hop() {
    let Some(stage) = Stage::new("claude_code_tries_prompts", prompts_then_hop(12)) else {
        return;
    };
    let summary = stage.optimize();
    is_solved(&stage, &summary);
    // it read the clusters, and a case of train, through the tools
    let transcripts = stage.transcripts();
    assert!(transcripts.contains("mcp__fapo__clusters"));
    assert!(transcripts.contains("hop-0"), "a train case was read");
    // people can read a session
    let id = stage.sessions()[0]["id"].as_str().unwrap().to_owned();
    let shown = stage.fapo("session", &[&id[..12]]);
    assert_eq!(shown.code(), 0, "{}", shown.stderr());
    assert!(
        shown.stdout().contains("mcp__fapo__clusters"),
        "{}",
        shown.stdout()
    );
}

#[test]
fn two_proposals_at_once_come_to_the_same() {
    let Some(stage) = Stage::new("two_proposals_at_once", prompts_then_hop(12)) else {
        return;
    };
    stage
        .project
        .edit("fapo.yaml", "turns: 20", "parallel: 2, turns: 20")
        .unwrap();
    let summary = stage.optimize();
    is_solved(&stage, &summary);
}
