//! The architecture as a table, held against `cargo metadata`: who may depend on whom inside the workspace, and which
//! crate owns each outside thing. To widen a rule, change the table and write the reason beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Layers from the inside out, with what each may use besides itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("fapo-domain", &[]),
    // The project format is pure, like policy; it stands apart so that domain stays free of YAML and templates.
    ("fapo-project", &["fapo-domain"]),
    ("fapo-policy", &["fapo-domain"]),
    ("fapo-store", &["fapo-domain"]),
    ("fapo-queue", &["fapo-domain"]),
    ("fapo-llm", &["fapo-domain"]),
    ("fapo-sandbox", &["fapo-domain"]),
    // The port to distributed traces, and the names of spans and metrics.
    ("fapo-telemetry", &["fapo-domain"]),
    // Executor and diagnosis read pipelines: the graph, the templates, the semantic difference.
    ("fapo-executor", &["fapo-domain", "fapo-project"]),
    ("fapo-scoring", &["fapo-domain"]),
    ("fapo-diagnosis", &["fapo-domain", "fapo-project"]),
    ("fapo-orchestrator", &["fapo-domain", "fapo-policy"]),
    ("fapo-proto", &[]),
    ("fapo-rpc", &["fapo-domain", "fapo-proto"]),
    ("fapo-gateway", &["fapo-domain"]),
    ("fapo-sim", &["fapo-domain"]),
    ("fapo-testkit", &["fapo-domain"]),
];

/// Only these may use any workspace crate: the binary, which wires all, and the tests.
const MAY_USE_ALL: &[&str] = &["fapo", "fapo-e2e"];

/// Outside things with one owner (in normal and build dependencies; tests may use what they like).
const OWNERS: &[(&str, &[&str])] = &[
    // The testkit (dev only) makes a database for each test.
    ("sqlx", &["fapo-store", "fapo-testkit"]),
    ("redis", &["fapo-queue"]),
    ("reqwest", &["fapo-llm"]),
    // Clients of models speak TLS, and so does the gateway where nothing in front of it does.
    ("rustls", &["fapo-llm", "fapo-gateway"]),
    ("tokio-rustls", &["fapo-gateway"]),
    // Namespaces, Landlock, process limits: whatever holds an untrusted process stands in one place.
    ("landlock", &["fapo-sandbox"]),
    ("close_fds", &["fapo-sandbox"]),
    // Diagnosis reads a session's files back without passing a link (openat2).
    // `fapo doctor` asks it for free disk space, and for nothing else.
    ("rustix", &["fapo-sandbox", "fapo", "fapo-diagnosis"]),
    ("secrecy", &["fapo-llm"]),
    // The testkit (dev only) catches spans and measurements where tests want to see them.
    ("tracing-subscriber", &["fapo-telemetry", "fapo-testkit"]),
    ("opentelemetry", &["fapo-telemetry"]),
    ("opentelemetry_sdk", &["fapo-telemetry"]),
    ("opentelemetry-otlp", &["fapo-telemetry"]),
    ("tracing-opentelemetry", &["fapo-telemetry"]),
    ("prometheus", &["fapo-telemetry"]),
    ("rmcp", &["fapo-diagnosis"]),
    // The generated code names it; nobody else does.
    ("tonic", &["fapo-rpc", "fapo-proto"]),
    ("prost", &["fapo-rpc", "fapo-proto"]),
    // A stream's code stands in its last frame.
    ("http-body", &["fapo-rpc"]),
    ("tower-http", &["fapo-gateway"]),
    // The simulated model is an HTTP server of its own, beside the gateway.
    ("axum", &["fapo-gateway", "fapo-sim"]),
    // The relay must see a client go away, and the scripted endpoint (dev only) must be able to break off anywhere. The
    // gateway accepts connections itself: axum's own loop has no time limit for a request's head and no TLS.
    ("hyper", &["fapo-llm", "fapo-gateway", "fapo-testkit"]),
    ("hyper-util", &["fapo-llm", "fapo-gateway", "fapo-testkit"]),
    ("http-body-util", &["fapo-llm", "fapo-testkit"]),
    ("saphyr", &["fapo-project"]),
    // The gateway's OpenAPI document is JSON Schema, derived from the types that it writes; the binary describes its own
    // configuration file to editors.
    (
        "schemars",
        &["fapo-domain", "fapo-project", "fapo-gateway", "fapo"],
    ),
    ("csv", &["fapo-project"]),
    // Read like CSV and JSONL, where cases and documents get their form; files are opened by the binary.
    ("parquet", &["fapo-project"]),
    ("clap", &["fapo"]),
    ("indicatif", &["fapo"]),
    ("comfy-table", &["fapo"]),
    ("zstd", &["fapo-store"]),
];

fn packages() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Normal and build dependencies of a package, by name.
fn dependencies(package: &Value) -> BTreeSet<String> {
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

#[test]
fn crates_depend_only_inwards() {
    let packages = packages();
    let members: BTreeSet<&str> = packages.iter().map(name).collect();
    let rules: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut breaches = Vec::new();
    for package in &packages {
        if MAY_USE_ALL.contains(&name(package)) {
            continue;
        }
        let Some(allowed) = rules.get(name(package)) else {
            breaches.push(format!(
                "{} has no rule in tests/architecture.rs",
                name(package)
            ));
            continue;
        };
        for dependency in dependencies(package) {
            if members.contains(dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                breaches.push(format!("{} may not depend on {dependency}", name(package)));
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn each_outside_thing_has_one_owner() {
    let owners: BTreeMap<&str, &[&str]> = OWNERS.iter().copied().collect();
    let mut breaches = Vec::new();
    for package in packages() {
        if name(&package) == "fapo-e2e" {
            continue;
        }
        for dependency in dependencies(&package) {
            if let Some(allowed) = owners.get(dependency.as_str())
                && !allowed.contains(&name(&package))
            {
                breaches.push(format!(
                    "{} uses {dependency}, which belongs to {}",
                    name(&package),
                    allowed.join(" and ")
                ));
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn every_crate_takes_versions_and_lints_from_the_workspace() {
    let mut breaches = Vec::new();
    for package in packages() {
        let manifest = package["manifest_path"].as_str().unwrap();
        let text = std::fs::read_to_string(manifest).unwrap();
        if !text.contains("[lints]\nworkspace = true") {
            breaches.push(format!(
                "{} does not take its lints from the workspace",
                name(&package)
            ));
        }
        let mut section = "";
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            } else if section.ends_with("dependencies]")
                && line.contains('=')
                && !line.contains("workspace = true")
            {
                breaches.push(format!(
                    "{}: `{line}` names its own version",
                    name(&package)
                ));
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

/// Source files stay readable in one sitting: 400 lines is the aim, 600 the limit.
#[test]
fn no_source_file_is_over_six_hundred_lines() {
    fn visit(folder: &Path, long: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let hidden = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if hidden || path.ends_with("target") {
                continue;
            }
            if path.is_dir() {
                visit(&path, long);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                if lines > 600 {
                    long.push(format!("{}: {lines} lines", path.display()));
                }
            }
        }
    }
    let mut long = Vec::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut long);
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}
