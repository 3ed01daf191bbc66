//! Where model calls go, and that what the environment puts into an address stays out of everything that is written.

use std::path::Path;

use fapo_e2e::{Project, Running, root, start};
use serde_json::Value;

use super::commands::small;

const SECRET: &str = "tok-7f3a91c2e4b85d06";
const OTHER: &str = "tok-0c44be1799aa3e52";

/// The simulated model as a server, and its address.
fn server() -> (Running, String) {
    let world = root().join("examples/answer-form/sim.json");
    let args = ["sim", "--world", world.to_str().unwrap(), "--port", "0"];
    let mut sim = start(&args).unwrap();
    // said as data and in a note, whichever is read first
    let line = sim.wait_for("http://").unwrap();
    let (_, rest) = line.split_once("http://").unwrap();
    let (address, _) = rest.split_once("/v1").unwrap();
    (sim, format!("http://{address}/v1"))
}

/// The small classifier over a server whose address holds `${TOKEN}`.
fn project(url: &str) -> Project {
    let project = small();
    let model = format!(
        "{{ provider: openai, model: sim-small, base_url: \"{url}?key=${{TOKEN}}\", temperature: 0.0, attempts: 1 }}"
    );
    let sim = "{ provider: sim, model: sim-small, world: sim.json, temperature: 0.0 }";
    project.edit("fapo.yaml", sim, &model).unwrap();
    project
}

/// Every file below a folder that holds `text`.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn what_the_sim_says_to_do_calls_the_sim() {
    let (sim, url) = server();
    sim.signal("INT").unwrap();
    let said = sim.end().unwrap().stderr();
    let line = format!("base_url: \"{url}\"");
    assert!(said.contains(&line), "{said}");
    assert!(!said.contains("OPENAI_BASE_URL"), "{said}");
}

#[test]
fn a_secret_in_an_address_is_never_written_and_keeps_caches_apart() {
    let (sim, url) = server();
    let project = project(&url);
    let calls = |token: &str| {
        let ran = project
            .fapo_with_env("eval", &["--json"], &[("TOKEN", token)])
            .unwrap();
        assert!(!ran.stderr().contains(token), "{}", ran.stderr());
        let result: Value = ran.json().unwrap();
        assert_eq!(result["counted"], 12, "{result:#}");
        result["model_calls"].as_u64().unwrap()
    };
    assert_eq!(calls(SECRET), 12);
    assert_eq!(
        calls(OTHER),
        12,
        "another address never answers from the first one's cache"
    );
    for token in [SECRET, OTHER] {
        assert_eq!(holding(project.path(), token), Vec::<String>::new());
    }
    drop(sim);

    // nobody answers any more: the messages show what stands in the file
    let ran = project
        .fapo_with_env("eval", &["--sample", "1"], &[("TOKEN", SECRET)])
        .unwrap();
    assert!(!ran.stderr().contains(SECRET), "{}", ran.stderr());
    let ran = project
        .fapo_with_env("doctor", &[], &[("TOKEN", SECRET)])
        .unwrap();
    let said = ran.stdout();
    assert!(said.contains("cannot be reached"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    let ran = project.fapo("check", &[]).unwrap();
    assert!(ran.stderr().contains("${TOKEN}, which is not set"));
    assert_eq!(holding(project.path(), SECRET), Vec::<String>::new());
}
