//! Groups of like cases within an import, which a split keeps together.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use fapo_domain::order::Permutation;
use fapo_domain::ports::datasets::split_target;
use fapo_domain::seed::Seed;

use crate::error::Failure;

/// A group larger than this and than one percent of the cases does not repeat a case: its members share a template. So
/// does one that would be most of a part ([`Sizes::near`]).
const SMALL_GROUP: u32 = 50;

/// How many cases a split moves, and how large the groups may be that it keeps together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    cases: u32,
    target: u32,
}

impl Sizes {
    pub(crate) fn new(cases: u32, fraction: f64) -> Self {
        let target = split_target(u64::from(cases), fraction);
        Self {
            cases,
            target: u32::try_from(target).unwrap_or(u32::MAX),
        }
    }

    /// The size of the smaller part.
    fn smaller(self) -> u32 {
        self.target.min(self.cases - self.target)
    }

    /// Most cases of a group of near-duplicates. Up to half of the smaller part, so that no part is one template.
    fn near(self) -> u32 {
        SMALL_GROUP
            .max(self.cases / 100)
            .min(self.smaller().div_ceil(2))
    }

    /// Most cases of a group of exact repeats: as many as either part can take.
    fn exact(self) -> u32 {
        self.smaller()
    }
}

/// Groups of train cases, by ordinal.
pub(crate) struct Groups {
    root: Vec<u32>,
    members: BTreeMap<u32, Vec<u32>>,
}

impl Groups {
    /// The near group of each case where it is not too large, else its exact group, else the case alone.
    pub(crate) fn from_unions(mut exact: Union, mut near: Union, bounds: Sizes) -> Self {
        let (exact_sizes, near_sizes) = (exact.sizes(), near.sizes());
        let root: Vec<u32> = (0..bounds.cases)
            .map(|case| {
                let (near_root, exact_root) = (near.root(case), exact.root(case));
                if near_sizes[near_root as usize] <= bounds.near() {
                    near_root
                } else if exact_sizes[exact_root as usize] <= bounds.exact() {
                    exact_root
                } else {
                    case
                }
            })
            .collect();
        let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (case, root) in (0u32..).zip(&root) {
            if case != *root {
                members
                    .entry(*root)
                    .or_insert_with(|| vec![*root])
                    .push(case);
            }
        }
        Self { root, members }
    }

    /// The cases to be moved. At least one, and not all, where there are two or more: every group fits into the target.
    pub(crate) fn choose(&self, sizes: Sizes, seed: u64) -> Vec<u64> {
        let cases = u64::from(sizes.cases);
        let order = Permutation::new(cases, Seed::derive(seed, "split-import", &[]));
        let mut met = vec![false; sizes.cases as usize];
        let mut moved = Vec::new();
        for first in (0..cases).filter_map(|position| order.at(position)) {
            let left = sizes.target as usize - moved.len();
            if left == 0 {
                break;
            }
            if met[first as usize] {
                continue;
            }
            let group = self.of(first as u32);
            for member in &group {
                met[*member as usize] = true;
            }
            if group.len() <= left {
                moved.extend(group.into_iter().map(u64::from));
            }
        }
        moved.sort_unstable();
        moved
    }

    fn of(&self, case: u32) -> Vec<u32> {
        let root = self.root[case as usize];
        self.members
            .get(&root)
            .cloned()
            .unwrap_or_else(|| vec![case])
    }
}

/// Disjoint sets; the smallest member is the root, so the result does not depend on the order of joins.
#[derive(Clone)]
pub(crate) struct Union(Vec<u32>);

impl Union {
    pub(crate) fn new(count: u32) -> Self {
        Self((0..count).collect())
    }

    fn root(&mut self, mut member: u32) -> u32 {
        while self.0[member as usize] != member {
            let parent = self.0[member as usize];
            // path halving
            self.0[member as usize] = self.0[parent as usize];
            member = parent;
        }
        member
    }

    /// The size of each set, at its root.
    fn sizes(&mut self) -> Vec<u32> {
        let mut sizes = vec![0; self.0.len()];
        for member in 0..self.0.len() as u32 {
            sizes[self.root(member) as usize] += 1;
        }
        sizes
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }

    /// Starts to join cases that share a key.
    pub(crate) fn shared(&mut self) -> Shared<'_> {
        Shared {
            union: self,
            last: None,
        }
    }
}

/// Joins cases that share a key, of a list in which those of one key stand together.
pub(crate) struct Shared<'a> {
    union: &'a mut Union,
    last: Option<(i64, u32)>,
}

impl Shared<'_> {
    pub(crate) fn meet(&mut self, key: i64, case: u32) -> Result<(), Failure> {
        if case as usize >= self.union.0.len() {
            return Err(Failure::corrupt("a train case beyond the last one"));
        }
        if let Some((last_key, last_case)) = self.last
            && last_key == key
        {
            self.union.join(last_case, case);
        }
        self.last = Some((key, case));
        Ok(())
    }
}
