//! A killed job continues: at every durable commit the process is aborted, started again with the same command, and must
//! end with the undisturbed run's lineage hash, having repeated no paid call.

use std::net::SocketAddr;
use std::sync::Arc;

use fapo_e2e::{Project, Ran};
use fapo_sim::{SimHandle, SimServer, World};
use serde_json::Value;

/// A small project (with fewer cases of val no gain could be shown) whose model is a simulated one outside the process, so that it sees every call.
fn project(base_url: &str) -> Project {
    let project = Project::example("answer-form").unwrap();
    for (split, cases) in [("train", 2), ("val", 5), ("test", 2)] {
        let file = format!("data/{split}.jsonl");
        let lines: Vec<String> = project
            .read(&file)
            .unwrap()
            .lines()
            .take(cases)
            .map(str::to_owned)
            .collect();
        project.write(&file, lines.join("\n")).unwrap();
    }
    project
        .edit(
            "fapo.yaml",
            "{ provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }",
            &format!(
                "{{ provider: openai, model: sim-small, base_url: \"{base_url}\", temperature: 0.0, price: {{ input: 1, output: 2 }} }}"
            ),
        )
        .unwrap();
    // one case at a time: at a commit no call is under way
    project
        .edit(
            "fapo.yaml",
            "{ concurrency: 16, block_size: 20 }",
            "{ concurrency: 1, block_size: 5 }",
        )
        .unwrap();
    project
        .edit("fapo.yaml", "proposals: 20", "proposals: 3, usd: 1")
        .unwrap();
    project
}

async fn sim() -> SimHandle {
    let text =
        std::fs::read_to_string(fapo_e2e::root().join("examples/answer-form/sim.json")).unwrap();
    SimServer::start(
        World::load(&text).unwrap(),
        SocketAddr::from(([127, 0, 0, 1], 0)),
    )
    .await
    .unwrap()
}

/// Runs the binary off the runtime's threads, which serve the simulated model.
async fn fapo(project: &Arc<Project>, args: &[&str]) -> Ran {
    let project = Arc::clone(project);
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        project.fapo("optimize", &args).unwrap()
    })
    .await
    .unwrap()
}

/// Dollars that were charged for answered calls, and model calls counted as lost because the process died with their
/// reservation open.
fn spent_and_lost(summary: &Value) -> (f64, u64) {
    let roles = summary["spending"]["by_role"].as_array().unwrap();
    let is_lost = |role: &&Value| role["role"] == "lost replies";
    let spent = roles
        .iter()
        .filter(|role| !is_lost(role))
        .map(|role| role["usd"].as_f64().unwrap())
        .sum();
    let lost = roles
        .iter()
        .filter(is_lost)
        .map(|role| role["model_calls"].as_u64().unwrap())
        .sum();
    (spent, lost)
}

/// Aborts a run after `commit` durable commits, resumes it, and holds the result against the undisturbed run's. False
/// when the run had ended before that commit.
async fn resumes_after(commit: u64, undisturbed: &Value, calls: u64) -> bool {
    let sim = sim().await;
    let project = Arc::new(project(&sim.base_url()));
    let at = commit.to_string();
    let killed = fapo(&project, &["--json", "--abort-after-commits", &at]).await;
    if killed.code() == 0 {
        return false;
    }
    assert_eq!(
        killed.code(),
        -1,
        "aborted by a signal: {}",
        killed.stderr()
    );
    let resumed = fapo(&project, &["--json"]).await.json().unwrap();
    let when = format!("killed after commit {commit}");
    assert_eq!(
        resumed["lineage_hash"], undisturbed["lineage_hash"],
        "{when}"
    );
    let seen = sim.stats();
    let (spent, lost) = spent_and_lost(&resumed);
    // another role's commit can fall into the middle of a call; that call's reply was never stored, so it is made again
    // and its worst case is counted as lost. Nothing else is made twice.
    assert!(seen.repeated <= lost, "{when}: {seen:?}, {lost} lost");
    assert_eq!(seen.requests, calls + seen.repeated, "{when}: {seen:?}");
    assert!(
        (spent - spent_and_lost(undisturbed).0).abs() < 1e-9,
        "{when}: {resumed:#}"
    );
    // killed between a reservation and its reply, nobody can know whether the call was made; one case runs at a time
    assert!(lost <= 1, "{when}: {lost} calls are counted as lost");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_commit_the_job_ends_as_if_undisturbed_and_no_call_is_paid_twice() {
    let undisturbed_sim = sim().await;
    let undisturbed_project = Arc::new(project(&undisturbed_sim.base_url()));
    let undisturbed = fapo(&undisturbed_project, &["--json"])
        .await
        .json()
        .unwrap();
    let calls = undisturbed_sim.stats();
    assert_eq!(calls.repeated, 0, "{calls:?}");
    assert!(
        undisturbed["improved"].as_bool().unwrap(),
        "{undisturbed:#}"
    );

    // two lanes, for two cores
    let lane = async |first: u64| {
        let mut commit = first;
        while resumes_after(commit, &undisturbed, calls.requests).await {
            commit += 2;
        }
        commit
    };
    let (odd, even) = tokio::join!(lane(1), lane(2));
    assert!(
        odd.min(even) > 20,
        "{odd}, {even} commits: the job did not do what it should"
    );
}
