//! The patch applies with the git command: what comes out is the child, byte for byte.

use std::fs;
use std::path::Path;
use std::process::Command;

use fapo_domain::model::variant::VariantTree;
use fapo_project::unified_diff;
use proptest::prelude::*;

use crate::support::tree;

fn write(tree: &VariantTree, root: &Path) {
    for (path, content) in tree.iter() {
        let file = root.join("pipeline").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
}

fn read(root: &Path) -> VariantTree {
    fn visit(folder: &Path, base: &Path, tree: &mut VariantTree) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, base, tree);
            } else {
                let name = path
                    .strip_prefix(base)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                tree.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut tree = VariantTree::new();
    let base = root.join("pipeline");
    visit(&base, &base, &mut tree);
    tree
}

/// Applies the patch in a new folder and compares.
fn check(parent: &VariantTree, child: &VariantTree) {
    let patch = unified_diff(parent, child);
    if parent == child {
        assert_eq!(patch, "");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write(parent, folder.path());
    fs::write(folder.path().join("p.patch"), &patch).unwrap();
    let applied = Command::new("git")
        .args(["apply", "--whitespace=nowarn", "p.patch"])
        .current_dir(folder.path())
        .env("GIT_CEILING_DIRECTORIES", folder.path().parent().unwrap())
        .output()
        .unwrap();
    assert!(
        applied.status.success(),
        "{}\n{patch}",
        String::from_utf8_lossy(&applied.stderr)
    );
    assert_eq!(&read(folder.path()), child, "{patch}");
}

#[test]
fn git_applies_every_kind_of_change() {
    let parent = tree(&[
        ("pipeline.yaml", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n"),
        ("prompts/a.md", "no end of line"),
        ("prompts/gone.md", "x\ny\n"),
        ("prompts/gone empty.md", ""),
        ("prompts/crlf.md", "a\r\nb\r\n"),
        ("prompts/cr.md", "a\rb\rc\n"),
        ("prompts/with space.md", "x\n"),
        ("prompts/\"quoted\\.md", "x\n"),
        ("prompts/grün.md", "x\n"),
        ("prompts/filled.md", ""),
        ("prompts/emptied.md", "x"),
    ]);
    let child = tree(&[
        ("pipeline.yaml", "a\nB\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n"),
        ("prompts/a.md", "no end of line\n"),
        ("prompts/new.md", "x\n-- not a header\n+++ b/x\n"),
        ("prompts/new empty.md", ""),
        ("prompts/crlf.md", "a\r\nc\r\n"),
        ("prompts/cr.md", "a\rb\rd\n"),
        ("prompts/with space.md", "y"),
        ("prompts/\"quoted\\.md", "y\n"),
        ("prompts/grün.md", "ü\n"),
        ("prompts/filled.md", "x"),
        ("prompts/emptied.md", ""),
    ]);
    check(&parent, &child);
    check(&child, &parent);
    check(&parent, &VariantTree::new());
    check(&VariantTree::new(), &child);
    check(&parent, &parent);
}

#[test]
fn a_file_that_is_not_text_is_named_and_not_garbled() {
    let mut child = tree(&[("a", "x")]);
    child.insert("b", *b"\xff\xfe");
    let patch = unified_diff(&tree(&[("a", "x")]), &child);
    assert!(patch.contains("Binary files"), "{patch}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn git_applies_any_change_of_text(
        old in "(a|b|c|\n|\r|é|  |-|\\+|@@){0,60}",
        new in "(a|b|c|\n|\r|é|  |-|\\+|@@){0,60}",
    ) {
        check(&tree(&[("f", &old), ("same", "x")]), &tree(&[("f", &new), ("same", "x")]));
    }
}
