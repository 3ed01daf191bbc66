//! The table of metrics against the sources that measure them, and against the page for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Kind, METRICS};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// The product's sources: no tests, and nothing of this crate, which names metrics without measuring.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "tests", "telemetry", "testkit", "examples"].contains(&name.as_str()) {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// Every `kind.fapo_name` that is measured, with the crates that do.
fn measured() -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    let mut found: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for field in ["monotonic_counter", "histogram", "gauge"] {
            for (at, _) in text.match_indices(&format!("{field}.fapo_")) {
                let line = text[..at].rsplit('\n').next().unwrap_or_default();
                if line.trim_start().starts_with("//") {
                    continue;
                }
                let name = &text[at + field.len() + 1..];
                let end = name.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
                let name = name[..end.unwrap_or(name.len())].to_owned();
                found
                    .entry((field.to_owned(), name))
                    .or_default()
                    .insert(package(&file));
            }
        }
    }
    found
}

/// The package that a source file belongs to.
fn package(file: &Path) -> String {
    let manifest = file
        .ancestors()
        .map(|folder| folder.join("Cargo.toml"))
        .find(|manifest| manifest.is_file())
        .unwrap();
    let text = fs::read_to_string(manifest).unwrap();
    let name = text.lines().find_map(|line| line.strip_prefix("name = "));
    name.unwrap().trim_matches('"').to_owned()
}

#[test]
fn what_the_sources_measure_is_what_the_table_has() {
    let measured = measured();
    let mut wrong = Vec::new();
    for ((field, name), crates) in &measured {
        match METRICS.iter().find(|metric| metric.name == name) {
            None => wrong.push(format!("{name} is measured by {crates:?} and has no row")),
            Some(metric) if metric.kind.field() != field => {
                wrong.push(format!("{name} is measured as {field}"));
            }
            Some(metric) if !crates.contains(metric.crate_name) => {
                wrong.push(format!("{name} is measured by {crates:?}"));
            }
            Some(_) => {}
        }
    }
    for metric in METRICS {
        let key = (metric.kind.field().to_owned(), metric.name.to_owned());
        if !measured.contains_key(&key) {
            wrong.push(format!("nothing measures {}", metric.name));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_page_for_people_has_the_tables_rows() {
    let page = fs::read_to_string(root().join("docs/telemetry.md")).unwrap();
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `fapo_"))
        .collect();
    let wanted: Vec<String> = METRICS
        .iter()
        .map(|metric| {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Histogram(_) => "histogram",
                Kind::Gauge => "gauge",
            };
            let labels: Vec<String> = metric
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect();
            format!(
                "| `{}` | {kind} | {} | {} | {} | {} |",
                metric.name,
                metric.unit,
                labels.join(" "),
                metric.help,
                metric.crate_name
            )
        })
        .collect();
    for (row, wanted) in rows.iter().zip(&wanted) {
        assert_eq!(row, wanted);
    }
    assert_eq!(rows.len(), wanted.len());
}

#[test]
fn names_and_labels_are_prometheus_own() {
    let plain = |text: &str| {
        text.chars()
            .all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let mut names = BTreeSet::new();
    for metric in METRICS {
        assert!(names.insert(metric.name), "{} has two rows", metric.name);
        assert!(
            plain(metric.name) && metric.labels.iter().all(|label| plain(label)),
            "{metric:?}"
        );
        match metric.kind {
            Kind::Counter => assert!(metric.name.ends_with("_total"), "{metric:?}"),
            Kind::Histogram(bounds) => {
                assert!(metric.name.ends_with("_seconds"), "{metric:?}");
                assert!(bounds.is_sorted(), "{metric:?}");
            }
            Kind::Gauge => assert!(!metric.name.ends_with("_total"), "{metric:?}"),
        }
        for id in ["job", "case", "task", "run", "token"] {
            assert!(!metric.labels.contains(&id), "{metric:?} has ids as labels");
        }
    }
}
