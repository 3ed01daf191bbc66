//! Checks of `data:`.

use std::collections::BTreeMap;

use fapo_domain::model::project::DataSpec;

use super::{Check, is_name};
use crate::data::DataFormat;
use crate::yaml::join;

/// `data.val_fraction` where it is not written.
const DEFAULT_FRACTION: f64 = 0.5;

pub(super) fn check(spec: &DataSpec, check: &mut Check<'_>) {
    let splits = [
        ("data.train", Some(&spec.train)),
        ("data.val", spec.val.as_ref()),
        ("data.test", spec.test.as_ref()),
    ];
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (path, file) in splits {
        let Some(file) = file else { continue };
        file_name(file, path, check);
        let same = plain(file);
        if let Some(first) = seen.get(&same) {
            check.error(
                "data-leak",
                path,
                format!(
                    "`{file}` is `{first}` as well: what decides must not be what was learned from"
                ),
                "give each split its own file; without `val` one is cut from train",
            );
        } else {
            seen.insert(same, path);
        }
    }
    for (name, file) in &spec.corpora {
        let path = join("data.corpora", name);
        if !is_name(name) {
            check.error(
                "bad-name",
                &path,
                format!("`{name}` is not a name that can be used here"),
                "use letters, digits, `-` and `_`",
            );
        }
        file_name(file, &path, check);
        if let Some(split) = seen.get(&plain(file)) {
            check.error(
                "data-leak",
                &path,
                format!("`{file}` is `{split}` as well: its answers could be retrieved"),
                "a corpus is a file of its own",
            );
        }
    }
    let written = &check.document.value["data"]["val_fraction"];
    // the default says nothing, and is what a written-out project has
    if spec.val.is_some()
        && written
            .as_f64()
            .is_some_and(|fraction| fraction != DEFAULT_FRACTION)
    {
        check.warning(
            "ignored-key",
            "data.val_fraction",
            "`val_fraction` is not used: `val` is given",
            "remove one of them",
        );
    }
}

fn file_name(file: &str, path: &str, check: &mut Check<'_>) {
    if file.trim().is_empty() {
        return check.error("empty", path, "the file's name is empty", "");
    }
    let inside = plain(file);
    if inside == "pipeline" || inside.starts_with("pipeline/") {
        check.error(
            "data-in-pipeline",
            path,
            "data inside `pipeline/` would be part of every variant",
            "keep it beside `pipeline/`, such as in `data/`",
        );
    }
    if let Err(message) = DataFormat::of(file) {
        check.error("data-format", path, message, "");
    }
}

/// A path without detours, so that two spellings of one file are equal.
fn plain(file: &str) -> String {
    let file = file.replace('\\', "/");
    let mut parts: Vec<&str> = Vec::new();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
