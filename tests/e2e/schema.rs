//! `fapo schema`: the schemas that editors read.

use fapo_e2e::{Project, fapo, root};

use super::commands::{DONE, FAILED, USAGE};

const FILES: [(&str, &str); 2] = [
    ("fapo", "fapo.schema.json"),
    ("pipeline", "pipeline.schema.json"),
];

fn committed(file: &str) -> String {
    std::fs::read_to_string(root().join("docs/schema").join(file)).unwrap()
}

#[test]
fn a_schema_is_printed_as_it_is_committed_and_json_is_no_different() {
    for (name, file) in FILES {
        for args in [&["schema", name][..], &["schema", name, "--json"]] {
            let ran = fapo(args).unwrap();
            assert_eq!((ran.code(), ran.stderr().as_str()), (DONE, ""), "{args:?}");
            assert_eq!(ran.stdout(), committed(file), "{args:?}");
        }
    }
}

#[test]
fn both_are_written_into_a_new_folder_and_older_ones_are_replaced() {
    let project = Project::empty().unwrap();
    let folder = project.path().join("editor/schema");
    let out = folder.to_str().unwrap();
    let first = fapo(&["schema", "--out", out]).unwrap();
    assert_eq!((first.code(), first.stdout().as_str()), (DONE, ""));
    assert!(first.stderr().contains("fapo.schema.json is written"));
    project
        .write("editor/schema/fapo.schema.json", "of an older fapo")
        .unwrap();
    let said = fapo(&["schema", "--out", out, "--json"]).unwrap();
    let said = said.json().unwrap();
    for (number, (_, file)) in FILES.into_iter().enumerate() {
        let path = folder.join(file);
        assert_eq!(said["written"][number].as_str(), path.to_str());
        assert_eq!(std::fs::read_to_string(path).unwrap(), committed(file));
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn one_is_written_alone_when_it_is_named() {
    let project = Project::empty().unwrap();
    let out = project.path().to_str().unwrap();
    let ran = fapo(&["schema", "pipeline", "--out", out]).unwrap();
    assert_eq!(ran.code(), DONE, "{}", ran.stderr());
    let (_, file) = FILES[1];
    assert_eq!(project.read(file).unwrap(), committed(file));
    assert_eq!(std::fs::read_dir(project.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_take_both_takes_none_and_says_why() {
    let project = Project::empty().unwrap();
    // a folder has the name of the second file
    project.write("pipeline.schema.json/mine", "mine").unwrap();
    let out = project.path().to_str().unwrap();
    let ran = fapo(&["schema", "--out", out, "--json"]).unwrap();
    assert_eq!((ran.code(), ran.stdout().as_str()), (FAILED, ""));
    let error: serde_json::Value = serde_json::from_str(&ran.stderr()).unwrap();
    assert!(error["error"].as_str().unwrap().contains(out), "{error:#}");
    assert!(error["hint"].as_str().unwrap().contains("--out"));
    assert_eq!(project.read("pipeline.schema.json/mine").unwrap(), "mine");
    assert_eq!(std::fs::read_dir(project.path()).unwrap().count(), 1);
}

#[test]
fn what_is_wanted_has_to_be_said() {
    for args in [&["schema"][..], &["schema", "prices"]] {
        let ran = fapo(args).unwrap();
        assert_eq!((ran.code(), ran.stdout().as_str()), (USAGE, ""), "{args:?}");
        assert!(ran.stderr().contains("fapo"), "{}", ran.stderr());
    }
}
