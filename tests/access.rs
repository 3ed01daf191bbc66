//! `docs/access.md` says what each side can read, write and spend, and names the test that proves each cell: the tests must
//! exist, and no cell may go without one.

use std::collections::BTreeSet;
use std::path::Path;

/// All names of functions in the workspace's Rust files.
fn functions() -> BTreeSet<String> {
    fn visit(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(
                    text.split("fn ")
                        .skip(1)
                        .filter_map(|rest| rest.split_once('('))
                        .map(|(name, _)| name.to_owned()),
                );
            }
        }
    }
    let mut found = BTreeSet::new();
    for folder in ["crates", "tests"] {
        visit(&fapo_e2e::root().join(folder), &mut found);
    }
    found
}

#[test]
fn every_cell_of_the_table_of_access_names_a_test_that_exists() {
    let page = std::fs::read_to_string(fapo_e2e::root().join("docs/access.md")).unwrap();
    let functions = functions();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| | "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 20, "the table was read");
    for row in rows {
        assert_eq!(row.len(), 3, "{row:?}");
        let tests: Vec<&str> = row[2].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test proves: {row:?}");
        for test in tests {
            assert!(functions.contains(test), "{test} does not exist: {row:?}");
        }
    }
}
