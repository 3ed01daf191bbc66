//! Blocks over the real store: what is run, what is stored, how they stop.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::case::Split;
use fapo_domain::model::evaluation::{Block, CacheUse};
use fapo_domain::model::job::{JobGoal, JobSpec};
use fapo_domain::model::task::Topic;
use fapo_domain::model::trace::{RunStatus, StepRecord};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::ledger::{Amount, Ledger, LedgerError, ReservationId};
use fapo_domain::ports::models::{MeteredError, ModelError};
use fapo_domain::ports::pipelines::{CaseRun, PipelineRunner, StepObserver};
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::TaskHandler;
use fapo_domain::{MicroUsd, Retry};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::house::{House, cases};
use super::script::{Script, last, say, unreachable};
use super::stage::tree;

const ONE: &str = "
steps:
  - { id: find, kind: retrieve, query: '{{ question }}', k: 1 }
  - { id: out, kind: llm, prompt: prompts/out.md }
output: out
";

fn one() -> VariantTree {
    tree(
        ONE,
        &[("out", "{{ question }} in {{ steps.find.docs[0].doc_id }}")],
    )
}

#[tokio::test]
async fn a_block_is_run_stored_and_not_run_again() {
    let house = House::new(12, |_| {}, |cache| Script::echo().with_cache(cache)).await;
    assert_eq!(house.service.topic(), Topic::Execute);
    let variant = house.store.put_variant(&one()).await.unwrap();
    let mut evaluation = house.evaluation(variant, Split::Val);
    evaluation.order_seed = Some(3);
    let block = Block { start: 0, end: 8 };
    let task = house.claimed(&evaluation, block, 0).await;
    let executed = house.handle(&task).await.unwrap();
    assert_eq!((executed.completed, executed.missing), (8, 0));
    assert_eq!(executed.spend.model_calls, 8);
    let ordinals = evaluation.ordinals(12, 0..8);
    let runs = house
        .store
        .runs(evaluation.id(), &ordinals, StepsOf::All)
        .await
        .unwrap();
    assert_eq!(runs.len(), 8);
    for (run, ordinal) in runs.iter().zip(&ordinals) {
        assert_eq!((run.ordinal, run.status), (*ordinal, RunStatus::Completed));
        assert_eq!(run.case_id.as_str(), format!("val-{ordinal}"));
        assert!(
            run.output_text
                .as_ref()
                .unwrap()
                .starts_with(&format!("question {ordinal} "))
        );
        assert_eq!(run.steps.len(), 2);
    }
    assert_eq!(house.script.asked().len(), 8);
    // nothing was there before, so nothing was looked up
    assert_eq!(house.script.look_ups(), 0);
    // claimed again: everything is there
    let again = house.claim(task.id).await;
    assert_eq!(again.epoch, 2);
    let executed = house.handle(&again).await.unwrap();
    assert_eq!((executed.completed, executed.spend.model_calls), (8, 0));
    // the first claim's writes are refused from now on
    let stale = house.store.record_runs(Some(task.fence()), runs).await;
    assert!(stale.is_err());
    assert!(house.script.asked().is_empty());
}

/// What is kept when a claim ends counts as lost.
#[tokio::test]
async fn a_call_keeps_its_room_while_others_follow_and_the_block_gives_the_rest_back() {
    let alone = |spec: &mut JobSpec| spec.project.execution.concurrency = 1;
    let house = House::new(3, alone, |_| Script::echo()).await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let evaluation = house.evaluation(variant, Split::Val);
    let task = house
        .claimed(&evaluation, Block { start: 0, end: 3 }, 0)
        .await;
    house.handle(&task).await.unwrap();
    // the last case's last call is followed by none
    assert_eq!(house.script.kept(), (vec![true, true, false], vec![3]));
}

#[tokio::test]
async fn cases_under_way_stay_within_the_bound_over_all_blocks() {
    let house = House::new(
        24,
        |spec| spec.project.execution.concurrency = 3,
        |_| Script::echo().slow(Duration::from_millis(2)),
    )
    .await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let evaluation = house.evaluation(variant, Split::Train);
    let first = house
        .claimed(&evaluation, Block { start: 0, end: 12 }, 0)
        .await;
    let second = house
        .claimed(&evaluation, Block { start: 12, end: 24 }, 0)
        .await;
    let (first, second) = futures::join!(house.handle(&first), house.handle(&second));
    assert_eq!(first.unwrap().completed + second.unwrap().completed, 24);
    assert_eq!(house.script.peak(), 3);
}

#[tokio::test]
async fn a_stop_ends_soon_keeps_what_is_done_and_goes_on_later() {
    let hold = Arc::new(Notify::new());
    let held = Arc::clone(&hold);
    let house = House::new(
        6,
        |spec| spec.project.execution.concurrency = 2,
        |cache| Script::echo().held(held).with_cache(cache),
    )
    .await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let evaluation = house.evaluation(variant, Split::Train);
    let task = house
        .claimed(&evaluation, Block { start: 0, end: 6 }, 0)
        .await;
    let stop = CancellationToken::new();
    let work = house.service.handle(&task, &stop);
    let conduct = async {
        while house.script.under_way() < 2 {
            tokio::task::yield_now().await;
        }
        hold.notify_one();
        while house.script.asked_so_far() < 3 {
            tokio::task::yield_now().await;
        }
        // one is done, two are under way; of these one still gets its reply
        stop.cancel();
        hold.notify_one();
    };
    let (result, ()) = futures::join!(work, conduct);
    assert_eq!(result.unwrap_err().reason, "INTERRUPTED");
    let runs = house.runs(&evaluation).await;
    assert_eq!(runs.len(), 2, "{runs:#?}");
    assert!(runs.iter().all(|run| run.status == RunStatus::Completed));
    assert_eq!(house.script.under_way(), 0);

    let again = house.claim(task.id).await;
    let release = async {
        loop {
            hold.notify_one();
            tokio::task::yield_now().await;
        }
    };
    let executed = tokio::select! {
        executed = house.handle(&again) => executed.unwrap(),
        () = release => unreachable!(),
    };
    assert_eq!(executed.completed, 6);
}

#[tokio::test]
async fn a_used_up_budget_leaves_the_rest_missing_and_says_so() {
    let house = House::new(
        10,
        |spec| spec.project.execution.concurrency = 2,
        |_| {
            let calls = std::sync::atomic::AtomicUsize::new(0);
            Script::new(move |request| {
                if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 4 {
                    return say(last(request));
                }
                Err(MeteredError::Budget(LedgerError::Exhausted {
                    what: "nothing is left".to_owned(),
                    may_fit_later: false,
                }))
            })
        },
    )
    .await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let evaluation = house.evaluation(variant, Split::Train);
    let (executed, runs) = house.evaluate(&evaluation).await;
    assert_eq!((executed.completed, executed.missing), (4, 6));
    assert!(executed.budget_exhausted);
    assert!(
        house.script.asked().len() <= 6,
        "no further case was started"
    );
    let missing: Vec<_> = runs
        .iter()
        .filter(|run| run.status == RunStatus::Missing)
        .collect();
    assert_eq!(missing.len(), 6);
    assert!(
        missing
            .iter()
            .all(|run| run.reason.as_deref() == Some("budget"))
    );
}

#[tokio::test]
async fn a_wrong_setup_ends_the_block_at_once_with_its_message() {
    let house = House::new(
        40,
        |spec| spec.project.execution.concurrency = 2,
        |_| {
            Script::new(|_| {
                Err(ModelError::NoKey {
                    entry: "task".to_owned(),
                    variable: "SOME_KEY".to_owned(),
                }
                .into())
            })
        },
    )
    .await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let evaluation = house.evaluation(variant, Split::Train);
    let task = house
        .claimed(&evaluation, Block { start: 0, end: 40 }, 0)
        .await;
    let error = house.handle(&task).await.unwrap_err();
    assert_eq!((error.reason, error.retry), ("MODEL_NO_KEY", Retry::Never));
    assert!(error.to_string().contains("SOME_KEY"), "{error}");
    assert!(house.script.asked().len() <= 3);
    assert!(house.runs(&evaluation).await.is_empty());
}

#[tokio::test]
async fn an_endpoint_nobody_answers_at_is_a_bounded_error_that_names_it() {
    let house = House::new(
        40,
        |spec| spec.project.execution.concurrency = 2,
        |_| Script::new(|_| unreachable()),
    )
    .await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let evaluation = house.evaluation(variant, Split::Train);
    let block = Block { start: 0, end: 40 };
    let task = house.claimed(&evaluation, block, 0).await;
    let error = house.handle(&task).await.unwrap_err();
    assert_eq!(error.reason, "MODEL_UNAVAILABLE");
    assert_ne!(error.retry, Retry::Never);
    assert!(error.to_string().contains("nowhere.example:9"), "{error}");
    assert!(
        house.script.asked().len() <= 10,
        "the block was given up early"
    );
    assert!(
        house
            .runs(&evaluation)
            .await
            .iter()
            .all(|run| run.status == RunStatus::Missing)
    );
    // a later round is the policy's matter
    let later = house.claimed(&evaluation, block, 1).await;
    let executed = house.handle(&later).await.unwrap();
    assert_eq!((executed.completed, executed.missing), (0, 40));
}

#[tokio::test]
async fn one_case_without_a_reply_is_missing_and_run_again() {
    let house = House::new(
        3,
        |_| {},
        |_| {
            let calls = std::sync::atomic::AtomicUsize::new(0);
            Script::new(move |request| {
                match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    1 => unreachable(),
                    _ => say(last(request)),
                }
            })
        },
    )
    .await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let evaluation = house.evaluation(variant, Split::Train);
    let (executed, runs) = house.evaluate(&evaluation).await;
    assert_eq!((executed.completed, executed.missing), (2, 1));
    assert_eq!(runs[1].reason.as_deref(), Some("provider_unavailable"));
    let again = house
        .claimed(&evaluation, Block { start: 0, end: 3 }, 1)
        .await;
    let executed = house.handle(&again).await.unwrap();
    assert_eq!((executed.completed, executed.missing), (3, 0));
    assert_eq!(
        house.runs(&evaluation).await[1].status,
        RunStatus::Completed
    );
}

#[tokio::test]
async fn the_sealed_test_is_run_by_its_own_results_only() {
    let house = House::new(4, |_| {}, |cache| Script::echo().with_cache(cache)).await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let mut evaluation = house.evaluation(variant, Split::Test);
    let whole = Block { start: 0, end: 4 };
    let task = house.claimed(&evaluation, whole, 0).await;
    assert_eq!(house.handle(&task).await.unwrap_err().reason, "TEST_SEALED");
    // the same questions were asked before, by hand
    for case in cases(4, Split::Test) {
        let spec = &house.spec;
        house
            .service
            .run_case(house.job, spec, &one(), &case, false, None)
            .await
            .unwrap();
    }
    assert_eq!(house.script.asked().len(), 4);
    evaluation.cache = CacheUse::Own;
    let (executed, runs) = house.evaluate(&evaluation).await;
    assert_eq!((executed.completed, executed.spend.model_calls), (4, 4));
    assert!(runs.iter().all(|run| !run.steps[1].cache_hit));
    assert_eq!(house.script.asked().len(), 4);
}

#[tokio::test]
async fn an_evaluate_job_may_look_at_its_test_split() {
    let change = |spec: &mut JobSpec| {
        spec.goal = JobGoal::Evaluate {
            split: Split::Test,
            cases: None,
            sample: 0,
        };
    };
    let house = House::new(2, change, |_| Script::echo()).await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let (executed, _) = house
        .evaluate(&house.evaluation(variant, Split::Test))
        .await;
    assert_eq!(executed.completed, 2);
}

#[tokio::test]
async fn what_earlier_claims_left_reserved_is_closed() {
    let house = House::new(2, |_| {}, |_| Script::echo()).await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let evaluation = house.evaluation(variant, Split::Train);
    let first = house
        .claimed(&evaluation, Block { start: 0, end: 2 }, 0)
        .await;
    let amount = Amount {
        cost: MicroUsd(50),
        model_calls: 1,
    };
    let id = ReservationId::from(first.fence());
    house.store.reserve(house.job, id, amount).await.unwrap();
    let second = house.claim(first.id).await;
    house.handle(&second).await.unwrap();
    let balance = house.store.balance(house.job).await.unwrap();
    assert_eq!(
        (balance.reserved, balance.lost),
        (Amount::default(), amount)
    );
}

#[tokio::test]
async fn a_single_case_runs_by_hand_from_the_cache_or_afresh() {
    let house = House::new(1, |_| {}, |cache| Script::echo().with_cache(cache)).await;
    let case = &cases(1, Split::Train)[0];
    let run = async |fresh| {
        let service = &house.service;
        service
            .run_case(house.job, &house.spec, &one(), case, fresh, None)
            .await
            .unwrap()
    };
    let first = run(false).await;
    assert_eq!(
        first.output_text.as_deref(),
        Some("question 0 hunts in fox")
    );
    assert!(!first.steps[1].cache_hit);
    assert!(run(false).await.steps[1].cache_hit);
    assert!(!run(true).await.steps[1].cache_hit);
    assert_eq!(house.script.asked().len(), 2);
}

#[tokio::test]
async fn a_case_run_for_a_claim_is_booked_under_it_and_leaves_its_reservation_alone() {
    let house = House::new(1, |_| {}, |_| Script::echo()).await;
    let variant = house.store.put_variant(&one()).await.unwrap();
    let evaluation = house.evaluation(variant, Split::Train);
    let claim = house
        .claimed(&evaluation, Block { start: 0, end: 1 }, 0)
        .await;
    let amount = Amount {
        cost: MicroUsd(50),
        model_calls: 1,
    };
    let id = ReservationId::from(claim.fence());
    house.store.reserve(house.job, id, amount).await.unwrap();
    let case = &cases(1, Split::Train)[0];
    let run = async |payer| {
        let service = &house.service;
        service
            .run_case(house.job, &house.spec, &one(), case, true, payer)
            .await
            .unwrap()
    };
    run(Some(claim.fence())).await;
    run(None).await;
    let payers = house.script.payers();
    assert_eq!(payers[0], claim.fence());
    assert_ne!(payers[1], claim.fence());
    // nothing is kept for calls that do not follow
    assert_eq!(house.script.kept().0, [false, false]);
    let balance = house.store.balance(house.job).await.unwrap();
    assert_eq!(
        (balance.reserved, balance.lost),
        (amount, Amount::default())
    );
}

#[tokio::test]
async fn whoever_observes_a_run_hears_of_each_step_as_it_ends() {
    struct Heard(std::sync::Mutex<Vec<StepRecord>>);
    impl StepObserver for Heard {
        fn step_ended(&self, step: &StepRecord) {
            self.0.lock().unwrap().push(step.clone());
        }
    }
    let house = House::new(1, |_| {}, |_| Script::echo()).await;
    let heard = Arc::new(Heard(std::sync::Mutex::default()));
    let run = CaseRun {
        job: house.job,
        spec: &house.spec,
        tree: &one(),
        case: &cases(1, Split::Train)[0],
        fresh: true,
        payer: None,
    };
    let observer = Arc::clone(&heard);
    let run = house
        .service
        .run_case_observed(run, observer)
        .await
        .unwrap();
    // steps without steps of their own are whole when they end
    assert_eq!(*heard.0.lock().unwrap(), run.steps);
    assert!(run.steps.iter().all(|step| step.output.is_some()));
}
