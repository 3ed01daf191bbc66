//! Every way of being wrong, with what a person reads. The snapshots are the review: a message must say what is wrong,
//! where, and what to do.

mod data;
mod pipelines;
mod projects;

/// `base` with one place changed.
fn replaced(base: &str, from: &str, to: &str) -> String {
    assert!(base.contains(from), "nothing to replace: {from}");
    base.replacen(from, to, 1)
}
