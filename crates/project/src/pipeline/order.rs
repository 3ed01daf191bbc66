//! Puts the steps of one list into an order in which each comes after what it needs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The order, as positions in the given list, or else one cycle, each member needing the next and the last the first.
/// Among steps that could come next the first in the list does. `needs[i]` are positions that `i` needs.
pub(super) fn order(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut needed_by = vec![Vec::new(); needs.len()];
    for (step, before) in needs.iter().enumerate() {
        for &other in before {
            needed_by[other].push(step);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = waiting
        .iter()
        .enumerate()
        .filter(|(_, count)| **count == 0)
        .map(|(step, _)| Reverse(step))
        .collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(step)) = ready.pop() {
        order.push(step);
        for &next in &needed_by[step] {
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    if order.len() == needs.len() {
        Ok(order)
    } else {
        Err(cycle(needs, &waiting))
    }
}

/// Follows needs among the steps that never became ready: each of them needs another such, so a step repeats.
fn cycle(needs: &[Vec<usize>], waiting: &[usize]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut step = waiting.iter().position(|count| *count > 0).unwrap_or(0);
    loop {
        if let Some(start) = path.iter().position(|seen| *seen == step) {
            return path.split_off(start);
        }
        path.push(step);
        match needs[step].iter().find(|next| waiting[**next] > 0) {
            Some(next) => step = *next,
            None => return path,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_keeps_to_the_file_where_it_can() {
        assert_eq!(order(&[vec![2], vec![], vec![]]), Ok(vec![1, 2, 0]));
        assert_eq!(order(&[]), Ok(vec![]));
    }

    #[test]
    fn a_cycle_is_named_without_what_only_leads_to_it() {
        assert_eq!(
            order(&[vec![1], vec![2], vec![3], vec![1]]),
            Err(vec![1, 2, 3])
        );
        assert_eq!(order(&[vec![0]]), Err(vec![0]));
    }

    proptest! {
        #[test]
        fn every_step_comes_after_what_it_needs(
            edges in proptest::collection::vec((0usize..12, 0usize..12), 0..40),
        ) {
            // edges from higher to lower numbers under a shuffle cannot have a cycle
            let mut needs = vec![Vec::new(); 12];
            for (a, b) in edges {
                let (from, to) = (a.max(b), a.min(b));
                if from != to && !needs[(from * 5) % 12].contains(&((to * 5) % 12)) {
                    needs[(from * 5) % 12].push((to * 5) % 12);
                }
            }
            let found = order(&needs).unwrap();
            for (position, step) in found.iter().enumerate() {
                for before in &needs[*step] {
                    prop_assert!(found[..position].contains(before));
                }
            }
            prop_assert_eq!(found.len(), 12);
        }
    }
}
