//! A cluster of six processes over Postgres and Redis does what one process does.

use fapo_e2e::cluster::{Cluster, ClusterOptions};
use fapo_e2e::{Project, Running, fapo, root, start};

/// The simulated model of an example as a server, and its address.
fn model(example: &str) -> (Running, String) {
    let world = root().join("examples").join(example).join("sim.json");
    let args = ["sim", "--world", world.to_str().unwrap(), "--port", "0"];
    let mut sim = start(&args).unwrap();
    let line = sim.wait_for("http://").unwrap();
    let (_, rest) = line.split_once("http://").unwrap();
    let (address, _) = rest.split_once("/v1").unwrap();
    (sim, format!("http://{address}/v1"))
}

/// The structure-fault example over a model that the environment names.
fn project() -> Project {
    let project = Project::example("missing-hop").unwrap();
    let sim = "{ provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }";
    let served =
        "{ provider: openai, model: sim-small, base_url: \"${FAPO_MODEL_URL}\", temperature: 0.0 }";
    project.edit("fapo.yaml", sim, served).unwrap();
    project
}

#[tokio::test(flavor = "multi_thread")]
async fn six_processes_end_with_the_lineage_of_an_embedded_run() {
    let (_sim, url) = model("missing-hop");
    let variables = [("FAPO_MODEL_URL", url.as_str()), ("OPENAI_API_KEY", "any")];
    let project = project();
    let embedded = project
        .fapo_with_env("optimize", &["--json"], &variables)
        .unwrap();
    let embedded = embedded.json().unwrap();

    let options = ClusterOptions {
        env: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::start(options).await.unwrap();
    assert_eq!(cluster.names().len(), 6);
    for name in cluster.names() {
        let http = format!("http://{}", cluster.addresses(&name).unwrap().http);
        let ran = fapo(&["health", "--http", &http]).unwrap();
        assert_eq!(ran.code(), 0, "{name}: {}", ran.stderr());
    }
    let dir = project.path().to_str().unwrap();
    let server = cluster.url().unwrap();
    let submitted = cluster
        .fapo(&["submit", dir, "--server", &server, "--watch", "--json"])
        .unwrap();
    let submitted = submitted.json().unwrap();
    assert_eq!(submitted["lineage_hash"], embedded["lineage_hash"]);
    assert_eq!(submitted["best"], embedded["best"]);

    for name in cluster.names() {
        let ended = cluster.stop(&name).unwrap();
        assert_eq!(ended.code(), 0, "{name}: {}", ended.stderr());
    }
}
