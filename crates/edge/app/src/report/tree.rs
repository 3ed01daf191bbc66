//! The lineage as a list: each variant with the rails that a terminal or a Markdown page draws before it.

use super::data::{Candidate, ReportData};

/// A variant's line in the tree.
#[derive(Debug)]
pub struct Branch<'a> {
    /// What stands before the name: `├─ `, `│  └─ ` and the like; empty for a root.
    pub rails: String,
    /// Steps from the root.
    pub depth: usize,
    /// The variant.
    pub candidate: &'a Candidate,
}

/// All variants, parents before children, siblings in order of creation. A variant whose parent is unknown is a root.
pub fn branches(data: &ReportData) -> Vec<Branch<'_>> {
    let parents: Vec<Option<usize>> = data
        .candidates
        .iter()
        .enumerate()
        .map(|(position, candidate)| {
            let parent = candidate.parent?;
            // only what stands earlier: a damaged lineage cannot make a cycle
            data.candidates[..position]
                .iter()
                .position(|other| other.variant == parent)
        })
        .collect();
    let mut children = vec![Vec::new(); data.candidates.len()];
    let mut stack = Vec::new();
    for (position, parent) in parents.iter().enumerate() {
        match parent {
            Some(parent) => children[*parent].push(position),
            None => stack.push((position, String::new(), String::new(), 0)),
        }
    }
    stack.reverse();
    let mut lines = Vec::with_capacity(data.candidates.len());
    while let Some((position, rails, below, depth)) = stack.pop() {
        lines.push(Branch {
            rails,
            depth,
            candidate: &data.candidates[position],
        });
        let last = children[position].len().saturating_sub(1);
        for (index, child) in children[position].iter().enumerate().rev() {
            let (corner, rail) = if index == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            stack.push((
                *child,
                format!("{below}{corner}"),
                format!("{below}{rail}"),
                depth + 1,
            ));
        }
    }
    lines
}
