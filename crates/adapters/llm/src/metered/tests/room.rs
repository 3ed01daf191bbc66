//! What a call leaves reserved for the next one of its claim.

use super::*;

#[tokio::test(start_paused = true)]
async fn calls_of_a_claim_take_over_each_others_room() {
    let (models, memory) = (Arc::new(Scripted::new(99)), Memory::capped(1000));
    let metered = metered(&models, &memory);
    let call = |n: u32| Meter {
        more: true,
        ..meter(&format!("call {n}"), 1)
    };
    for n in 0..5 {
        metered.complete(&ask(), &call(n)).await.unwrap();
    }
    assert_eq!(memory.reservations.load(Ordering::SeqCst), 1);
    assert_eq!((memory.spent(), memory.reserved()), ((200, 5), 100));
    // a failed call passes its room on too
    models
        .outcomes
        .lock()
        .unwrap()
        .push_back(ModelError::Rejected {
            provider: "p".into(),
            status: 400,
            unanswered: 0,
            message: "no".into(),
        });
    metered.complete(&ask(), &call(5)).await.unwrap_err();
    metered.complete(&ask(), &call(6)).await.unwrap();
    assert_eq!(memory.reservations.load(Ordering::SeqCst), 1);
    // another claim has nothing of it
    metered.complete(&ask(), &meter("a", 2)).await.unwrap();
    assert_eq!(memory.reservations.load(Ordering::SeqCst), 2);
    metered.release(JOB, call(0).fence).await.unwrap();
    metered.release(JOB, call(0).fence).await.unwrap();
    assert_eq!((memory.spent(), memory.reserved()), ((280, 7), 0));
}

#[tokio::test(start_paused = true)]
async fn kept_room_gives_way_to_a_call_that_needs_it() {
    // after one call 40 are spent and 100 kept: a call of another claim fits only once that is given back
    let (models, memory) = (Arc::new(Scripted::new(99)), Memory::capped(150));
    let metered = metered(&models, &memory);
    let keeps = Meter {
        more: true,
        ..meter("a", 1)
    };
    metered.complete(&ask(), &keeps).await.unwrap();
    assert_eq!(memory.reserved(), 100);
    let started = Instant::now();
    metered.complete(&ask(), &meter("b", 2)).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO, "nobody had to wait");
    assert_eq!((memory.spent(), memory.reserved()), ((80, 2), 0));
    // and nothing is kept that no longer fits
    let last = Meter {
        more: true,
        ..meter("c", 3)
    };
    let none = metered.complete(&ask(), &last).await.unwrap_err();
    assert!(matches!(none, MeteredError::Budget(_)));
    assert_eq!((memory.spent(), memory.reserved()), ((80, 2), 0));
}

/// Models whose calls cost at most `max_tokens`, and a call that may take so many.
fn by_tokens(open: usize) -> Arc<Scripted> {
    Arc::new(Scripted {
        by_tokens: true,
        ..Scripted::new(open)
    })
}

fn up_to(tokens: u32) -> ModelRequest {
    ModelRequest {
        max_tokens: tokens,
        ..ask()
    }
}

fn keeps(key: &str, epoch: u64) -> Meter {
    Meter {
        more: true,
        ..meter(key, epoch)
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_wait_for_the_room_of_its_own_claim() {
    // 40 are spent and 60 kept: 70 can never fit under 105, whatever is given back
    let (models, memory) = (by_tokens(99), Memory::capped(105));
    let metered = metered(&models, &memory);
    metered.complete(&up_to(60), &keeps("a", 1)).await.unwrap();
    let started = Instant::now();
    let error = metered.complete(&up_to(70), &keeps("b", 1)).await;
    assert!(matches!(
        error,
        Err(MeteredError::Budget(LedgerError::Exhausted {
            may_fit_later: false,
            ..
        }))
    ));
    assert_eq!(started.elapsed(), Duration::ZERO);
    // 65 do
    metered.complete(&up_to(65), &keeps("c", 1)).await.unwrap();
    assert_eq!((memory.spent(), memory.reserved()), ((80, 2), 0));
}

#[tokio::test(start_paused = true)]
async fn two_claims_do_not_hold_each_other_up() {
    // 80 are spent and 120 kept by two claims; each next call needs 65 of the 204, so they go one after the other
    let (models, memory) = (by_tokens(99), Memory::capped(204));
    let metered = metered(&models, &memory);
    for claim in [1, 2] {
        let meter = keeps(&format!("first {claim}"), claim);
        metered.complete(&up_to(60), &meter).await.unwrap();
    }
    assert_eq!(memory.reserved(), 120);
    let started = Instant::now();
    let (request, one, two) = (up_to(65), keeps("second 1", 1), keeps("second 2", 2));
    let (one, two) = tokio::join!(
        metered.complete(&request, &one),
        metered.complete(&request, &two)
    );
    one.unwrap();
    two.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(memory.spent(), (160, 4));
}

#[tokio::test(start_paused = true)]
async fn room_that_may_have_been_given_back_is_not_used_again() {
    let (models, memory) = (by_tokens(99), Memory::capped(150));
    let metered = metered(&models, &memory);
    metered.complete(&up_to(100), &keeps("a", 1)).await.unwrap();
    // a call of another claim gives the room back and is dropped before it hears of it
    let (request, meter) = (up_to(100), meter("b", 2));
    let mut other = Box::pin(metered.complete(&request, &meter));
    while memory.reserved() == 100 {
        assert!(other.as_mut().now_or_never().is_none());
    }
    drop(other);
    let before = memory.reservations.load(Ordering::SeqCst);
    metered.complete(&up_to(100), &keeps("c", 1)).await.unwrap();
    assert!(memory.reservations.load(Ordering::SeqCst) > before);
}
