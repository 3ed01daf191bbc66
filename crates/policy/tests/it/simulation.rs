//! Thousands of jobs in made-up worlds.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::VariantId;
use fapo_domain::model::decision::{DecisionKind, GateOutcome, Refuser};
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::level::Level;
use fapo_domain::model::project::AcceptanceRule;
use fapo_domain::model::proposal::ReviewVerdict;
use fapo_policy::stage::StagePurpose;
use fapo_policy::{Event, Phase};
use proptest::prelude::*;

use crate::run::{Order, Run, project, spec};
use crate::world::World;

#[derive(Debug, Clone)]
struct Setting {
    seed: u64,
    faults: (f64, f64, f64),
    trouble: f64,
    reviewer: Option<(f64, f64, f64)>,
    missing: (f64, f64),
    parallel: u32,
    proposals: u32,
    cases: (u64, u64, u64),
    allow: Vec<Level>,
    mean_rule: bool,
    repeats: u32,
    usd: Option<f64>,
}

fn settings() -> impl Strategy<Value = Setting> {
    let shares = (0.0..0.4f64, 0.0..0.3f64, 0.0..0.3f64);
    let levels = prop::sample::subsequence(Level::ALL.to_vec(), 1..=3);
    (
        (any::<u64>(), shares, prop_oneof![Just(0.0), 0.0..0.8f64]),
        (
            prop_oneof![Just((0.0, 0.0)), (0.0..0.2f64, 0.0..0.12f64)],
            1..4u32,
            0..14u32,
        ),
        (
            (1..120u64, 1..120u64, 0..60u64),
            levels,
            any::<bool>(),
            1..4u32,
        ),
        prop_oneof![3 => Just(None), 1 => (0.0..0.5f64).prop_map(Some)],
        prop_oneof![
            1 => Just(None),
            2 => (0.0..0.6f64, 0.0..0.3f64, 0.0..0.1f64).prop_map(Some)
        ],
    )
        .prop_map(
            |(
                (seed, faults, trouble),
                (missing, parallel, proposals),
                (cases, allow, mean_rule, repeats),
                usd,
                reviewer,
            )| Setting {
                seed,
                faults,
                trouble,
                reviewer,
                missing,
                parallel,
                proposals,
                cases,
                allow,
                mean_rule,
                repeats,
                usd,
            },
        )
}

fn run(setting: &Setting, job: u8, order: Order) -> Run {
    let (prompt, parameter, structure) = setting.faults;
    let mut world = World::with_faults(setting.seed, prompt, parameter, structure);
    world.trouble = setting.trouble;
    world.reviewer = setting.reviewer;
    world.missing = setting.missing;
    let mut project = project();
    project.seed = setting.seed;
    project.scope.allow = setting.allow.clone();
    project.proposer.parallel = setting.parallel;
    project.budget.proposals = setting.proposals;
    project.budget.usd = setting.usd;
    project.acceptance.test_repeats = setting.repeats;
    if setting.mean_rule {
        project.acceptance.rule = AcceptanceRule::Mean;
    }
    let (train, val, test) = setting.cases;
    Run::new(world, spec(project, train, val, test), job).finish(order)
}

/// What must hold of every job that ended.
fn check(run: &Run) -> Result<(), TestCaseError> {
    let project = &run.spec.project;
    prop_assert_eq!(run.state.phase, Phase::Finished);
    prop_assert!(run.state.proposals_asked <= project.budget.proposals);
    prop_assert!(matches!(run.status, JobStatus::Done | JobStatus::Failed));
    prop_assert!(run.opened.len() <= 1);

    let mut incumbent = run.spec.baseline;
    let mut open = None;
    for decision in &run.decisions {
        prop_assert!(!decision.reason.is_empty() && !decision.reason.contains('\n'));
        match &decision.what {
            DecisionKind::Gate {
                candidate,
                parent,
                outcome: GateOutcome::Promote,
                comparison,
                ..
            } => {
                let comparison = comparison.as_ref().expect("a promotion has a statistic");
                prop_assert_eq!(
                    *parent,
                    incumbent,
                    "compared with the incumbent of the moment"
                );
                prop_assert!(comparison.coverage() >= project.acceptance.coverage);
                prop_assert!(comparison.gain > 0.0);
                prop_assert!(comparison.gain >= project.acceptance.min_gain);
                if project.acceptance.rule == AcceptanceRule::PairedBootstrap {
                    prop_assert!(comparison.p_value <= project.acceptance.alpha);
                }
                incumbent = *candidate;
            }
            DecisionKind::LevelOpened { level } => {
                prop_assert!(project.scope.allow.contains(level));
                open = Some(*level);
            }
            DecisionKind::LevelLeft { level, .. } => prop_assert_eq!(open, Some(*level)),
            DecisionKind::Gate { .. }
            | DecisionKind::Refusal { .. }
            | DecisionKind::SentBack { .. }
            | DecisionKind::LevelSkipped { .. }
            | DecisionKind::Stopped { .. }
            | DecisionKind::TestSkipped => {}
        }
    }
    prop_assert_eq!(run.state.incumbent.variant, incumbent);
    let stops = run.decided(|what| matches!(what, DecisionKind::Stopped { .. }));
    prop_assert_eq!(stops.len(), 1);
    for row in &run.lineage[1..] {
        prop_assert_eq!(
            row.level,
            run.world
                .quality(row.child)
                .technique
                .map(|one| one.level())
        );
        prop_assert!(
            row.level
                .is_some_and(|level| project.scope.allow.contains(&level))
        );
    }
    let stage_ends = run
        .events
        .iter()
        .filter(|event| matches!(event, Event::StageDone { .. }));
    let stage_starts = run
        .events
        .iter()
        .filter(|event| matches!(event, Event::StageStarted { .. }));
    prop_assert_eq!(stage_ends.count(), stage_starts.count());
    check_reviews(run)
}

/// What must hold of reviews: what failed is never run, each proposal is sent back once at most, and who was sent back is
/// heard of again.
fn check_reviews(run: &Run) -> Result<(), TestCaseError> {
    let mut asked: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let mut failed: BTreeSet<(u32, VariantId)> = BTreeSet::new();
    for event in &run.events {
        match event {
            Event::ProposalAsked {
                iteration, slot, ..
            } => *asked.entry((*iteration, *slot)).or_default() += 1,
            Event::Reviewed {
                iteration,
                candidate,
                verdict: ReviewVerdict::Fail,
                ..
            } => {
                failed.insert((*iteration, *candidate));
            }
            Event::StageStarted {
                purpose: StagePurpose::Screen { iteration, .. },
                variant,
                ..
            } => prop_assert!(!failed.contains(&(*iteration, *variant)), "{}", run.log()),
            _ => {}
        }
    }
    prop_assert!(asked.values().all(|times| *times <= 2));
    let proposals = u32::try_from(asked.len()).unwrap();
    prop_assert_eq!(proposals, run.state.proposals_asked);
    let sent_back = run.decided(|what| matches!(what, DecisionKind::SentBack { .. }));
    let revisions: u32 = asked.values().map(|times| times - 1).sum();
    prop_assert_eq!(sent_back.len(), revisions as usize);
    let by_reviewer = |what: &DecisionKind| {
        matches!(
            what,
            DecisionKind::Refusal {
                by: Refuser::Reviewer,
                ..
            }
        )
    };
    for decision in run.decided(by_reviewer) {
        prop_assert_eq!(&decision.evidence["review"]["verdict"], "fail");
        prop_assert!(decision.evidence["review"]["prompt_hash"].is_string());
    }
    let reviewed = run
        .events
        .iter()
        .any(|event| matches!(event, Event::Reviewed { .. }));
    prop_assert!(run.world.reviewer.is_some() || !reviewed);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_interleaving_ends_alike_and_keeps_the_rules(setting in settings(), orders: [u64; 3]) {
        let calm = run(&setting, 1, Order::Calm);
        check(&calm)?;
        for (number, order) in (2u8..).zip(orders) {
            let wild = run(&setting, number, Order::Wild(order));
            check(&wild)?;
            prop_assert_eq!(wild.hash(), calm.hash(), "\n{}\n{}", calm.log(), wild.log());
            prop_assert_eq!(wild.status, calm.status);
            prop_assert_eq!(&wild.opened, &calm.opened);
            prop_assert_eq!(wild.state.test.is_some(), calm.state.test.is_some());
            prop_assert_eq!(wild.state.proposals_asked, calm.state.proposals_asked);
        }
    }
}

#[test]
fn another_job_of_the_same_project_decides_alike() {
    let setting = Setting {
        seed: 3,
        faults: (0.3, 0.0, 0.2),
        trouble: 0.2,
        reviewer: Some((0.3, 0.2, 0.0)),
        missing: (0.0, 0.0),
        parallel: 2,
        proposals: 12,
        cases: (80, 80, 20),
        allow: Level::ALL.to_vec(),
        mean_rule: false,
        repeats: 1,
        usd: None,
    };
    let one = run(&setting, 1, Order::Calm);
    let two = run(&setting, 2, Order::Calm);
    assert_eq!(one.hash(), two.hash());
    let other = Setting { seed: 4, ..setting };
    assert_ne!(one.hash(), run(&other, 1, Order::Calm).hash());
}
