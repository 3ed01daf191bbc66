//! Candidates whose results are missing because the provider is down.

use std::collections::BTreeSet;

use fapo_domain::model::decision::{DecisionKind, GateOutcome, LevelLeft, StopReason};
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::proposal::AttemptOutcome;

use crate::run::{Order, Run, project, spec};
use crate::world::World;

fn world(outage: fn(usize, u32) -> bool) -> World {
    World {
        skill: 1.0,
        noise: 0.0,
        outage,
        catalogue: true,
        ..World::with_faults(1, 0.4, 0.0, 0.0)
    }
}

fn outcomes(run: &Run) -> Vec<AttemptOutcome> {
    let candidates = run.state.candidates.iter();
    candidates.map(|one| one.attempt.outcome).collect()
}

#[test]
fn an_idea_that_met_an_outage_is_tried_again_and_used_nothing_up() {
    for seed in 0..10 {
        let world = world(|_, attempt| attempt == 0);
        let mut run = Run::new(world, spec(project(), 64, 64, 16), 1);
        let after_first = |run: &Run| run.state.iteration == 2;
        run.drive_until(Order::Wild(seed), after_first);
        assert_eq!(outcomes(&run), [AttemptOutcome::Undecided]);
        let levels = &run.state.levels;
        assert_eq!((levels.without_promotion, levels.techniques.len()), (0, 0));

        run.drive(Order::Wild(seed));
        use AttemptOutcome::{Promoted, Undecided};
        assert_eq!(outcomes(&run), [Undecided, Promoted], "{}", run.log());
        let tried: BTreeSet<_> = run
            .state
            .candidates
            .iter()
            .map(|one| one.attempt.variant)
            .collect();
        assert_eq!(tried.len(), 1);
        assert_eq!(run.lineage.len(), 2, "one variant is one row");
        assert_eq!(run.status, JobStatus::Done);
        assert!(run.state.test.is_some());
    }
}

#[test]
fn an_outage_that_stays_ends_the_job_with_its_reason_and_the_test_sealed() {
    for parallel in [1, 3] {
        let mut project = project();
        project.proposer.parallel = parallel;
        project.budget.proposals = 1000;
        let run = Run::new(world(|_, _| true), spec(project, 64, 64, 16), 1).finish(Order::Calm);
        assert_eq!(run.status, JobStatus::Failed);
        assert_eq!(run.stop_reason(), Some(StopReason::NotMeasured));
        let reason = &run.state.stop.as_ref().unwrap().reason;
        assert!(
            reason.starts_with(
                "nothing could be decided about any candidate in 6 iterations in a row"
            ),
            "{reason}"
        );
        assert!(
            reason.contains("only 0% of the pairs have a result"),
            "{reason}"
        );
        assert_eq!(run.state.iteration, 6);
        assert!(run.opened.is_empty());
        let left = run.decided(|what| matches!(what, DecisionKind::LevelLeft { .. }));
        assert!(left.is_empty(), "{}", run.log());
    }
}

#[test]
fn a_candidate_that_never_has_results_counts_as_tried_in_the_end() {
    // the first fails for a reason of its own; the second is fine
    let run = Run::new(
        world(|number, _| number == 0),
        spec(project(), 64, 64, 0),
        1,
    )
    .finish(Order::Calm);
    use AttemptOutcome::{Promoted, Undecided};
    assert_eq!(
        outcomes(&run),
        [Undecided, Undecided, Promoted],
        "{}",
        run.log()
    );
    assert_eq!(run.status, JobStatus::Done);
    let refused = run.decided(|what| matches!(what, DecisionKind::Refusal { .. }));
    assert!(refused.is_empty(), "{}", run.log());
}

#[test]
fn what_cannot_be_measured_and_what_loses_leave_a_level_by_those_that_lose() {
    // every second candidate is never measured
    let world = World {
        skill: 0.0,
        ..world(|number, _| number % 2 == 1)
    };
    let run = Run::new(world, spec(project(), 64, 64, 0), 1).finish(Order::Calm);
    let left = run.decided(|what| {
        matches!(
            what,
            DecisionKind::LevelLeft {
                why: LevelLeft::Plateau,
                ..
            }
        )
    });
    assert!(!left.is_empty(), "{}", run.log());
    let undecided = run.decided(|what| {
        matches!(
            what,
            DecisionKind::Gate {
                outcome: GateOutcome::Undecided,
                ..
            }
        )
    });
    assert!(undecided.len() >= 2, "{}", run.log());
    assert_ne!(run.stop_reason(), Some(StopReason::NotMeasured));
}
