//! Checks of `scope:`.

use std::collections::BTreeSet;

use fapo_domain::model::pipeline::StepSpec;
use fapo_domain::model::project::ProjectSpec;

use super::Check;
use crate::problems::suggestion;
use crate::scope::{RANGED, glob};
use crate::yaml::{item, join};

pub(super) fn check(spec: &ProjectSpec, check: &mut Check<'_>) {
    let scope = &spec.scope;
    if scope.allow.is_empty() {
        check.error(
            "empty",
            "scope.allow",
            "no level is allowed, so nothing could be changed",
            "allow at least `prompt`",
        );
    }
    let mut seen = BTreeSet::new();
    for (position, level) in scope.allow.iter().enumerate() {
        if !seen.insert(level) {
            let path = item("scope.allow", position);
            check.error(
                "duplicate",
                &path,
                format!("`{level}` is listed twice"),
                "remove one",
            );
        }
    }
    for (position, pattern) in scope.files.iter().enumerate() {
        let path = item("scope.files", position);
        bad_glob(pattern, true, &path, check);
        if pattern.starts_with("pipeline/") {
            let inner = pattern.trim_start_matches("pipeline/");
            let help = format!("paths start inside `pipeline/`: write `{inner}`");
            check.error("bad-glob", &path, "this matches no file", help);
        }
    }
    for (position, pattern) in scope.steps.iter().enumerate() {
        bad_glob(pattern, false, &item("scope.steps", position), check);
    }
    for (key, (least, most)) in &scope.ranges {
        let path = join("scope.ranges", key);
        range_key(key, &path, check);
        if least > most {
            let help = format!("write `[{most}, {least}]`");
            let message = format!("the smallest value {least} is larger than the largest {most}");
            check.error("out-of-range", &path, message, help);
        }
    }
    for (position, name) in scope.models.iter().enumerate() {
        model(spec, name, &item("scope.models", position), check);
    }
    if scope.max_file_bytes == 0 || scope.max_tree_bytes < scope.max_file_bytes {
        check.error(
            "out-of-range",
            "scope.max_tree_bytes",
            "a tree must have room for its largest file, and a file for a text",
            "raise `max_tree_bytes` to at least `max_file_bytes`",
        );
    }
}

/// Refuses an entry of `models:` that is not there.
pub(super) fn model(spec: &ProjectSpec, name: &str, path: &str, check: &mut Check<'_>) {
    if !spec.models.contains_key(name) && !check.repaired.touches("models") {
        let names = spec.models.keys().map(String::as_str);
        let help = suggestion(name, names, "models there are").unwrap_or_default();
        check.error(
            "unknown-model",
            path,
            format!("there is no model `{name}`"),
            help,
        );
    }
}

fn bad_glob(pattern: &str, paths: bool, path: &str, check: &mut Check<'_>) {
    if pattern.is_empty() || glob(pattern, paths).is_none() {
        check.error(
            "bad-glob",
            path,
            format!("`{pattern}` is not a pattern"),
            "use `*` for any part of a name, and `**` for any folders",
        );
    }
}

/// A key such as `retrieve.*.k` must be about something that exists.
fn range_key(key: &str, path: &str, check: &mut Check<'_>) {
    let form = "write `<kind>.<step>.<parameter>`, such as `retrieve.*.k`";
    let parts: Vec<&str> = key.split('.').collect();
    let [kind, step, parameter] = parts.as_slice() else {
        return check.error(
            "bad-range",
            path,
            format!("`{key}` is not a parameter"),
            form,
        );
    };
    let (Some(kinds), Some(_), Some(parameters)) =
        (glob(kind, false), glob(step, false), glob(parameter, false))
    else {
        return check.error("bad-glob", path, format!("`{key}` is not a pattern"), form);
    };
    if step.is_empty() {
        return check.error("bad-range", path, "the part for the step is empty", form);
    }
    let fitting: Vec<_> = RANGED
        .iter()
        .filter(|(kind, _)| kinds.is_match(kind))
        .collect();
    if fitting.is_empty() {
        let known = StepSpec::KINDS.contains(kind);
        let message = if known {
            format!("`{kind}` steps have no parameter with a range")
        } else {
            format!("there is no kind `{kind}`")
        };
        let names = RANGED.iter().map(|(kind, _)| *kind);
        let help = suggestion(kind, names, "kinds with ranges").unwrap_or_default();
        return check.error("bad-range", path, message, help);
    }
    let names: Vec<&str> = fitting
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    if !names.iter().any(|name| parameters.is_match(name)) {
        let help = suggestion(parameter, names.iter().copied(), "parameters with ranges");
        let message = format!("`{kind}` steps have no parameter `{parameter}` with a range");
        check.error("bad-range", path, message, help.unwrap_or_default());
    }
}
