//! What the reviewer's word does: one revision, then evaluated or dropped.

use fapo_domain::ids::TaskId;
use fapo_domain::model::decision::{DecisionKind, Refuser};
use fapo_domain::model::proposal::{AttemptOutcome, ReviewVerdict};
use fapo_domain::model::task::TaskPayload;
use fapo_policy::{Event, Phase, keys};

use crate::run::{Order, Run, project, spec};
use crate::world::World;

/// A job whose reviewer fails, warns and says nothing usable so often.
fn run(reviewer: (f64, f64, f64), trouble: f64) -> Run {
    let world = World {
        reviewer: Some(reviewer),
        trouble,
        ..World::with_faults(5, 0.3, 0.0, 0.2)
    };
    let mut project = project();
    project.budget.proposals = 6;
    Run::new(world, spec(project, 64, 64, 16), 1).finish(Order::Wild(3))
}

fn asked(run: &Run) -> Vec<(u32, u32)> {
    run.events
        .iter()
        .filter_map(|event| match event {
            Event::ProposalAsked {
                iteration,
                revision,
                ..
            } => Some((*iteration, *revision)),
            _ => None,
        })
        .collect()
}

fn refusals(run: &Run, by: Refuser) -> Vec<String> {
    run.decided(|what| matches!(what, DecisionKind::Refusal { by: who, .. } if *who == by))
        .iter()
        .map(|decision| decision.reason.clone())
        .collect()
}

#[test]
fn what_fails_is_revised_once_and_then_dropped_with_the_findings() {
    let run = run((1.0, 0.0, 0.0), 0.0);
    assert_eq!(run.state.proposals_asked, 6);
    let asked = asked(&run);
    let expected: Vec<(u32, u32)> = (1..=6).flat_map(|i| [(i, 0), (i, 1)]).collect();
    assert_eq!(asked, expected);
    let refusals = refusals(&run, Refuser::Reviewer);
    assert_eq!(refusals.len(), 6);
    let wanted = "refused by the reviewer, after one revision: over_specific at prompts/answer.md: names one town";
    assert!(
        refusals.iter().all(|reason| reason == wanted),
        "{refusals:?}"
    );
    for candidate in &run.state.candidates {
        assert_eq!(candidate.attempt.outcome, AttemptOutcome::Refused);
        assert!(candidate.attempt.reason.contains("names one town"));
    }
    // nothing of it was evaluated
    assert_eq!(run.lineage.len(), 1);
}

#[test]
fn a_revision_that_the_reviewer_lets_pass_is_evaluated_in_its_place() {
    let run = run((0.5, 0.0, 0.0), 0.0);
    let revised: Vec<_> = run
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Reviewed {
                revision: 1,
                verdict: ReviewVerdict::Pass,
                candidate,
                ..
            } => Some(*candidate),
            _ => None,
        })
        .collect();
    assert!(!revised.is_empty(), "{}", run.log());
    for candidate in revised {
        assert!(run.lineage.iter().any(|row| row.child == candidate));
    }
}

#[test]
fn a_warning_goes_on_and_stands_in_the_decision_and_the_history() {
    let run = run((0.0, 1.0, 0.0), 0.0);
    let gates = run.decided(|what| matches!(what, DecisionKind::Gate { .. }));
    assert!(!gates.is_empty());
    for gate in gates {
        let review = &gate.evidence["review"];
        assert_eq!(review["verdict"], "warn");
        assert_eq!(review["findings"][0]["check"], "over_specific");
        assert!(gate.evidence["proposer"]["prompt_hash"].is_string());
    }
    for candidate in &run.state.candidates {
        let reason = &candidate.attempt.reason;
        assert!(
            reason.contains("; the reviewer warned: over_specific"),
            "{reason}"
        );
    }
}

#[test]
fn a_reviewer_out_of_order_promotes_nothing_and_asks_for_no_revision() {
    let run = run((0.0, 0.0, 1.0), 0.0);
    assert!(asked(&run).iter().all(|(_, revision)| *revision == 0));
    let refusals = refusals(&run, Refuser::Reviewer);
    assert_eq!(refusals.len(), 6, "{}", run.log());
    assert!(refusals[0].contains("no usable verdict"), "{refusals:?}");
    assert_eq!(run.state.incumbent.variant, run.spec.baseline);
}

#[test]
fn what_the_lints_refuse_stays_refused_whatever_the_reviewer_says() {
    // the world's reviewer passes everything, also what its lints refuse
    let run = run((0.0, 0.0, 0.0), 0.8);
    let mut refused = Vec::new();
    for event in &run.events {
        if let Event::Linted {
            iteration,
            candidate,
            refusals,
            ..
        } = event
            && !refusals.is_empty()
        {
            refused.push((*iteration, *candidate));
        }
    }
    assert!(!refused.is_empty());
    for event in &run.events {
        if let Event::Reviewed {
            iteration,
            candidate,
            ..
        } = event
        {
            assert!(!refused.contains(&(*iteration, *candidate)));
        }
    }
    assert!(!refusals(&run, Refuser::Lints).is_empty());
}

#[test]
fn a_first_answer_that_comes_again_is_not_taken_for_the_revision() {
    let world = World {
        reviewer: Some((1.0, 0.0, 0.0)),
        ..World::new(5)
    };
    let mut run = Run::new(world, spec(project(), 16, 16, 0), 1);
    run.drive_until(Order::Calm, |run| {
        run.state.phase == Phase::Proposing && run.state.slots[0].revision == 1
    });
    let revision = run.queued.pop().unwrap();
    let TaskPayload::Propose(task) = &revision.payload else {
        panic!("{:?}", revision.payload);
    };
    let mut first = task.clone();
    first.revise = None;
    let first = TaskPayload::Propose(first);
    let (kind, key) = keys::key(&first, 16);
    let id = TaskId::derive(run.job, kind, &key);
    assert_ne!(id, revision.id);
    let result = run.world.result(&first);
    run.finished.push(fapo_domain::model::task::FinishedTask {
        id,
        payload: first,
        state: fapo_domain::model::task::TaskState::Done,
        result: Some(result),
        reason: None,
    });
    let before = run.state.clone();
    let inputs = std::mem::take(&mut run.finished);
    let next = fapo_policy::advance(
        run.job,
        &run.spec,
        run.state.clone(),
        &inputs,
        &run.balance,
        false,
        run.elapsed_ms,
    );
    assert_eq!(next.state, before);
    assert!(next.tasks.is_empty());
}
