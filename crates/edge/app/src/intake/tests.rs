use std::collections::BTreeMap;
use std::path::PathBuf;

use fapo_domain::clock::SystemClock;
use fapo_domain::error::Classified as _;
use fapo_domain::model::job::JobGoal;
use fapo_domain::ports::jobs::Jobs as _;
use fapo_llm::{Addresses, PriceTable, ProviderModels};
use fapo_store::{SqliteStore, StoreOptions};

use super::*;
use crate::config::Env;
use crate::project::project_files;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/missing-hop")
}

struct Bench {
    store: Arc<SqliteStore>,
    ports: Ports,
    env: Env,
    _folder: TempDir,
}

impl Bench {
    async fn new(env: Env) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fapo.db");
        let store = SqliteStore::open(&path, Arc::new(SystemClock), StoreOptions::default()).await;
        let store = Arc::new(store.unwrap());
        Self {
            ports: Ports::over(Arc::clone(&store)),
            store,
            env,
            _folder: folder,
        }
    }

    /// With the address of the example's simulated model, as a server has it.
    async fn of_example() -> Self {
        let world = std::fs::read_to_string(example().join("sim.json")).unwrap();
        let variable = crate::project::world_variable(&world);
        Self::new(Env::from_pairs([(
            variable.as_str(),
            "http://127.0.0.1:9/v1",
        )]))
        .await
    }

    fn intake(&self) -> Intake {
        self.intake_at(Addresses::any())
    }

    /// One whose models may be called at these addresses.
    fn intake_at(&self, addresses: Addresses) -> Intake {
        fapo_llm::install_crypto();
        let env = self.env.clone();
        let lookup: EnvLookup = Arc::new(move |name: &str| env.get(name).map(str::to_owned));
        let prices = PriceTable::load(fapo_llm::DEFAULT_PRICES, None).unwrap();
        let providers = ProviderModels::new(Arc::clone(&lookup), prices);
        let providers = Arc::new(providers.with_addresses(addresses));
        let sandbox = crate::wiring::sandbox::sandbox(&self.env, Path::new(".")).unwrap();
        let callable = Callable::new(providers, sandbox, self.env.clone());
        Intake::new(self.ports.clone(), lookup, Arc::new(callable))
    }

    async fn upload(&self, files: BTreeMap<String, Arc<[u8]>>) -> Manifest {
        let (paths, contents): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let hashes = self.ports.blobs.put_blobs(contents).await.unwrap();
        Manifest(paths.into_iter().zip(hashes).collect())
    }

    async fn import(&self, manifest: &Manifest) -> Result<JobSpec, OptimizerError> {
        self.intake().import(manifest, JobGoal::Optimize).await
    }
}

#[tokio::test]
async fn an_uploaded_project_gives_the_same_job_as_its_folder() {
    let bench = Bench::of_example().await;
    let manifest = bench.upload(project_files(&example()).unwrap().files).await;
    let uploaded = bench.import(&manifest).await.unwrap();

    let folder = Bench::of_example().await;
    let env = folder.env.clone();
    let look = |name: &str| env.get(name).map(str::to_owned);
    let project = load_project(&example(), &look).unwrap();
    let imported = import_project(&project, &folder.ports, JobGoal::Optimize).await;
    assert_eq!(uploaded, imported.unwrap().spec);

    // and what it names is there
    let tree = bench.ports.variants.get_variant(uploaded.baseline).await;
    assert_eq!(tree.unwrap(), project.tree);
    let dataset = bench.ports.datasets.get_dataset(uploaded.dataset).await;
    assert_eq!(dataset.unwrap().cases, uploaded.cases);
    assert_eq!(bench.import(&manifest).await.unwrap(), uploaded, "again");
}

#[tokio::test]
async fn a_project_that_cannot_be_run_here_is_told_why_and_stores_nothing() {
    // the server knows no address for the simulated model
    let bench = Bench::new(Env::default()).await;
    let files = project_files(&example()).unwrap().files;
    let manifest = bench.upload(files.clone()).await;
    let refused = bench.import(&manifest).await.unwrap_err();
    assert_eq!(refused.reason(), "MODELS_NOT_CALLABLE");
    assert!(refused.to_string().contains("FAPO_SIM_"), "{refused}");

    let bench = Bench::of_example().await;
    let mut broken = files.clone();
    let step = b"steps:\n  - { id: a, kind: llm, prompt: nowhere.md }\noutput: a\n";
    broken.insert("pipeline/pipeline.yaml".to_owned(), step.as_slice().into());
    let manifest = bench.upload(broken).await;
    let refused = bench.import(&manifest).await.unwrap_err();
    let OptimizerError::Project(problems) = &refused else {
        panic!("{refused:?}")
    };
    assert!(problems.to_string().contains("nowhere.md"), "{problems}");
    assert!(!problems.to_string().contains("fapo-intake"), "{problems}");

    let mut bad_data = files.clone();
    let data = bad_data.keys().find(|path| path.contains("train")).cloned();
    bad_data.insert(data.unwrap(), b"{".as_slice().into());
    let manifest = bench.upload(bad_data).await;
    let refused = bench.import(&manifest).await.unwrap_err();
    assert_eq!(refused.reason(), "PROJECT_INVALID");

    let mut replayed = files;
    let settings = String::from_utf8(replayed["fapo.yaml"].to_vec()).unwrap();
    let settings = settings.replace("backend: catalogue", "backend: replay, recording: r.jsonl");
    replayed.insert("fapo.yaml".to_owned(), settings.into_bytes().into());
    replayed.insert("r.jsonl".to_owned(), b"".as_slice().into());
    let manifest = bench.upload(replayed).await;
    let refused = bench.import(&manifest).await.unwrap_err();
    assert_eq!(refused.reason(), "MODELS_NOT_CALLABLE", "{refused:?}");
    let jobs = bench.store.list_jobs(None, None, 10).await.unwrap();
    assert!(jobs.is_empty());
}

#[tokio::test]
async fn a_project_has_all_its_files_and_not_too_many_bytes() {
    let bench = Bench::of_example().await;
    let files = project_files(&example()).unwrap().files;
    let bytes: usize = files.values().map(|content| content.len()).sum();
    let manifest = bench.upload(files).await;
    let small = bench.intake().at_most(bytes as u64 - 1);
    let refused = small
        .import(&manifest, JobGoal::Optimize)
        .await
        .unwrap_err();
    assert_eq!(refused.reason(), "REQUEST_INVALID");
    let exact = bench.intake().at_most(bytes as u64);
    assert!(exact.import(&manifest, JobGoal::Optimize).await.is_ok());

    let absent = ContentHash::of(b"absent");
    let mut lacking = manifest.clone();
    lacking.0.insert("sim.json".to_owned(), absent);
    let refused = bench.import(&lacking).await.unwrap_err();
    assert!(
        matches!(&refused, OptimizerError::MissingBlobs { missing } if missing == &[absent]),
        "{refused:?}"
    );
    let mut headless = manifest;
    headless.0.remove("fapo.yaml");
    let refused = bench.import(&headless).await.unwrap_err();
    assert_eq!(refused.reason(), "REQUEST_INVALID");
}

#[tokio::test]
async fn a_project_cannot_have_keys_sent_where_it_likes() {
    let bench = Bench::new(Env::from_pairs([
        ("OPENAI_API_KEY", "sk-the-servers"),
        ("FAPO_MODEL_URL", "http://127.0.0.1:9/v1"),
    ]))
    .await;
    let files = project_files(&example()).unwrap().files;
    let settings = String::from_utf8(files["fapo.yaml"].to_vec()).unwrap();
    let submit = async |base_url: &str| {
        let model = format!(
            "{{ provider: openai, model: m, base_url: {base_url:?}, price: {{ input: 1, output: 1 }} }}"
        );
        let simulated = "{ provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }";
        let written = settings.replace(simulated, &model);
        assert_ne!(written, settings);
        let mut files = files.clone();
        files.insert("fapo.yaml".to_owned(), written.into_bytes().into());
        let manifest = bench.upload(files).await;
        let listed = Addresses::listed(["https://llm.example.com/v1"]).unwrap();
        let intake = bench.intake_at(listed);
        intake.import(&manifest, JobGoal::Optimize).await
    };
    for good in ["https://llm.example.com/v1", "${FAPO_MODEL_URL}"] {
        submit(good).await.expect(good);
    }
    for bad in [
        "https://evil.example/v1",
        "http://127.0.0.1:9/v1",
        "https://evil.example/v1?key=${OPENAI_API_KEY}",
    ] {
        let refused = submit(bad).await.expect_err(bad);
        assert_eq!(refused.reason(), "MODELS_NOT_CALLABLE", "{refused:?}");
        let said = refused.to_string();
        assert!(said.contains("models.base_urls"), "{said}");
        assert!(!said.contains("sk-the-servers"), "{said}");
    }
}

#[tokio::test]
async fn a_project_cannot_have_the_server_read_its_own_files() {
    let bench = Bench::of_example().await;
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("store_url");
    std::fs::write(&secret, "postgres://fapo:hunter2@db/fapo\n").unwrap();
    let data = secrets.path().join("others.jsonl");
    let line =
        r#"{"case_id": "theirs", "input": {"question": "hunter2"}, "expected": {"answer": "x"}}"#;
    std::fs::write(&data, format!("{line}\n")).unwrap();
    // the folder of an intake is a sibling of these
    let beside = |path: &Path| {
        let name = path.strip_prefix(std::env::temp_dir()).unwrap();
        format!("../{}", name.display())
    };
    let files = project_files(&example()).unwrap().files;
    let settings = String::from_utf8(files["fapo.yaml"].to_vec()).unwrap();
    let mut tried = Vec::new();
    for path in [secret.display().to_string(), beside(&secret)] {
        let objective = "objective:\n";
        tried.push(settings.replace(objective, &format!("{objective}  protect: [{path:?}]\n")));
        tried.push(settings.replace("sim.json", &path));
    }
    for path in [data.display().to_string(), beside(&data)] {
        tried.push(settings.replace("data/train.jsonl", &path));
        tried.push(settings.replace("data/corpus.jsonl", &path));
    }
    for tampered in tried {
        assert_ne!(tampered, settings);
        let mut files = files.clone();
        files.insert("fapo.yaml".to_owned(), tampered.as_bytes().into());
        let manifest = bench.upload(files).await;
        let refused = bench.import(&manifest).await.expect_err(&tampered);
        let OptimizerError::Project(problems) = &refused else {
            panic!("{refused:?}")
        };
        let said = problems.to_string();
        assert!(said.contains("not inside the project folder"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn no_path_leaves_the_folder() {
    let of = |path: &str| Manifest([(path.to_owned(), ContentHash::of(b""))].into());
    for good in [
        "fapo.yaml",
        "data/train.jsonl",
        "a/b/c/d.md",
        "..a/b..c",
        "ä/名.md",
    ] {
        assert!(check_paths(&of(good)).is_ok(), "{good}");
    }
    let long = "x".repeat(LONGEST_PATH + 1);
    for bad in [
        "",
        "/etc/passwd",
        "../x",
        "a/../x",
        "a/../../x",
        "a/./x",
        "a//x",
        "a/",
        "a\\x",
        "C:\\x",
        "a\nb",
        "a\0b",
        ".fapo/fapo.db",
        &long,
    ] {
        let refused = check_paths(&of(bad)).expect_err(bad);
        assert_eq!(refused.reason(), "REQUEST_INVALID", "{bad}");
    }
    let both = Manifest(
        ["a", "a-b", "a/b/c"]
            .map(|path| (path.to_owned(), ContentHash::of(b"")))
            .into(),
    );
    let said = check_paths(&both).unwrap_err().to_string();
    assert!(said.contains("\"a\" is a file already"), "{said}");
    let many = (0..=MOST_FILES).map(|at| (at.to_string(), ContentHash::of(b"")));
    assert!(check_paths(&Manifest(many.collect())).is_err());
}
