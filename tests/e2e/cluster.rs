//! A cluster of six processes over Postgres and Redis does what one process does, for whoever may ask it to.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use fapo_e2e::cluster::{Cluster, ClusterOptions};
use fapo_e2e::redis::Redis;
use fapo_e2e::{Project, Ran, Running, binary, fapo, root, start};
use fapo_testkit::postgres::TestDatabase;
use serde_json::Value;

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

/// What projects name of the environment.
fn variables(model: &str) -> Vec<(String, String)> {
    let pairs = [("FAPO_MODEL_URL", model), ("OPENAI_API_KEY", "any")];
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

async fn cluster(model: &str) -> Cluster {
    let options = ClusterOptions {
        env: variables(model),
        ..ClusterOptions::default()
    };
    Cluster::start(options).await.unwrap()
}

/// The summary of the project's run in one process.
fn embedded(project: &Project, model: &str) -> Value {
    let variables = variables(model);
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let ran = project.fapo_with_env("optimize", &["--json"], &variables);
    ran.unwrap().json().unwrap()
}

/// What a command says as JSON.
fn json(cluster: &Cluster, args: &[&str]) -> Value {
    let ran = cluster.fapo(&[args, &["--json"]].concat()).unwrap();
    ran.json().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn six_processes_end_with_the_lineage_of_an_embedded_run() {
    let (_sim, url) = model("missing-hop");
    let project = project();
    let embedded = embedded(&project, &url);
    let mut cluster = cluster(&url).await;
    assert_eq!(cluster.names().len(), 6);
    for name in cluster.names() {
        let http = format!("http://{}", cluster.addresses(&name).unwrap().http);
        let ran = fapo(&["health", "--http", &http]).unwrap();
        assert_eq!(ran.code(), 0, "{name}: {}", ran.stderr());
    }
    let dir = project.path().to_str().unwrap();
    let server = cluster.url().unwrap();
    let submitted = json(&cluster, &["submit", dir, "--server", &server, "--watch"]);
    assert_eq!(submitted["lineage_hash"], embedded["lineage_hash"]);
    assert_eq!(submitted["best"], embedded["best"]);

    // what came of it can be had from the server alone
    let job = submitted["job"].as_str().unwrap();
    let lineage = json(&cluster, &["lineage", job, "--server", &server]);
    let best = embedded["best"].as_str().unwrap();
    assert!(lineage.to_string().contains(best), "{lineage}");
    let folder = Project::empty().unwrap();
    let out = folder.path().join("report");
    let report = [
        "report",
        job,
        "--server",
        &server,
        "--out",
        out.to_str().unwrap(),
    ];
    let ran = cluster.fapo(&report).unwrap();
    assert_eq!(ran.code(), 0, "{}", ran.stderr());
    let page = folder.read("report/report.html").unwrap();
    assert!(page.contains(embedded["lineage_hash"].as_str().unwrap()));

    for name in cluster.names() {
        let ended = cluster.stop(&name).unwrap();
        assert_eq!(ended.code(), 0, "{name}: {}", ended.stderr());
    }
}

/// The interpreter that `make python-client` puts the Python client into.
fn python() -> Option<PathBuf> {
    let folder = root().join("target/python-client");
    let is_whole = folder.join("installed").is_file();
    is_whole.then(|| folder.join("bin/python"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_submits_a_job_that_ends_with_the_lineage_of_an_embedded_run() {
    let Some(python) = python() else {
        eprintln!("SKIPPED: the Python client is not installed (`make python-client` needs pip)");
        return;
    };
    let (_sim, url) = model("missing-hop");
    let project = project();
    let embedded = embedded(&project, &url);
    let cluster = cluster(&url).await;
    let output = Command::new(python)
        .arg(root().join("clients/python/examples/submit.py"))
        .arg(project.path())
        .args(["--server", &cluster.addresses("gateway").unwrap().grpc])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = Ran(output);
    let submitted = ran.json().unwrap();
    assert_eq!(submitted["status"], "done");
    assert_eq!(submitted["lineage_hash"], embedded["lineage_hash"]);
    // its progress, event by event
    assert!(ran.stderr().contains("stage_done"), "{}", ran.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_at_a_server_is_paused_resumed_and_cancelled() {
    let (_sim, url) = model("missing-hop");
    let cluster = cluster(&url).await;
    let project = project();
    let dir = project.path().to_str().unwrap();
    let server = cluster.url().unwrap();
    let job = json(&cluster, &["submit", dir, "--server", &server])["job"].clone();
    let job = job.as_str().unwrap();
    let status = |args: &[&str]| {
        let rows = json(&cluster, &[args, &[job, "--server", &server]].concat());
        rows[0].clone()
    };
    let paused = status(&["pause"]);
    assert_eq!(
        (&paused["status"], &paused["paused"]),
        (&"running".into(), &true.into())
    );
    let resumed = status(&["resume"]);
    assert_eq!(resumed["paused"], false);
    let cancelled = status(&["cancel"]);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(status(&["status"])["status"], "cancelled");
    // nothing of it is at work any more, and nothing died
    let tasks = ["tasks", "list", job, "--server", &server];
    assert_eq!(json(&cluster, &tasks), Value::Array(Vec::new()));
    let retry = ["tasks", "retry", job, "--server", &server, "--json"];
    let refused = cluster.fapo(&retry).unwrap();
    assert!(
        refused.stderr().contains("JOB_STATE"),
        "{}",
        refused.stderr()
    );
}

/// The whole answer of the gateway's API.
fn get(cluster: &Cluster, path: &str, token: &str) -> String {
    let http = &cluster.addresses("gateway").unwrap().http;
    let mut stream = TcpStream::connect(http).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Makes a token in a database that nobody serves yet.
fn token(database: &TestDatabase, redis: &Redis, args: &[&str]) -> String {
    let output = Command::new(binary().unwrap())
        .args(["token", "create", "--name", "test"])
        .args(args)
        .args(["--set", "store.kind=postgres", "--set", "queue.kind=redis"])
        .env_clear()
        .env("FAPO__STORE__URL", database.url())
        .env("FAPO__QUEUE__URL", Redis::url(redis.port()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ran = Ran(output);
    assert_eq!(ran.code(), 0, "{}", ran.stderr());
    ran.stdout().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_project_sees_nothing_of_a_job() {
    let (_sim, url) = model("missing-hop");
    let database = TestDatabase::empty().await.unwrap();
    let redis = Redis::start().unwrap();
    let ours = token(
        &database,
        &redis,
        &["--role", "submitter", "--project", "missing-hop"],
    );
    let theirs = token(
        &database,
        &redis,
        &["--role", "admin", "--project", "other"],
    );
    let mut env = variables(&url);
    let service = token(&database, &redis, &["--role", "service"]);
    env.push(("FAPO__SERVICES__TOKEN".to_owned(), service));
    let options = ClusterOptions {
        env,
        set: vec!["auth.mode=tokens".to_owned()],
        ..ClusterOptions::default()
    };
    let queue = Redis::url(redis.port());
    let cluster = Cluster::start_over(options, database.url().to_owned(), queue).unwrap();
    let project = project();
    let folder = Project::empty().unwrap();
    folder.write("ours", &ours).unwrap();
    folder.write("theirs", &theirs).unwrap();
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (with_ours, with_theirs) = (file("ours"), file("theirs"));
    let server = cluster.url().unwrap();
    let dir = project.path().to_str().unwrap();
    let submit = [
        "submit",
        dir,
        "--server",
        &server,
        "--token-file",
        &with_ours,
    ];
    let job = json(&cluster, &submit)["job"].as_str().unwrap().to_owned();

    // by gRPC, at the gateway and past it
    let orchestrator = format!("http://{}", cluster.addresses("orchestrator").unwrap().grpc);
    for server in [&server, &orchestrator] {
        for command in [
            &["status"][..],
            &["watch"],
            &["pause"],
            &["cancel"],
            &["lineage"],
            &["tasks", "list"],
            &["tasks", "retry"],
        ] {
            let at = [
                &job,
                "--server",
                server,
                "--token-file",
                &with_theirs,
                "--json",
            ];
            let ran = cluster.fapo(&[command, &at].concat()).unwrap();
            assert_eq!(ran.code(), 1, "{command:?} {}", ran.stdout());
            assert!(
                ran.stderr().contains("NOT_FOUND"),
                "{command:?} {}",
                ran.stderr()
            );
        }
        let listed = ["status", "--server", server, "--token-file", &with_theirs];
        assert_eq!(json(&cluster, &listed), Value::Array(Vec::new()));
        let foreign = [
            "submit",
            dir,
            "--server",
            server,
            "--token-file",
            &with_theirs,
        ];
        let ran = cluster.fapo(&foreign).unwrap();
        assert_ne!(ran.code(), 0, "{}", ran.stdout());
    }
    // and by HTTP
    for path in [
        "",
        "/events",
        "/lineage",
        "/report?format=json",
        "/evaluations",
        "/tasks/dead",
    ] {
        let path = format!("/api/v1/jobs/{job}{path}");
        let (seen, refused) = (get(&cluster, &path, &ours), get(&cluster, &path, &theirs));
        assert!(seen.starts_with("HTTP/1.1 200"), "{path}: {seen}");
        assert!(refused.starts_with("HTTP/1.1 404"), "{path}: {refused}");
    }
    let unknown = get(&cluster, &format!("/api/v1/jobs/{job}"), "fapo_none");
    assert!(unknown.starts_with("HTTP/1.1 401"), "{unknown}");
}
