use std::collections::VecDeque;

use super::*;

fn unavailable() -> Failure {
    Failure::Unavailable {
        message: "down".into(),
        retry_after: None,
    }
}

fn overloaded(seconds: Option<u64>) -> Failure {
    Failure::Overloaded {
        status: 429,
        retry_after: seconds.map(Duration::from_secs),
    }
}

/// Runs a script of failures, then success; returns the outcome and the time of each try.
async fn play(failures: Vec<Failure>, attempts: u32) -> (Result<u32, GaveUp>, Vec<Duration>) {
    let limiter = Limiter::new(8);
    let jitter = Jitter::new(1);
    let mut script = VecDeque::from(failures);
    let start = Instant::now();
    let mut times = Vec::new();
    let result = run(&limiter, None, &jitter, attempts, &Waits::default(), || {
        times.push(start.elapsed());
        std::future::ready(script.pop_front().map_or(Ok(()), Err))
    })
    .await
    .map(|done| done.attempts);
    assert_eq!(limiter.snapshot().in_flight, 0);
    (result, times)
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_tried_again_with_growing_bounded_waits() {
    let (result, times) = play(vec![unavailable(); 9], 10).await;
    assert_eq!(result.unwrap(), 10);
    for (index, pair) in times.windows(2).enumerate() {
        let bound = BASE.saturating_mul(1 << index).min(CEILING);
        // tokio's timer rounds up to whole milliseconds
        assert!(pair[1] - pair[0] <= bound + Duration::from_millis(1));
    }
}

#[tokio::test(start_paused = true)]
async fn lasting_failures_are_tried_once() {
    for failure in [
        Failure::Rejected {
            status: 400,
            message: String::new(),
        },
        Failure::TooLarge,
    ] {
        let (result, times) = play(vec![failure], 5).await;
        assert_eq!(result.unwrap_err().attempts, 1);
        assert_eq!(times.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_the_limit() {
    let (result, times) = play(vec![Failure::Timeout; 9], 3).await;
    let gave_up = result.unwrap_err();
    assert_eq!((gave_up.attempts, gave_up.failure), (3, Failure::Timeout));
    assert_eq!(times.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_out_with_a_little_spread() {
    let (result, times) = play(vec![overloaded(Some(20))], 5).await;
    assert_eq!(result.unwrap(), 2);
    let waited = times[1].as_secs_f64();
    assert!((20.0..20.6).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_hours_fails_at_once_and_for_later_callers_too() {
    let limiter = Limiter::new(8);
    let jitter = Jitter::new(1);
    let mut calls = 0;
    for _ in 0..3 {
        let result: Result<Done<()>, _> =
            run(&limiter, None, &jitter, 5, &Waits::default(), || {
                calls += 1;
                std::future::ready(Err(overloaded(Some(3600))))
            })
            .await;
        assert!(matches!(
            result.unwrap_err().failure,
            Failure::Overloaded { retry_after: Some(wait), .. } if wait > Duration::from_secs(3500)
        ));
    }
    assert_eq!(calls, 1, "the provider is left alone");
}

#[tokio::test(start_paused = true)]
async fn tries_that_may_have_been_billed_are_told_apart() {
    let limiter = Limiter::new(8);
    let mut script = VecDeque::from([
        unavailable(),
        Failure::Timeout,
        Failure::CutOff {
            message: String::new(),
        },
        Failure::Malformed {
            message: String::new(),
        },
    ]);
    let call = || std::future::ready(script.pop_front().map_or(Ok(()), Err));
    let done = run(&limiter, None, &Jitter::new(1), 5, &Waits::default(), call).await;
    let done = done.unwrap();
    assert_eq!((done.attempts, done.unanswered), (5, 3));
}

#[tokio::test(start_paused = true)]
async fn giving_up_counts_every_try_that_may_have_been_billed_whichever_was_the_last() {
    let paused = overloaded(Some(3600));
    for (failures, unanswered) in [
        (vec![Failure::Timeout, unavailable()], 1),
        (vec![unavailable(), Failure::Timeout], 1),
        (vec![Failure::Timeout, paused], 1),
        (vec![Failure::Timeout, Failure::TooLarge], 2),
        (vec![unavailable(), overloaded(None)], 0),
    ] {
        let (result, _) = play(failures.clone(), 2).await;
        assert_eq!(result.unwrap_err().unanswered, unanswered, "{failures:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn queues_pauses_and_failed_tries_are_told_as_waits() {
    let limiter = Limiter::new(1);
    let waits = Waits::default();
    let held = limiter.acquire().await.unwrap();
    let mut failed = false;
    let jitter = Jitter::new(1);
    let call = run(&limiter, None, &jitter, 5, &waits, || {
        let fails = !std::mem::replace(&mut failed, true);
        async move {
            tokio::time::sleep(Duration::from_secs(7)).await;
            if fails { Err(unavailable()) } else { Ok(()) }
        }
    });
    let mut call = std::pin::pin!(call);
    assert!(futures::poll!(call.as_mut()).is_pending());
    assert_eq!(waits.watch().borrow().waiting, 1, "in the queue");
    drop(held);
    assert!(futures::poll!(call.as_mut()).is_pending());
    assert_eq!(waits.watch().borrow().waiting, 0, "at the provider");
    let done = call.await.unwrap();
    assert_eq!(done.took, Duration::from_secs(7), "one try and no wait");
    let ended = *waits.watch().borrow();
    assert_eq!((ended.waiting, ended.forgiven), (0, Duration::from_secs(7)));
}

#[tokio::test(start_paused = true)]
async fn waits_depend_on_the_seed_only() {
    let waits = |seed| {
        let jitter = Jitter::new(seed);
        (1..9)
            .map(|attempt| jitter.delay(attempt, None))
            .collect::<Vec<_>>()
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_cancels_it_and_frees_its_slot() {
    let limiter = Limiter::new(1);
    let jitter = Jitter::new(1);
    let waits = Waits::default();
    let call = run(
        &limiter,
        None,
        &jitter,
        5,
        &waits,
        std::future::pending::<Result<(), Failure>>,
    );
    let cancelled = tokio::time::timeout(Duration::from_secs(1), call).await;
    assert!(cancelled.is_err());
    assert_eq!(limiter.snapshot().in_flight, 0);
}
