//! Blocks scored by the project's own code.

use std::sync::atomic::{AtomicBool, Ordering};

use fapo_domain::ports::code::CodeError;

use super::*;

fn own() -> Value {
    json!({"metric": "python", "file": "scorers/own.py"})
}

fn unavailable(file: &str, configuration: bool) -> CodeError {
    CodeError::Unavailable {
        file: file.to_owned(),
        message: "no worker".to_owned(),
        configuration,
    }
}

#[tokio::test]
async fn a_block_is_scored_by_the_code_that_the_job_began_with() -> anyhow::Result<()> {
    let workers = ScriptedCode::new(|unit, run| {
        assert_eq!(&*unit.files["scorers/own.py"], b"frozen with the job");
        let number = run["case"]["input"]["n"].as_u64().unwrap();
        // the answers come in any order and are put to their own cases
        Ok(json!(f64::from(u32::try_from(number).unwrap()) / 100.0))
    });
    let world = World::scoring(own(), workers).await?;
    let evaluation = world.evaluation(b"v", None);
    world.record(&evaluation, |_| Some("yes"), 0..CASES).await?;
    let summary = world.score(&evaluation, "block").await?;
    assert_eq!(summary.count(ScoreStatus::Scored), CASES);
    let stored = world.store.scores(evaluation.id(), 0, 100).await?;
    for (number, one) in stored.iter().enumerate() {
        assert_eq!(one.score.score, number as f64 / 100.0);
    }
    Ok(())
}

#[tokio::test]
async fn a_case_that_no_worker_was_there_for_is_missing_and_can_be_scored_later()
-> anyhow::Result<()> {
    let gone = Arc::new(AtomicBool::new(true));
    let there = Arc::clone(&gone);
    let workers = ScriptedCode::new(move |unit, run| {
        let third = run["case"]["input"]["n"].as_u64().unwrap() % 3 == 0;
        if third && there.load(Ordering::Relaxed) {
            return Err(unavailable(&unit.file, false));
        }
        Ok(json!(1))
    });
    let world = World::scoring(own(), workers).await?;
    let evaluation = world.evaluation(b"v", None);
    world.record(&evaluation, |_| Some("yes"), 0..CASES).await?;
    let summary = world.score(&evaluation, "block").await?;
    assert_eq!(summary.count(ScoreStatus::Missing), CASES.div_ceil(3));
    assert_eq!(summary.mean(), Some(1.0), "missing is never a zero");
    gone.store(false, Ordering::Relaxed);
    let again = world.score(&evaluation, "block, round 1").await?;
    assert_eq!(again.count(ScoreStatus::Scored), CASES);
    Ok(())
}

#[tokio::test]
async fn without_a_single_worker_the_task_fails_with_their_name() -> anyhow::Result<()> {
    for (configuration, may_pass) in [(false, true), (true, false)] {
        let workers = ScriptedCode::new(move |unit, _| Err(unavailable(&unit.file, configuration)));
        let world = World::scoring(own(), workers).await?;
        let evaluation = world.evaluation(b"v", None);
        world.record(&evaluation, |_| Some("yes"), 0..CASES).await?;
        let error = world.score(&evaluation, "block").await.unwrap_err();
        let error = error.downcast::<WorkError>()?;
        assert_eq!(error.reason, "CODE_UNAVAILABLE");
        assert_eq!(error.retry != Retry::Never, may_pass);
    }
    Ok(())
}

#[tokio::test]
async fn a_stop_does_not_wait_for_code() -> anyhow::Result<()> {
    let hour = Duration::from_secs(3600);
    let workers = ScriptedCode::new(|_, _| Ok(json!(1))).slow(hour, Duration::ZERO);
    let world = World::scoring(own(), workers).await?;
    let evaluation = world.evaluation(b"v", None);
    world.record(&evaluation, |_| Some("yes"), 0..CASES).await?;
    let stop = world.stop.clone();
    let (scored, ()) = tokio::join!(world.score(&evaluation, "block"), async {
        tokio::task::yield_now().await;
        stop.cancel();
    });
    let error = scored.unwrap_err().downcast::<WorkError>()?;
    assert_eq!(error.reason, "INTERRUPTED");
    Ok(())
}
