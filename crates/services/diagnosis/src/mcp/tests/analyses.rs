//! Scripts over the table of train runs, run by the real Python.

use super::*;

async fn printed(house: &House, client: &Client, code: &str) -> String {
    let code = format!("from fapo_runs import *\n{code}");
    let told = house.ask(client, "analyze", json!({ "code": code })).await;
    assert_eq!(told["ended"], "done", "{told}");
    told["printed"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_table_has_one_row_a_case_with_what_is_known_of_it() {
    let house = House::new().await;
    let tools = house.open();
    let client = connect(&tools).await;
    let told = printed(
        &house,
        &client,
        "import json\nprint(json.dumps([len(rows), rows[12], rows[19], rows[0]['cluster']]))",
    )
    .await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let (row, missing) = (&told[1], &told[2]);
    assert_eq!((&told[0], &told[3]), (&json!(20), &Value::Null));
    for (key, value) in [
        ("case_id", json!("c12")),
        ("score", json!(0.0)),
        ("status", json!("scored")),
        ("failed", json!(true)),
        ("rule", json!("answer_buried")),
        ("blamed_step", json!("answer")),
        ("level", json!("prompt")),
        ("cluster", json!("answer_buried@answer")),
        ("input.question", json!(question(12))),
        ("expected.answer", json!("Person12 Quill")),
        (
            "output",
            json!("The passages say that it was Person12 Quill."),
        ),
        ("answer.chars", json!(44)),
        ("answer.error", Value::Null),
        ("hop.docs", json!(["Mill 12"])),
        ("hop.query", json!(question(12))),
    ] {
        assert_eq!(row[key], value, "{key}");
    }
    assert_eq!(
        (&missing["score"], &missing["failed"]),
        (&Value::Null, &json!(false))
    );
    // only train was read for it
    assert!(
        house
            .store
            .splits_read()
            .iter()
            .all(|split| *split == Split::Train)
    );
    house.end(tools).await;
}

#[tokio::test]
async fn the_library_counts_groups_and_confuses() {
    let house = House::new().await;
    let tools = house.open();
    let client = connect(&tools).await;
    let told = printed(
        &house,
        &client,
        r#"
import json
failed = where(rows, failed=True)
out = {
    "failed": len(failed),
    "both": len(where(rows, {"blamed_step": "answer"}, lambda r: "passages" in r["output"])),
    "groups": {k: len(v) for k, v in group(failed, "rule").items()},
    "counted": count_by(rows, lambda r: r["score"]),
    "mean": mean(rows), "none": mean([]),
    "cross": crosstab(rows, "status", "failed"),
    "confused": len(confusion(rows, "expected.answer")),
    "gram": ngrams(failed, "output", 3, top=1)[0],
    "load": len(load()), "named": "hop.docs" in columns(),
}
show(failed, "case_id", "output", limit=1, width=20)
print(json.dumps(out))
"#,
    )
    .await;
    let last = told.lines().last().unwrap();
    let out: Value = serde_json::from_str(last).unwrap();
    assert_eq!((&out["failed"], &out["both"]), (&json!(7), &json!(6)));
    assert_eq!(
        out["groups"],
        json!({"answer_buried": 6, "wrong_answer": 1})
    );
    assert_eq!(
        out["counted"],
        json!([[1.0, 12, 1.0], [0.0, 7, 0.0], [null, 1, null]])
    );
    assert!((out["mean"].as_f64().unwrap() - 12.0 / 19.0).abs() < 1e-9);
    assert_eq!(out["none"], Value::Null);
    assert_eq!(
        out["cross"],
        json!({"scored": {"false": 12, "true": 7}, "missing": {"false": 1}})
    );
    assert_eq!(out["confused"], 20);
    assert_eq!(out["gram"], json!(["passages say that", 6, 0.0]));
    assert_eq!((&out["load"], &out["named"]), (&json!(20), &json!(true)));
    assert!(
        told.contains("case_id: c12\noutput: The passages say th…\n"),
        "{told}"
    );
    house.end(tools).await;
}

#[tokio::test]
async fn a_script_that_fails_says_how_and_one_that_prints_much_is_cut() {
    let house = House::new().await;
    let tools = house.open();
    let client = connect(&tools).await;
    let told = house
        .ask(
            &client,
            "analyze",
            json!({"code": "print('so far')\n1 / 0"}),
        )
        .await;
    assert_eq!(
        (&told["ended"], &told["printed"]),
        (&json!("failed with code 1"), &json!("so far\n"))
    );
    assert!(
        told["errors"]
            .as_str()
            .unwrap()
            .contains("ZeroDivisionError"),
        "{told}"
    );
    let told = house
        .ask(
            &client,
            "analyze",
            json!({"code": "print('\"\\n' * 100000)"}),
        )
        .await;
    assert_eq!(told["note"], "more was printed than is shown");
    // a panic in the house is not the script's, and leaves the session alive
    let denied = house
        .denied(&client, "analyze", json!({"code": "PANIC"}))
        .await;
    assert!(denied.contains("cannot be answered"), "{denied}");
    assert_eq!(house.end(tools).await.analyses, 2);
}

#[tokio::test]
async fn scripts_are_counted_however_many_are_asked_for_at_once() {
    let house = House::new().await;
    let tools = house.open();
    let client = connect(&tools).await;
    let calls = (0..8).map(|number| {
        house.call(
            &client,
            "analyze",
            json!({"code": format!("print({number})")}),
        )
    });
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|(_, error)| !error).count(), 5);
    assert!(
        house
            .denied(&client, "analyze", json!({"code": "x".repeat(70_000)}))
            .await
            .contains("65536")
    );
    let used = house.end(tools).await;
    assert_eq!((used.analyses, used.refused), (5, 3));
}
