//! Lints on the files as such: size, encoding, repeats.

use fapo_domain::ContentHash;
use fapo_domain::hash::Hasher;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::model::variant::VariantTree;

use super::finding;

/// Files and trees over the scope's sizes.
pub fn too_large(project: &ProjectSpec, child: &VariantTree) -> Vec<LintFinding> {
    let scope = &project.scope;
    let mut total = 0u64;
    let mut found = Vec::new();
    for (path, content) in child.iter() {
        let size = content.len() as u64;
        total += size;
        if size > scope.max_file_bytes {
            found.push(finding(
                Lint::TooLarge,
                path,
                format!(
                    "{size} bytes; at most {} are allowed in a file",
                    scope.max_file_bytes
                ),
            ));
        }
    }
    if total > scope.max_tree_bytes {
        found.push(finding(
            Lint::TooLarge,
            "pipeline/",
            format!(
                "{total} bytes in all; at most {} are allowed",
                scope.max_tree_bytes
            ),
        ));
    }
    found
}

/// Files that are no UTF-8 text, or hold control characters that no text has.
pub fn not_text(child: &VariantTree) -> Vec<LintFinding> {
    child
        .iter()
        .filter_map(|(path, content)| match std::str::from_utf8(content) {
            Err(error) => Some(finding(
                Lint::NotText,
                path,
                format!("not UTF-8 after byte {}", error.valid_up_to()),
            )),
            Ok(text) => text
                .chars()
                .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
                .then(|| finding(Lint::NotText, path, "holds control characters")),
        })
        .collect()
}

/// The hash of a tree up to white space: two variants that differ in nothing else have the same.
pub fn normal_hash(tree: &VariantTree) -> ContentHash {
    let mut hasher = Hasher::new("variant-normal/v1");
    for (path, content) in tree.iter() {
        hasher.part(path.as_bytes());
        match std::str::from_utf8(content) {
            Ok(text) => {
                let squeezed: Vec<&str> = text.split_whitespace().collect();
                hasher.part(squeezed.join(" ").as_bytes());
            }
            Err(_) => {
                hasher.part(content);
            }
        }
    }
    hasher.finish()
}

/// The same as the parent or an earlier variant of the job, up to white space.
pub fn duplicate(
    parent: &VariantTree,
    child: &VariantTree,
    earlier: &[ContentHash],
) -> Option<LintFinding> {
    let own = normal_hash(child);
    if own == normal_hash(parent) {
        return Some(finding(
            Lint::Duplicate,
            "pipeline/",
            "differs from its parent in white space only",
        ));
    }
    earlier.contains(&own).then(|| {
        finding(
            Lint::Duplicate,
            "pipeline/",
            "the same as an earlier variant of this job, up to white space",
        )
    })
}
