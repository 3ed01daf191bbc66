//! A killed job continues: at every durable commit the process is aborted, started again with the same command, and must
//! end with the undisturbed run's lineage hash, having repeated no paid call.

use std::net::SocketAddr;

use fapo_e2e::Project;
use fapo_sim::{SimHandle, SimServer, World};
use serde_json::Value;

/// A small project whose model is a simulated one outside the process, so that it sees every call.
fn project(base_url: &str) -> Project {
    let project = Project::example("answer-form").unwrap();
    for (split, cases) in [("train", 6), ("val", 12), ("test", 6)] {
        let file = format!("data/{split}.jsonl");
        let lines: Vec<String> =
            project.read(&file).unwrap().lines().take(cases).map(str::to_owned).collect();
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
        .edit("fapo.yaml", "{ concurrency: 16, block_size: 20 }", "{ concurrency: 1, block_size: 3 }")
        .unwrap();
    project.edit("fapo.yaml", "proposals: 20", "proposals: 3, usd: 1").unwrap();
    project
}

async fn sim() -> SimHandle {
    let text =
        std::fs::read_to_string(fapo_e2e::root().join("examples/answer-form/sim.json")).unwrap();
    SimServer::start(World::load(&text).unwrap(), SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap()
}

fn optimize(project: &Project) -> Value {
    project.fapo("optimize", &["--json"]).unwrap().json().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_commit_the_job_ends_as_if_undisturbed_and_no_call_is_paid_twice() {
    let undisturbed_sim = sim().await;
    let undisturbed = optimize(&project(&undisturbed_sim.base_url()));
    let calls = undisturbed_sim.stats();
    assert_eq!(calls.repeated, 0, "{calls:?}");
    assert!(undisturbed["improved"].as_bool().unwrap(), "{undisturbed:#}");

    let mut commit = 1u64;
    loop {
        let sim = sim().await;
        let project = project(&sim.base_url());
        let at = commit.to_string();
        let killed = project.fapo("optimize", &["--json", "--abort-after-commits", &at]).unwrap();
        if killed.code() == 0 {
            break;
        }
        assert_eq!(killed.code(), -1, "aborted by a signal: {}", killed.stderr());
        let resumed = optimize(&project);
        assert_eq!(
            resumed["lineage_hash"], undisturbed["lineage_hash"],
            "killed after commit {commit}"
        );
        let seen = sim.stats();
        assert_eq!(seen.repeated, 0, "killed after commit {commit}: {seen:?}");
        assert_eq!(seen.requests, calls.requests, "killed after commit {commit}");
        assert_eq!(
            resumed["spending"]["usd"], undisturbed["spending"]["usd"],
            "killed after commit {commit}"
        );
        commit += 1;
    }
    assert!(commit > 20, "only {commit} commits: the job did not do what it should");
}
