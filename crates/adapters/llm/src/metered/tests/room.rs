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
