//! A short run of what `make chaos` does at length: a cluster keeps its promises while what it stands on fails.

use std::time::Duration;

use fapo_e2e::chaos::{ChaosOptions, run};

#[test]
fn a_cluster_whose_parts_are_killed_restarted_emptied_and_cut_off_ends_as_if_undisturbed() {
    let mut told = Vec::new();
    let options = ChaosOptions {
        seed: 3,
        rounds: 10,
        at_most: Duration::from_secs(60),
        jobs: 1,
        binary: None,
    };
    let outcome = run(&options, |line| told.push(line.to_owned())).unwrap();
    assert!(
        outcome.violations.is_empty(),
        "{:#?}\n{}",
        outcome.violations,
        told.join("\n")
    );
    // what was not tried was not shown
    assert_eq!(outcome.rounds, options.rounds, "{}", told.join("\n"));
    assert!(outcome.faults.len() >= 4, "{:?}", outcome.faults);
    assert!(outcome.calls.0 > 0);
}
