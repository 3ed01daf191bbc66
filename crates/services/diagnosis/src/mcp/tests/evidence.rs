//! What the reading tools tell.

use fapo_domain::model::level::Technique;
use fapo_domain::model::proposal::{Attempt, AttemptOutcome};

use super::*;

fn attempt(house: &House, variant: &VariantTree, outcome: AttemptOutcome) -> Attempt {
    Attempt {
        iteration: 2,
        parent: house.grant.parent,
        variant: Some(variant.id()),
        level: Level::Prompt,
        technique: Some(Technique::Role),
        hypothesis: "a role helps".to_owned(),
        idea: "role/answer/expert".to_owned(),
        outcome,
        reason: "lost on train by 0.05".to_owned(),
    }
}

/// A tree that is not the parent.
fn other(house: &House, name: &str) -> VariantTree {
    let mut tree = house.parent.clone();
    tree.insert(format!("prompts/{name}.md"), name.as_bytes().to_vec());
    house.store.add_tree(&tree);
    tree
}

#[tokio::test]
async fn the_tools_say_what_they_are_for_and_take_only_what_they_say() {
    let house = House::new().await;
    let tools = house.open();
    let client = connect(&tools).await;
    let info = client.peer_info().unwrap();
    assert!(info.instructions.as_ref().unwrap().contains("data"));
    let listed = client.list_all_tools().await.unwrap();
    let names: Vec<String> = listed.iter().map(|tool| tool.name.to_string()).collect();
    assert_eq!(names, tools.agent_tools().names);
    assert_eq!(
        names,
        [
            "scope", "clusters", "case", "step", "compare", "history", "analyze", "check", "try"
        ]
    );
    for tool in &listed {
        assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
        assert_eq!(
            tool.input_schema["additionalProperties"], false,
            "{}",
            tool.name
        );
        let denied = house
            .denied(&client, &tool.name, json!({"surprise": 1}))
            .await;
        assert!(denied.contains("surprise"), "{denied}");
    }
    let bytes: usize = serde_json::to_string(&listed).unwrap().len();
    assert!(
        bytes < 8 * 1024,
        "the tools take {bytes} bytes of every request"
    );
    assert!(
        house
            .denied(&client, "bash", json!({}))
            .await
            .contains("no tool")
    );
    let used = house.end(tools).await;
    assert_eq!((used.answers.len(), used.refused), (10, 0));
    assert!(
        used.answers
            .iter()
            .all(|answer| answer.error && answer.bytes > 0)
    );
}

#[tokio::test]
async fn clusters_tell_where_the_points_are() {
    let house = House::new().await;
    let tools = house.open();
    let client = connect(&tools).await;
    let told = house.ask(&client, "clusters", json!({})).await;
    assert_eq!(
        (&told["train_cases"], &told["failures"], &told["missing"]),
        (&json!(19), &json!(7), &json!(1))
    );
    assert_eq!(told["mean"], json!(0.632));
    let first = &told["clusters"][0];
    assert_eq!(first["id"], "answer_buried@answer");
    assert_eq!(told["your_cluster"], first["id"]);
    assert_eq!(first["count"], 6);
    assert_eq!(first["cases"].as_array().unwrap().len(), 5);
    assert_eq!(first["recoverable"]["points"], json!(0.316));
    assert!(
        told["points_to_be_won_by_level"]["prompt"]["points"]
            .as_f64()
            .unwrap()
            > 0.3
    );
    let second = house.ask(&client, "clusters", json!({"from": 1})).await;
    assert_eq!(second["clusters"], json!([told["clusters"][1]]));
    house.end(tools).await;
}

#[tokio::test]
async fn a_train_case_is_shown_with_its_steps_and_a_step_in_full() {
    let house = House::new().await;
    let tools = house.open();
    let client = connect(&tools).await;
    let told = house.ask(&client, "case", json!({"case_id": "c12"})).await;
    assert_eq!(told["input"]["question"], json!(question(12)));
    assert_eq!(told["expected"]["answer"], "Person12 Quill");
    assert_eq!(
        (&told["score"], &told["status"]),
        (&json!(0.0), &json!("scored"))
    );
    assert_eq!(told["feedback"], "scored number 12");
    assert_eq!(told["finding"]["cluster"], "answer_buried@answer");
    assert_eq!(told["steps"][0]["found"], json!(["Mill 12"]));
    assert_eq!(
        told["steps"][1]["said"],
        "The passages say that it was Person12 Quill."
    );
    // a missing result is no zero
    let missing = house
        .ask(&client, "case", json!({"case_id": "c19", "split": "train"}))
        .await;
    assert_eq!(
        (&missing["score"], &missing["status"]),
        (&Value::Null, &json!("missing"))
    );

    let step = house
        .ask(&client, "step", json!({"case_id": "c12", "step": "answer"}))
        .await;
    let text = step["text"].as_str().unwrap();
    assert!(text.starts_with("=== message: system\nYou answer questions from passages.\n"));
    assert!(
        text.contains("=== output\nThe passages say that it was Person12 Quill.\n"),
        "{text}"
    );
    let hop = house
        .ask(&client, "step", json!({"case_id": "c12", "step": "hop"}))
        .await;
    let text = hop["text"].as_str().unwrap();
    assert!(
        text.contains("=== queries\nWho built mill number 12"),
        "{text}"
    );
    assert!(
        text.contains("=== document 1: Mill 12 (d12)\nPerson12 Quill built it.\n"),
        "{text}"
    );
    let denied = house
        .denied(&client, "step", json!({"case_id": "c12", "step": "hop2"}))
        .await;
    assert_eq!(denied, "this case has no step `hop2`; it has: hop, answer");
    house.end(tools).await;
}

#[tokio::test]
async fn a_huge_case_is_cut_and_a_huge_step_is_paged() {
    let house = House::new().await;
    let long = "\"länger\"\n".repeat(20_000);
    house.store.add_case(
        Split::Train,
        case_with(
            "c20",
            json!({"question": long, "list": vec!["x"; 500]}),
            json!({"answer": long}),
        ),
    );
    let said = record("answer", "llm", said(&long));
    house.store.add_run(
        run(20, &long, vec![said]),
        score(20, ScoreStatus::Scored, 0.0),
    );
    let tools = house.open();
    let client = connect(&tools).await;
    let told = house.ask(&client, "case", json!({"case_id": "c20"})).await;
    assert!(
        told["cut"]
            .as_str()
            .unwrap()
            .starts_with("texts are cut to ")
    );
    assert!(
        told["input"]["question"]
            .as_str()
            .unwrap()
            .starts_with("\"länger\"\n")
    );
    let mut joined = String::new();
    loop {
        let from = joined.len();
        let page = house
            .ask(
                &client,
                "step",
                json!({"case_id": "c20", "step": "answer", "from": from}),
            )
            .await;
        joined.push_str(page["text"].as_str().unwrap());
        if page.get("more").is_none() {
            break;
        }
    }
    assert_eq!(joined, format!("=== output\n{long}\n"));
    house.end(tools).await;
}

#[tokio::test]
async fn history_tells_the_last_attempt_first_and_scope_what_may_be_changed() {
    let mut house = House::new().await;
    let tried = other(&house, "one");
    house.grant.history = (0..100)
        .map(|number| Attempt {
            iteration: number,
            hypothesis: "h".repeat(900),
            ..attempt(&house, &tried, AttemptOutcome::RejectedOnTrain)
        })
        .collect();
    let tools = house.open();
    let client = connect(&tools).await;
    let told = house.ask(&client, "history", json!({})).await;
    let shown = told["history"].as_array().unwrap();
    assert_eq!(shown[0]["iteration"], 99);
    assert_eq!(shown[0]["outcome"], "rejected_on_train");
    assert!(
        told["more"]
            .as_str()
            .unwrap()
            .ends_with(&format!("from={}", shown.len()))
    );
    let rest = house
        .ask(&client, "history", json!({"from": shown.len()}))
        .await;
    assert_eq!(rest["history"][0]["iteration"], json!(99 - shown.len()));
    let scope = house.ask(&client, "scope", json!({})).await;
    assert_eq!(scope["levels"], json!(["prompt"]));
    assert_eq!(
        scope["levels_that_may_open_later"],
        json!(["parameter", "structure"])
    );
    assert_eq!(
        (&scope["tries_left"], &scope["analyses_left"]),
        (&json!(10), &json!(5))
    );
    house.end(tools).await;
}

#[tokio::test]
async fn two_variants_are_compared_on_the_cases_that_both_ran() {
    let mut house = House::new().await;
    let (tried, unrun) = (other(&house, "one"), other(&house, "two"));
    let own = house.grant.evaluation.clone();
    let scores = house.store.all_scores();
    house.store.add_evaluation(own.id(), scores.clone());
    // the second time it was begun; not on the first three, better on two, worse on one, missing on one
    let evaluation = EvaluationSpec {
        variant: tried.id(),
        attempt: 1,
        ..own
    };
    let changed = scores
        .into_iter()
        .skip(3)
        .map(|score| match score.ordinal {
            12 | 18 => CaseScore {
                score: 1.0,
                ..score
            },
            5 => CaseScore {
                score: 0.25,
                ..score
            },
            6 => CaseScore {
                status: ScoreStatus::Missing,
                score: 0.0,
                ..score
            },
            _ => score,
        })
        .collect();
    house.store.add_evaluation(evaluation.id(), changed);
    house.grant.history = vec![attempt(&house, &tried, AttemptOutcome::RejectedOnVal)];
    house.grant.earlier.push(unrun.id());
    let tools = house.open();
    let client = connect(&tools).await;
    let told = house.ask(&client, "compare", json!({})).await;
    assert_eq!(
        (
            &told["cases"],
            &told["b_wins"],
            &told["b_loses"],
            &told["ties"]
        ),
        (&json!(15), &json!(2), &json!(1), &json!(12))
    );
    assert_eq!(
        (&told["won_by_b"], &told["lost_by_b"]),
        (&json!(["c12", "c18"]), &json!(["c5"]))
    );
    assert_eq!(told["b_minus_a"], json!(0.083));
    let short = tried.id().short();
    let back = house
        .ask(
            &client,
            "compare",
            json!({"a": short, "b": "baseline", "limit": 1}),
        )
        .await;
    assert_eq!(
        (&back["won_by_b"], &back["lost_by_b"]),
        (&json!(["c5"]), &json!(["c12"]))
    );
    let val = house.ask(&client, "compare", json!({"split": "val"})).await;
    assert_eq!(val["told_by_history"]["outcome"], "rejected_on_val");
    let val = house
        .ask(
            &client,
            "compare",
            json!({"split": "val", "b": unrun.id().short()}),
        )
        .await;
    assert!(val.get("told_by_history").is_none());
    let none = house
        .denied(&client, "compare", json!({"b": unrun.id().short()}))
        .await;
    assert!(none.contains("no results on train"), "{none}");
    for name in ["", "a", &"0".repeat(64), "*"] {
        let denied = house.denied(&client, "compare", json!({"b": name})).await;
        assert!(denied.contains("not a variant of this job"), "{denied}");
    }
    let test = house
        .denied(&client, "compare", json!({"split": "test"}))
        .await;
    assert!(test.contains("sealed"));
    assert_eq!(house.end(tools).await.refused, 5);
}
