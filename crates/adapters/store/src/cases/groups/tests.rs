use super::*;

#[test]
fn joins_in_any_order_give_the_same_groups() {
    let pairs = [(1, 4), (4, 7), (2, 3), (9, 2)];
    let mut forward = Union::new(10);
    let mut backward = Union::new(10);
    for (a, b) in pairs {
        forward.join(a, b);
    }
    for (a, b) in pairs.into_iter().rev() {
        backward.join(b, a);
    }
    let roots = |union: &mut Union| (0..10).map(|n| union.root(n)).collect::<Vec<_>>();
    assert_eq!(roots(&mut forward), roots(&mut backward));
    assert_eq!(roots(&mut forward), [0, 1, 2, 2, 1, 5, 6, 1, 8, 2]);
}

#[test]
fn a_template_shared_by_most_cases_makes_no_group_but_repeats_do() {
    let mut exact = Union::new(1000);
    exact.join(10, 20);
    let mut near = exact.clone();
    for case in 1..600 {
        near.join(0, case);
    }
    near.join(700, 701);
    let groups = Groups::from_unions(exact, near, Sizes::new(1000, 0.5));
    assert_eq!(groups.of(5), [5]);
    assert_eq!(groups.of(20), [10, 20]);
    assert_eq!(groups.of(701), [700, 701]);
}
/// The parts of a split: how many cases of each group move, and how many do not.
fn parts(exact: &[u32], near: &[u32], fraction: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let union = |groups: &[u32]| {
        let mut union = Union::new(groups.iter().sum());
        let mut start = 0;
        for size in groups {
            (1..*size).for_each(|n| union.join(start, start + n));
            start += size;
        }
        union
    };
    let sizes = Sizes::new(near.iter().sum(), fraction);
    let moved = Groups::from_unions(union(exact), union(near), sizes).choose(sizes, seed);
    let mut start = 0;
    near.iter()
        .map(|size| {
            let group = start..start + u64::from(*size);
            start = group.end;
            let moving = moved.iter().filter(|case| group.contains(case)).count() as u32;
            (moving, size - moving)
        })
        .unzip()
}

#[test]
fn cases_that_all_share_a_template_are_split_as_if_they_did_not() {
    let (moved, kept) = parts(&[1; 40], &[40], 0.5, 7);
    assert_eq!((moved, kept), (vec![20], vec![20]));
    let (moved, kept) = parts(&[40], &[40], 0.5, 7);
    assert_eq!((moved, kept), (vec![20], vec![20]));
}

#[test]
fn groups_of_up_to_half_of_the_smaller_part_stay_together() {
    for seed in 0..50 {
        let (moved, kept) = parts(&[1; 40], &[10, 7, 5, 3, 3, 2, 2, 8], 0.5, seed);
        assert!(
            moved.iter().zip(&kept).all(|(a, b)| *a == 0 || *b == 0),
            "{moved:?} {kept:?}"
        );
    }
    // repeats stay together where either part can take them
    for seed in 0..50 {
        let (moved, kept) = parts(&[20, 15, 5], &[20, 15, 5], 0.5, seed);
        assert!(moved.iter().zip(&kept).all(|(a, b)| *a == 0 || *b == 0));
    }
}

proptest::proptest! {
    #[test]
    fn no_part_of_a_split_is_empty_or_far_from_its_share(
        groups in proptest::collection::vec(1u32..60, 1..12),
        repeats: bool,
        fraction in 0.05f64..0.9,
        seed: u64,
    ) {
        let cases: u32 = groups.iter().sum();
        proptest::prop_assume!(cases >= 2);
        let exact = if repeats { groups.clone() } else { vec![1; cases as usize] };
        let sizes = Sizes::new(cases, fraction);
        let (moved, kept) = parts(&exact, &groups, fraction, seed);
        let (moved, kept) = (moved.iter().sum::<u32>(), kept.iter().sum::<u32>());
        proptest::prop_assert!(moved > 0 && kept > 0);
        proptest::prop_assert!(moved <= sizes.target);
        let largest = if repeats { sizes.exact() } else { sizes.near() };
        proptest::prop_assert!(moved + largest > sizes.target);
    }
}
