//! How jobs end.

use fapo_domain::JobId;
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{DecisionKind, GateOutcome, StopReason};
use fapo_domain::model::evaluation::CacheUse;
use fapo_domain::model::job::{BlockExecuted, JobGoal, JobStatus};
use fapo_domain::model::task::{FinishedTask, TaskPayload, TaskState};
use fapo_domain::{MicroUsd, Spend};
use fapo_policy::stage::{StagePurpose, WINDOW};
use fapo_policy::{Event, Phase, advance};

use crate::run::{Order, Run, project, spec};
use crate::world::{World, baseline};

fn promising() -> World {
    World {
        skill: 1.0,
        noise: 0.02,
        ..World::with_faults(5, 0.4, 0.0, 0.0)
    }
}

#[test]
fn a_dead_task_fails_the_job_with_its_reason_and_a_revived_one_lets_it_go_on() {
    let undisturbed = Run::new(promising(), spec(project(), 64, 64, 32), 1).finish(Order::Calm);
    for seed in 0..20 {
        let mut run = Run::new(promising(), spec(project(), 64, 64, 32), 1);
        run.deadly = Some(
            |payload| matches!(payload, TaskPayload::Score { block, .. } if block.start == 16),
        );
        run.drive(Order::Wild(seed));
        assert_eq!(run.status, JobStatus::Failed);
        assert_eq!(run.stop_reason(), Some(StopReason::TaskDead));
        assert!(
            run.queued.is_empty() && run.finished.is_empty(),
            "nothing is left under way"
        );
        assert_eq!(run.buried.len(), 2, "one of train, one of val");
        let Some(Event::Finished { reason, .. }) = run.events.last() else {
            panic!("no end: {:?}", run.events.last())
        };
        assert_eq!(reason, "2 tasks died, such as: SCRIPTED: it died");

        run.revive();
        run.drive(Order::Wild(seed + 100));
        assert_eq!(run.status, JobStatus::Done);
        assert!(run.events.contains(&Event::Revived { tasks: 2 }));
        assert_eq!(run.hash(), undisturbed.hash());
    }
}

#[test]
fn a_task_that_dies_again_fails_the_job_again() {
    let mut run = Run::new(promising(), spec(project(), 16, 16, 0), 1);
    let deadly: fn(&TaskPayload) -> bool =
        |payload| matches!(payload, TaskPayload::Attribute { .. });
    run.deadly = Some(deadly);
    run.drive(Order::Calm);
    for _ in 0..3 {
        assert_eq!(run.status, JobStatus::Failed);
        assert_eq!(run.state.dead.len(), 1);
        run.revive();
        run.deadly = Some(deadly);
        run.drive(Order::Calm);
    }
    run.revive();
    run.drive(Order::Calm);
    assert_eq!(run.status, JobStatus::Done);
}

#[test]
fn an_unreadable_result_fails_the_job_and_says_so() {
    let mut run = Run::new(promising(), spec(project(), 16, 16, 0), 1);
    run.drive_until(Order::Calm, |run| !run.queued.is_empty());
    for task in std::mem::take(&mut run.queued) {
        run.finished.push(FinishedTask {
            id: task.id,
            payload: task.payload,
            state: TaskState::Done,
            result: Some(serde_json::json!("nonsense")),
            reason: None,
        });
    }
    run.drive(Order::Calm);
    assert_eq!(run.status, JobStatus::Failed);
    let stop = run.state.stop.as_ref().unwrap();
    assert!(
        stop.reason.contains("its result cannot be read"),
        "{}",
        stop.reason
    );
}

#[test]
fn a_cancelled_job_ends_at_once_and_begins_nothing() {
    let mut run = Run::new(promising(), spec(project(), 64, 64, 32), 1);
    run.drive_until(Order::Calm, |run| run.state.phase == Phase::Gating);
    let created = run.created.len();
    run.cancel();
    assert_eq!(run.status, JobStatus::Cancelled);
    assert_eq!(run.stop_reason(), Some(StopReason::Cancelled));
    assert_eq!(run.created.len(), created);
    assert!(run.opened.is_empty(), "the test stays sealed");
    // what was under way may still come in, and changes nothing
    let before = run.state.clone();
    run.drive(Order::Calm);
    assert_eq!(run.state, before);
}

#[test]
fn a_met_target_ends_the_search_before_a_proposal() {
    let mut easy = project();
    easy.target.insert("exact_match".to_owned(), 0.5);
    let run = Run::new(promising(), spec(easy, 64, 64, 32), 1).finish(Order::Calm);
    assert_eq!(run.stop_reason(), Some(StopReason::TargetMet));
    assert_eq!(run.state.proposals_asked, 0);
    assert!(run.state.test.is_some());

    let mut hard = project();
    hard.target.insert("exact_match".to_owned(), 0.9);
    let run = Run::new(promising(), spec(hard, 64, 64, 32), 1).finish(Order::Calm);
    assert_eq!(run.stop_reason(), Some(StopReason::TargetMet));
    assert!(run.state.proposals_asked > 0);

    let mut unknown = project();
    unknown.target.insert("no_such_metric".to_owned(), 0.0);
    let run = Run::new(promising(), spec(unknown, 64, 64, 32), 1).finish(Order::Calm);
    assert_ne!(run.stop_reason(), Some(StopReason::TargetMet));
}

#[test]
fn without_failures_there_is_nothing_to_fix() {
    let flawless = World {
        noise: 0.0,
        ..World::with_faults(1, 0.0, 0.0, 0.0)
    };
    let run = Run::new(flawless, spec(project(), 32, 32, 16), 1).finish(Order::Calm);
    assert_eq!(run.stop_reason(), Some(StopReason::NothingToFix));
    assert_eq!(run.decisions.len(), 1);
}

#[test]
fn a_search_of_fruitless_levels_ends_with_all_of_them_left_or_skipped() {
    let hopeless = World {
        skill: 0.0,
        ..World::with_faults(2, 0.2, 0.2, 0.2)
    };
    let run = Run::new(hopeless, spec(project(), 96, 96, 0), 1).finish(Order::Calm);
    assert_eq!(
        run.stop_reason(),
        Some(StopReason::LevelsExhausted),
        "{}",
        run.log()
    );
    let left = run.decided(|what| matches!(what, DecisionKind::LevelLeft { .. }));
    assert_eq!(left.len(), 3, "{}", run.log());
    assert_eq!(run.state.incumbent.variant, baseline());
}

#[test]
fn proposals_are_never_more_than_the_budget_has() {
    let hopeless = World {
        skill: 0.0,
        ..World::with_faults(2, 0.2, 0.2, 0.2)
    };
    let mut project = project();
    project.budget.proposals = 5;
    project.proposer.parallel = 3;
    project.escalation.plateau = 100;
    let run = Run::new(hopeless, spec(project, 64, 64, 0), 1).finish(Order::Calm);
    assert_eq!(run.stop_reason(), Some(StopReason::BudgetSpent));
    assert_eq!(run.state.proposals_asked, 5);
}

#[test]
fn money_for_the_sealed_test_is_held_back() {
    let mut project = project();
    project.budget.usd = Some(0.06); // 600 cases at 100 micro-dollars
    project.escalation.plateau = 100;
    let world = World {
        skill: 0.0,
        ..World::with_faults(2, 0.3, 0.0, 0.0)
    };
    let run = Run::new(world, spec(project, 64, 64, 128), 1).finish(Order::Calm);
    assert_eq!(
        run.stop_reason(),
        Some(StopReason::BudgetSpent),
        "{}",
        run.log()
    );
    let stop = run.state.stop.as_ref().unwrap();
    assert!(
        stop.reason.contains("held back for the sealed test"),
        "{}",
        stop.reason
    );
    assert!(run.state.test.is_some(), "the test was still paid");
    assert!(run.balance.total().cost <= MicroUsd::from_usd(0.06));
}

#[test]
fn calls_for_the_sealed_test_are_held_back_though_the_baseline_came_from_the_cache() {
    let run = |warm: bool| {
        let mut project = project();
        project.budget.model_calls = Some(600);
        project.escalation.plateau = 100;
        let world = World {
            skill: 0.0,
            warm,
            ..World::with_faults(2, 0.3, 0.0, 0.0)
        };
        Run::new(world, spec(project, 64, 64, 128), 1).finish(Order::Calm)
    };
    let warm = run(true);
    assert_eq!(warm.stop_reason(), Some(StopReason::BudgetSpent));
    let stop = warm.state.stop.as_ref().unwrap();
    assert!(
        stop.reason.contains("282 model calls are held back"),
        "{}",
        stop.reason
    );
    assert!(warm.state.test.is_some(), "{}", warm.log());
    assert!(warm.balance.total().model_calls <= 600);
}

#[test]
fn a_test_that_cannot_be_paid_is_skipped_and_said_so() {
    let mut project = project();
    project.budget.model_calls = Some(130); // the baseline alone needs 128
    let run = Run::new(promising(), spec(project, 64, 64, 64), 1).finish(Order::Calm);
    assert_eq!(run.stop_reason(), Some(StopReason::BudgetSpent));
    assert_eq!(run.status, JobStatus::Done);
    assert!(run.opened.is_empty());
    let skipped = run.events.iter().find_map(|event| match event {
        Event::TestSkipped { reason } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(
        skipped.unwrap(),
        "2 model calls left, and the sealed test needs $0.006400 and 64 model calls"
    );
    let last = run.decisions.last().unwrap();
    assert_eq!(last.what, DecisionKind::TestSkipped);
    assert_eq!(
        last.reason,
        "no sealed test: 2 model calls left, and the sealed test needs $0.006400 and 64 model calls"
    );
}

#[test]
fn hours_end_an_evaluation_that_is_under_way() {
    let mut project = project();
    project.budget.hours = Some(1.0);
    let mut run = Run::new(promising(), spec(project, 640, 64, 16), 1);
    run.drive_until(Order::Calm, |run| {
        run.state.phase == Phase::Gating && run.state.stages[0].done >= 4
    });
    run.elapsed_ms = 3_600_000;
    let begun = run.state.stages[0].next;
    run.drive(Order::Calm);
    let done = run.events.iter().find_map(|event| match event {
        Event::StageDone {
            purpose: StagePurpose::Screen { .. },
            complete,
            summary,
            ..
        } => Some((*complete, summary.total())),
        _ => None,
    });
    assert_eq!(
        done,
        Some((false, 16 * begun)),
        "what was begun is finished, and nothing else is begun"
    );
    let gates = run.decided(|what| matches!(what, DecisionKind::Gate { .. }));
    assert_eq!(gates.len(), 1, "{}", run.log());
    assert!(
        gates[0].reason.contains("of 1 hours are used up"),
        "{}",
        gates[0].reason
    );
    assert_eq!(run.stop_reason(), Some(StopReason::BudgetSpent));
    assert!(run.state.test.is_some(), "the sealed test is not cut short");
    assert_eq!(run.state.test.unwrap().baseline.total(), 16);
}

#[test]
fn hours_that_end_while_the_baseline_is_measured_end_the_job() {
    for (goal, status) in [
        (JobGoal::Optimize, JobStatus::Done),
        (
            JobGoal::Evaluate {
                split: Split::Train,
                cases: None,
                sample: 0,
            },
            JobStatus::Done,
        ),
    ] {
        let mut project = project();
        project.budget.hours = Some(1.0);
        let mut spec = spec(project, 640, 640, 16);
        spec.goal = goal;
        let mut run = Run::new(promising(), spec, 1);
        run.ms_per_tick = 400_000;
        run.drive(Order::Calm);
        assert_eq!(run.status, status);
        assert_eq!(run.stop_reason(), Some(StopReason::BudgetSpent));
        let reason = &run.state.stop.as_ref().unwrap().reason;
        assert!(reason.contains("of 1 hours are used up"), "{reason}");
        assert!(run.created.len() < 60, "{} tasks", run.created.len());
        assert!(run.opened.is_empty());
    }
}

#[test]
fn hours_end_the_search_between_iterations() {
    let mut project = project();
    project.budget.hours = Some(1.0);
    project.escalation.plateau = 100;
    let world = World {
        skill: 0.0,
        ..World::with_faults(2, 0.3, 0.0, 0.0)
    };
    let mut run = Run::new(world, spec(project, 64, 64, 16), 1);
    run.ms_per_tick = 60_000;
    let run = run.finish(Order::Calm);
    assert_eq!(run.stop_reason(), Some(StopReason::BudgetSpent));
    assert!(
        run.state
            .stop
            .as_ref()
            .unwrap()
            .reason
            .ends_with("of 1 hours are used up")
    );
    assert!(run.state.test.is_some());
}

#[test]
fn a_budget_that_ends_within_an_evaluation_decides_nothing_about_its_candidate() {
    let mut run = Run::new(promising(), spec(project(), 64, 64, 0), 1);
    run.drive_until(Order::Calm, |run| run.state.phase == Phase::Gating);
    let task = run.queued.remove(0);
    let TaskPayload::Execute { block, .. } = &task.payload else {
        panic!("{:?}", task.payload)
    };
    let stopped = BlockExecuted {
        completed: 3,
        missing: block.len() - 3,
        budget_exhausted: true,
        spend: Spend::default(),
    };
    run.finished.push(FinishedTask {
        id: task.id,
        result: Some(serde_json::to_value(stopped).unwrap()),
        payload: task.payload,
        state: TaskState::Done,
        reason: None,
    });
    run.drive(Order::Calm);
    let gates = run.decided(|what| matches!(what, DecisionKind::Gate { .. }));
    assert!(
        matches!(
            &gates[0].what,
            DecisionKind::Gate {
                outcome: GateOutcome::Undecided,
                comparison: None,
                ..
            }
        ),
        "{}",
        run.log()
    );
    assert_eq!(run.stop_reason(), Some(StopReason::BudgetSpent));
    assert_eq!(run.status, JobStatus::Done);
}

#[test]
fn without_a_test_split_the_job_ends_after_the_search() {
    let run = Run::new(promising(), spec(project(), 64, 64, 0), 1).finish(Order::Calm);
    assert_eq!(run.status, JobStatus::Done);
    assert!(run.opened.is_empty() && run.state.test.is_none());
    assert!(
        run.events
            .iter()
            .any(|event| matches!(event, Event::TestSkipped { .. }))
    );
}

#[test]
fn the_sealed_test_runs_both_variants_afresh_as_often_as_asked() {
    let mut project = project();
    project.acceptance.test_repeats = 3;
    let mut run = Run::new(promising(), spec(project, 64, 64, 40), 1);
    run.drive_until(Order::Calm, |run| run.state.phase == Phase::Testing);
    assert_eq!(
        run.opened.len(),
        1,
        "opened in the very tick that makes its tasks"
    );
    let evaluations: Vec<_> = run
        .state
        .stages
        .iter()
        .map(|stage| &stage.evaluation)
        .collect();
    assert_eq!(evaluations.len(), 2);
    for evaluation in evaluations {
        assert_eq!(
            (evaluation.split, evaluation.cache),
            (Split::Test, CacheUse::Own)
        );
    }
    run.drive(Order::Calm);
    let test = run.state.test.as_ref().unwrap();
    assert_eq!(test.repeats, 3);
    assert_eq!(test.baseline.total(), 120);
    assert_eq!(test.best.as_ref().unwrap().total(), 120);
    let comparison = test.comparison.as_ref().unwrap();
    assert_eq!(comparison.pairs, 120);
    assert!(comparison.interval.0 < comparison.gain && comparison.gain < comparison.interval.1);
}

#[test]
fn where_nothing_was_promoted_the_test_runs_the_baseline_alone() {
    let world = World {
        skill: 0.0,
        noise: 0.0,
        ..World::with_faults(2, 0.2, 0.0, 0.0)
    };
    let run = Run::new(world, spec(project(), 48, 48, 20), 1).finish(Order::Calm);
    let test = run.state.test.as_ref().unwrap();
    assert_eq!((test.variant, test.baseline.total()), (baseline(), 20));
    assert!(test.best.is_none() && test.comparison.is_none());
}

#[test]
fn a_baseline_that_cannot_be_measured_fails_the_job() {
    let dark = World {
        missing: (0.0, 1.0),
        ..World::new(1)
    };
    let run = Run::new(dark, spec(project(), 32, 32, 16), 1).finish(Order::Calm);
    assert_eq!(run.status, JobStatus::Failed);
    assert_eq!(run.stop_reason(), Some(StopReason::NotMeasured));
    let reason = &run.state.stop.as_ref().unwrap().reason;
    assert!(
        reason.starts_with("only 0 of the baseline's 32"),
        "{reason}"
    );
    assert!(run.opened.is_empty());
}

#[test]
fn an_evaluate_job_over_a_million_cases_keeps_its_state_small() {
    let mut spec = spec(project(), 0, 1_000_000, 0);
    spec.goal = JobGoal::Evaluate {
        split: Split::Val,
        cases: None,
        sample: 0,
    };
    spec.project.execution.block_size = 1000;
    let mut run = Run::new(World::new(1), spec, 1);
    let mut largest = 0;
    let mut most = 0;
    while !run.status.is_final() {
        let inputs = std::mem::take(&mut run.finished);
        let state = run.state.clone();
        let next = advance(run.job, &run.spec, state, &inputs, &run.balance, false, 0);
        run.commit(next);
        largest = largest.max(serde_json::to_vec(&run.state).unwrap().len());
        most = most.max(run.queued.len());
        for task in std::mem::take(&mut run.queued) {
            // summaries only: a million made-up scores would say nothing more
            let result = match &task.payload {
                TaskPayload::Execute { block, .. } => serde_json::to_value(BlockExecuted {
                    completed: block.len(),
                    missing: 0,
                    budget_exhausted: false,
                    spend: Spend::default(),
                }),
                TaskPayload::Score { block, .. } => serde_json::to_value(serde_json::json!({
                    "counts": { "scored": block.len() },
                    "sum_micro": block.len() * 500_000,
                    "metrics_micro": {},
                    "spend": Spend::default(),
                    "full_spend": Spend::default(),
                })),
                other => panic!("{other:?}"),
            };
            run.finished.push(FinishedTask {
                id: task.id,
                payload: task.payload,
                state: TaskState::Done,
                result: Some(result.unwrap()),
                reason: None,
            });
        }
    }
    assert_eq!(run.status, JobStatus::Done);
    assert!(most <= WINDOW, "{most} tasks at once");
    assert!(largest < 8 * 1024, "{largest} bytes");
    let summary = &run.state.evaluated.as_ref().unwrap().summary;
    assert_eq!((summary.total(), summary.mean()), (1_000_000, Some(0.5)));
    assert_eq!(run.created.len(), 2000);
}

#[test]
fn an_evaluate_job_takes_the_first_cases_in_the_order_of_the_file() {
    let mut spec = spec(project(), 10, 100, 0);
    spec.goal = JobGoal::Evaluate {
        split: Split::Val,
        cases: Some(40),
        sample: 2,
    };
    let run = Run::new(World::new(1), spec, 1).finish(Order::Calm);
    let evaluated = run.state.evaluated.as_ref().unwrap();
    assert_eq!(evaluated.evaluation.order_seed, None);
    assert_eq!(evaluated.evaluation.sample, 2);
    assert_eq!(evaluated.summary.total(), 40);
    assert!(run.decisions.is_empty());
    assert_eq!(run.job, JobId::at(1, [1; 10]));
}
