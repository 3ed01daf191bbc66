//! Things that look like keys and passwords.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fapo_domain::model::proposal::{Lint, LintFinding};
use regex::Regex;

use super::added::Added;
use super::finding;

/// Keys with a known shape.
static KNOWN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        \b sk-[A-Za-z0-9_-]{16,}
        | \b (AKIA|ASIA)[0-9A-Z]{16} \b
        | \b gh[pousr]_[A-Za-z0-9]{20,}
        | \b github_pat_[A-Za-z0-9_]{20,}
        | \b glpat-[A-Za-z0-9_-]{16,}
        | \b xox[abprs]-[A-Za-z0-9-]{10,}
        | \b AIza[0-9A-Za-z_-]{30,}
        | \b hf_[A-Za-z0-9]{20,}
        | \b eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}
        | -----BEGIN\ [A-Z\ ]*PRIVATE\ KEY-----
        | ://[^/\s:@]+:[^/\s:@]+@
        ",
    )
    .expect("a fixed pattern")
});

/// A value that is assigned to a name like `api_key`.
static ASSIGNED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(?:api[_-]?key|secret|passw(?:or)?d|credential|auth|bearer|access[_-]?key|token)["']?\s*(?:[:=]|\bis\b|\s)\s*["']?([A-Za-z0-9+/_=.!@$%^&*-]{8,})"#,
    )
    .expect("a fixed pattern")
});

/// Entropy per character above which an assigned value looks random; English words stay below 3.
const RANDOM_BITS: f64 = 3.0;

/// Added lines that hold something like a key. The value is not repeated.
pub fn secrets(added: &Added) -> Vec<LintFinding> {
    let mut found = Vec::new();
    for segment in &added.segments {
        for line in &segment.lines {
            let assigned = ASSIGNED
                .captures(line)
                .is_some_and(|captures| looks_random(&captures[1]));
            if assigned || KNOWN.is_match(line) {
                found.push(finding(
                    Lint::Secret,
                    &segment.path,
                    "holds something that looks like a key or a password",
                ));
                break;
            }
        }
    }
    found
}

/// Letters mixed with digits, and high entropy per character.
fn looks_random(value: &str) -> bool {
    let digits = value.chars().filter(char::is_ascii_digit).count();
    let letters = value.chars().filter(char::is_ascii_alphabetic).count();
    digits >= 2 && letters >= 2 && entropy(value) >= RANDOM_BITS
}

/// Shannon entropy of the characters, in bits per character.
fn entropy(value: &str) -> f64 {
    let mut counts: BTreeMap<char, f64> = BTreeMap::new();
    for character in value.chars() {
        *counts.entry(character).or_default() += 1.0;
    }
    let total: f64 = counts.values().sum();
    counts
        .values()
        .map(|count| {
            let share = count / total;
            -share * share.log2()
        })
        .sum()
}
