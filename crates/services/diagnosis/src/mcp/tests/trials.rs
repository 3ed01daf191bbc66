//! Running the files as they are now.

use fapo_domain::MicroUsd;

use super::*;

async fn house() -> House {
    let mut house = House::new().await;
    house.edit("Answer with the name alone.");
    house
}

#[tokio::test]
async fn a_try_runs_failing_cases_of_the_cluster_first_and_tells_what_changed() {
    let mut house = house().await;
    house.grant.tries = 100;
    let tools = house.open();
    let client = connect(&tools).await;
    let told = house.ask(&client, "try", json!({"count": 4})).await;
    assert_eq!(house.runner.cases(), ["c12", "c13", "c14", "c0"]);
    assert_eq!(
        (
            &told["better"],
            &told["worse"],
            &told["same"],
            &told["missing"]
        ),
        (&json!(3), &json!(0), &json!(1), &json!(0))
    );
    assert_eq!(
        (&told["mean_before"], &told["mean_after"]),
        (&json!(0.25), &json!(1.0))
    );
    assert_eq!(
        (&told["tries_left"], &told["model_calls"]),
        (&json!(96), &json!(4))
    );
    let first = &told["results"][0];
    assert_eq!(
        first["before"],
        json!({"score": 0.0, "output": "The passages say that it was Person12 Quill."})
    );
    assert_eq!(first["after"]["output"], "Person12 Quill");
    assert_eq!(first["changed_steps"], json!(["answer", "hop"]));
    // by id, each once, and afresh
    house
        .ask(
            &client,
            "try",
            json!({"cases": ["c3", "c3"], "fresh": true}),
        )
        .await;
    let (edited, _) = house.grant.tree.tree().await.unwrap();
    let asked = house.runner.asked.lock().unwrap().clone();
    assert_eq!(
        (
            asked.len(),
            asked[4].case.as_str(),
            asked[4].fresh,
            asked[3].fresh
        ),
        (5, "c3", true, false)
    );
    assert!(asked.iter().all(|asked| {
        asked.payer == Some(house.grant.fence)
            && asked.job == house.grant.job
            && asked.variant == edited.id()
    }));
    let used = house.end(tools).await;
    assert_eq!(
        (used.tried, used.spend.cost, used.spend.model_calls),
        (5, MicroUsd(500), 5)
    );
}

#[tokio::test]
async fn what_could_not_be_run_is_missing_and_no_zero() {
    let house = house().await;
    let tools = house.open();
    let client = connect(&tools).await;
    // a missing run, a failure of the house, a panic, and one that had no score before
    let told = house
        .ask(
            &client,
            "try",
            json!({"cases": ["c15", "c16", "c17", "c19", "c18"]}),
        )
        .await;
    assert_eq!(
        (&told["missing"], &told["better"], &told["same"]),
        (&json!(3), &json!(1), &json!(0))
    );
    assert_eq!(
        (&told["mean_before"], &told["mean_after"]),
        (&json!(0.0), &json!(1.0))
    );
    let after = |at: usize| &told["results"][at]["after"];
    assert_eq!(after(0)["status"], "missing");
    assert_eq!(
        (&after(0)["score"], &after(0)["reason"]),
        (&Value::Null, &json!("provider_unavailable"))
    );
    assert_eq!(
        after(1),
        &json!({"status": "missing", "reason": "it could not be run"})
    );
    assert_eq!(after(2), after(1));
    assert_eq!(after(3)["score"], 1.0);
    assert!(!told.to_string().contains("secret"));
    house.end(tools).await;
}

#[tokio::test]
async fn unchanged_files_are_not_run() {
    let house = House::new().await;
    let tools = house.open();
    let client = connect(&tools).await;
    let denied = house.denied(&client, "try", json!({})).await;
    assert!(denied.contains("no_change"), "{denied}");
    assert!(house.runner.cases().is_empty());
    assert_eq!(house.end(tools).await.tried, 0);
}

#[tokio::test]
async fn tries_are_never_overdrawn_however_many_ask_at_once() {
    let house = house().await;
    let tools = house.open();
    let (one, other) = (connect(&tools).await, connect(&tools).await);
    let calls = (0..12).map(|number| {
        let client = if number % 2 == 0 { &one } else { &other };
        let cases: Vec<String> = (0..3)
            .map(|case| format!("c{}", (number + case) % 12))
            .collect();
        house.call(client, "try", json!({ "cases": cases }))
    });
    let answers = futures::future::join_all(calls).await;
    let ran: u64 = answers
        .iter()
        .filter(|(_, error)| !error)
        .map(|(told, _)| told["results"].as_array().unwrap().len() as u64)
        .sum();
    assert_eq!((ran, house.runner.cases().len()), (10, 10));
    let refused = answers.iter().filter(|(told, error)| {
        *error
            && told["error"]
                .as_str()
                .unwrap()
                .contains("as many cases as it may")
    });
    assert_eq!(refused.count(), 8);
    // one of the four that ran had to leave two out
    let noted = answers
        .iter()
        .filter(|(told, _)| told["note"] == "2 cases were left out: no tries are left");
    assert_eq!(noted.count(), 1);
    assert!(
        house
            .runner
            .most_at_once
            .load(std::sync::atomic::Ordering::SeqCst)
            <= 4
    );
    assert_eq!(house.end(tools).await.tried, 10);
}

#[tokio::test]
async fn closing_lets_a_case_under_way_finish_and_begins_no_other() {
    let house = Arc::new(house().await);
    house.runner.open.send_replace(false);
    let tools = house.open();
    let client = connect(&tools).await;
    let asked = {
        let house = house.clone();
        tokio::spawn(async move { house.call(&client, "try", json!({"count": 8})).await })
    };
    house
        .runner
        .begun
        .subscribe()
        .wait_for(|begun| *begun == 4)
        .await
        .unwrap();
    let closing = {
        let house = house.clone();
        tokio::spawn(async move { house.end(tools).await })
    };
    // the client is told before the cases have ended, or loses its connection
    let _ = asked.await;
    house.runner.open.send_replace(true);
    let used = closing.await.unwrap();
    assert_eq!(house.runner.cases().len(), 4);
    assert_eq!((used.tried, used.spend.cost), (4, MicroUsd(400)));
}

#[tokio::test(start_paused = true)]
async fn closing_waits_only_so_long_for_a_case_that_hangs() {
    let house = Arc::new(house().await);
    house.runner.open.send_replace(false);
    let tools = house.open();
    let client = connect(&tools).await;
    let asked = {
        let house = house.clone();
        tokio::spawn(async move { house.call(&client, "try", json!({"count": 8})).await })
    };
    house
        .runner
        .begun
        .subscribe()
        .wait_for(|begun| *begun == 4)
        .await
        .unwrap();
    let began = Instant::now();
    let used = house.end(tools).await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!((used.tried, house.runner.cases().len()), (0, 4));
    let _ = asked.await;
}
