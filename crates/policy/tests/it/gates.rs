//! Candidates on their way through the gates.

use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{DecisionKind, GateOutcome};
use fapo_domain::model::level::Level;
use fapo_domain::model::proposal::AttemptOutcome;
use fapo_domain::model::score::ScoreStatus;
use fapo_domain::model::task::TaskPayload;
use fapo_policy::Event;

use crate::run::{Order, Run, project, spec};
use crate::world::{World, baseline};

fn gates(run: &Run, wanted: Split) -> Vec<GateOutcome> {
    run.decisions
        .iter()
        .filter_map(|decision| match &decision.what {
            DecisionKind::Gate { split, outcome, .. } if *split == wanted => Some(*outcome),
            _ => None,
        })
        .collect()
}

#[test]
fn a_structural_fault_is_mended_after_prompts_were_tried() {
    let world = World {
        skill: 1.0,
        noise: 0.0,
        ..World::with_faults(11, 0.0, 0.0, 0.5)
    };
    let run = Run::new(world, spec(project(), 64, 64, 32), 1).finish(Order::Wild(9));
    insta::assert_snapshot!(run.log());
    let mended = &run.world.quality(run.state.incumbent.variant).mended;
    assert!(mended.contains(&Level::Structure));
}

#[test]
fn parallel_winners_are_decided_in_slot_order_against_the_incumbent_of_the_moment() {
    let world = World {
        skill: 1.0,
        noise: 0.0,
        ..World::with_faults(3, 0.2, 0.2, 0.2)
    };
    for seed in 0..10 {
        let mut project = project();
        project.proposer.parallel = 3;
        project.budget.proposals = 3;
        let mut run = Run::new(world.clone(), spec(project, 96, 96, 0), 1);
        run.drive(Order::Wild(seed));
        let val: Vec<_> = run
            .decisions
            .iter()
            .filter_map(|decision| match &decision.what {
                DecisionKind::Gate {
                    candidate,
                    parent,
                    split: Split::Val,
                    outcome,
                    ..
                } => Some((
                    decision.evidence["slot"].clone(),
                    *parent,
                    *candidate,
                    *outcome,
                )),
                _ => None,
            })
            .collect();
        assert_eq!(val.len(), 3, "{}", run.log());
        let slots: Vec<_> = val
            .iter()
            .map(|(slot, ..)| slot.as_u64().unwrap())
            .collect();
        assert_eq!(slots, vec![0, 1, 2]);
        // all three mend the prompt's fault; the first is promoted, and the others are no better than it
        assert_eq!(val[0].1, baseline());
        assert_eq!(val[0].3, GateOutcome::Promote);
        for later in &val[1..] {
            assert_eq!(later.1, val[0].2);
            assert_eq!(later.3, GateOutcome::Reject);
        }
        let parents: Vec<_> = run.lineage[1..]
            .iter()
            .map(|row| row.parents.clone())
            .collect();
        assert_eq!(parents, vec![vec![baseline()]; 3]);
    }
}

/// One candidate that changes nothing but the luck of each case, in a world of this number.
fn unlucky(number: u64) -> Run {
    let world = World {
        skill: 0.0,
        noise: 0.4,
        ..World::with_faults(number, 0.3, 0.0, 0.0)
    };
    let mut project = project();
    project.budget.proposals = 1;
    Run::new(world, spec(project, 160, 160, 0), 1).finish(Order::Calm)
}

#[test]
fn a_loser_is_dropped_after_its_first_block() {
    let looks = |run: &Run| -> Vec<u64> {
        run.events
            .iter()
            .filter_map(|event| match event {
                Event::Compared { pairs, .. } => Some(*pairs),
                _ => None,
            })
            .collect()
    };
    let dropped: Vec<Run> = (0..20)
        .map(unlucky)
        .filter(|run| looks(run) == vec![16])
        .collect();
    assert!(!dropped.is_empty(), "nobody was unlucky in the first block");
    for run in dropped {
        assert_eq!(gates(&run, Split::Train), vec![GateOutcome::Reject]);
        let candidate = &run.state.candidates[0];
        assert_eq!(candidate.attempt.outcome, AttemptOutcome::RejectedOnTrain);
        assert_eq!(candidate.train_mean, None);
    }
}

#[test]
fn a_winner_that_costs_too_much_is_rejected_by_name_and_the_proposer_hears_no_figures() {
    let world = World {
        skill: 1.0,
        noise: 0.0,
        ..World::with_faults(11, 0.0, 0.0, 0.5)
    };
    let mut project = project();
    project.scope.allow = vec![Level::Structure];
    project.objective.subject_to.cost_ratio = Some(1.2); // a structural change costs 1.5 times as much
    project.budget.proposals = 2;
    let run = Run::new(world, spec(project, 64, 64, 0), 1).finish(Order::Calm);
    let val = run.decided(|what| {
        matches!(
            what,
            DecisionKind::Gate {
                split: Split::Val,
                ..
            }
        )
    });
    assert_eq!(val.len(), 2);
    assert!(
        val[0]
            .reason
            .ends_with("it costs 1.50 times the baseline, at most 1.2 is allowed (cost_ratio)"),
        "{}",
        val[0].reason
    );
    let attempt = &run.state.candidates[0].attempt;
    assert_eq!(attempt.outcome, AttemptOutcome::RejectedOnVal);
    assert!(
        attempt
            .reason
            .starts_with("better on val, but a condition is broken (gain about +0."),
        "{}",
        attempt.reason
    );
    assert_eq!(
        attempt.reason.len(),
        "better on val, but a condition is broken (gain about +0.00)".len()
    );
}

#[test]
fn missing_cases_run_again_and_only_then_count_as_missing() {
    let world = World {
        missing: (0.5, 0.05),
        ..World::new(8)
    };
    let mut project = project();
    project.budget.proposals = 0;
    let mut run = Run::new(world, spec(project, 64, 64, 0), 1);
    let mut rounds = Vec::new();
    while !run.status.is_final() {
        let seen = run.created.len();
        run.drive_until(Order::Calm, |run| run.created.len() > seen);
        rounds.extend(run.queued.iter().filter_map(|task| match &task.payload {
            TaskPayload::Execute { round, .. } => Some(*round),
            _ => None,
        }));
    }
    assert_eq!(rounds.iter().max(), Some(&2), "the first go and two more");
    let train = &run.state.baseline.train.as_ref().unwrap().summary;
    let missing = train.count(ScoreStatus::Missing);
    assert!(
        missing > 0 && missing < 10,
        "{missing} are missing for good"
    );
}

#[test]
fn a_candidate_with_too_few_results_is_undecided() {
    let mut world = World {
        skill: 1.0,
        noise: 0.0,
        missing: (0.0, 0.09),
        ..World::with_faults(1, 0.4, 0.0, 0.0)
    };
    world.seed = 21;
    let mut project = project();
    project.acceptance.coverage = 0.85;
    project.budget.proposals = 2;
    let run = Run::new(world, spec(project, 200, 200, 0), 1).finish(Order::Calm);
    // each side misses 9 of 100, so about 83 pairs of 100 are there
    assert!(
        gates(&run, Split::Train).contains(&GateOutcome::Undecided),
        "{}",
        run.log()
    );
}

#[test]
fn a_repeated_variant_is_refused_without_a_review() {
    let mut seen = 0;
    for seed in 0..20 {
        let world = World {
            trouble: 0.8,
            ..World::with_faults(seed, 0.4, 0.0, 0.0)
        };
        let run = Run::new(world, spec(project(), 32, 32, 0), 1).finish(Order::Calm);
        for repeat in run.decided(|what| {
            matches!(what, DecisionKind::Refusal { candidate: Some(candidate), .. } if *candidate == baseline())
        }) {
            seen += 1;
            assert!(repeat.reason.starts_with("refused: duplicate"), "{}", repeat.reason);
        }
        assert!(run.lineage[1..].iter().all(|row| row.child != baseline()));
        let reviewed = run.events.iter().any(
            |event| matches!(event, Event::Linted { candidate, .. } if *candidate == baseline()),
        );
        assert!(!reviewed);
    }
    assert!(seen > 0, "no proposer repeated itself");
}

#[test]
fn each_slot_gets_a_cluster_of_its_own_and_those_of_the_open_level_come_first() {
    let world = World {
        skill: 0.0,
        ..World::with_faults(3, 0.1, 0.4, 0.1)
    };
    let mut project = project();
    project.proposer.parallel = 8;
    project.budget.proposals = 6;
    let run = Run::new(world, spec(project, 96, 96, 0), 1).finish(Order::Calm);
    let asked: Vec<_> = run
        .events
        .iter()
        .filter_map(|event| match event {
            Event::ProposalAsked {
                iteration: 1,
                cluster,
                ..
            } => cluster.as_deref(),
            _ => None,
        })
        .collect();
    assert_eq!(
        asked,
        vec![
            "answer_form@answer",
            "retrieval_too_shallow@answer",
            "retrieval_miss@answer"
        ],
        "no more slots than clusters"
    );
}

#[test]
fn the_structural_promotion_reopens_prompts() {
    let world = World {
        skill: 1.0,
        noise: 0.05,
        ..World::with_faults(11, 0.1, 0.0, 0.4)
    };
    let run = Run::new(world, spec(project(), 96, 96, 0), 1).finish(Order::Calm);
    let opened: Vec<_> = run
        .decisions
        .iter()
        .filter_map(|decision| match decision.what {
            DecisionKind::LevelOpened { level } => Some(level),
            _ => None,
        })
        .collect();
    assert_eq!(
        opened[..3],
        [Level::Prompt, Level::Structure, Level::Prompt],
        "{}",
        run.log()
    );
}
