use std::pin::Pin;

use futures::FutureExt;
use proptest::prelude::*;

use super::*;

async fn take(limiter: &Arc<Limiter>) -> Permit {
    limiter.acquire().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn it_starts_at_a_quarter_and_grows_by_one_per_full_round_of_successes() {
    let limiter = Limiter::new(16);
    assert_eq!(limiter.snapshot().limit, 4);
    for expected in [5, 6, 7, 8] {
        for _ in 0..expected - 1 {
            assert_eq!(limiter.snapshot().limit, expected - 1);
            take(&limiter).await.succeeded();
        }
        assert_eq!(limiter.snapshot().limit, expected);
    }
    for _ in 0..10_000 {
        take(&limiter).await.succeeded();
    }
    assert_eq!(limiter.snapshot().limit, 16, "never above the cap");
    assert_eq!(Limiter::new(0).snapshot().limit, 1);
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_window_halve_the_limit_once() {
    let limiter = Limiter::new(32);
    let window = [
        take(&limiter).await,
        take(&limiter).await,
        take(&limiter).await,
    ];
    for permit in window {
        permit.overloaded(None);
    }
    assert_eq!(limiter.snapshot().limit, 4);
    take(&limiter).await.overloaded(None);
    assert_eq!(limiter.snapshot().limit, 2);
    for _ in 0..4 {
        take(&limiter).await.overloaded(None);
    }
    assert_eq!(limiter.snapshot().limit, 1, "never below one");
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_everybody_back_until_it_is_over_even_if_nothing_is_under_way() {
    let limiter = Limiter::new(4);
    let first = take(&limiter).await;
    let start = Instant::now();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let limiter = Arc::clone(&limiter);
            tokio::spawn(async move {
                take(&limiter).await.succeeded();
                start.elapsed()
            })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(limiter.snapshot().waiting, 3);
    first.overloaded(Some(Duration::from_secs(10)));
    assert!(limiter.snapshot().paused);
    for task in waiting {
        let waited = task.await.unwrap();
        assert!(waited >= Duration::from_secs(10), "{waited:?}");
        assert!(waited < Duration::from_secs(11), "{waited:?}");
    }
    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_longer_pause_extends_a_shorter_one_and_not_the_other_way_round() {
    let limiter = Limiter::new(16);
    let (a, b, c) = (
        take(&limiter).await,
        take(&limiter).await,
        take(&limiter).await,
    );
    let start = Instant::now();
    a.overloaded(Some(Duration::from_secs(5)));
    b.overloaded(Some(Duration::from_secs(20)));
    c.overloaded(Some(Duration::from_secs(1)));
    take(&limiter).await.succeeded();
    assert!(start.elapsed() >= Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_too_long_fails_those_who_wait_as_well() {
    let limiter = Limiter::new(4);
    let first = take(&limiter).await;
    let waiting = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { limiter.acquire().await.map(drop) }
    });
    tokio::task::yield_now().await;
    first.overloaded(Some(Duration::from_secs(86_400)));
    assert!(waiting.await.unwrap().is_err());
    assert!(limiter.acquire().await.is_err());
}

#[tokio::test]
async fn many_tasks_on_many_threads_never_exceed_the_cap() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let limiter = Limiter::new(8);
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let (limiter, now, most) = (Arc::clone(&limiter), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let permit = take(&limiter).await;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                if n % 7 == 0 {
                    permit.overloaded(None);
                } else {
                    permit.succeeded();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= 8);
    assert_eq!(limiter.snapshot().in_flight, 0);
    assert_eq!(limiter.snapshot().waiting, 0);
}

#[derive(Debug, Clone)]
enum Op {
    Ask,
    Succeed(usize),
    Overload(usize, Option<u64>),
    Fail(usize),
    GiveUp(usize),
    Advance(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let pick = 0usize..64;
    let op = prop_oneof![
        4 => Just(Op::Ask),
        3 => pick.clone().prop_map(Op::Succeed),
        1 => (pick.clone(), proptest::option::of(1u64..5_000)).prop_map(|(n, ms)| Op::Overload(n, ms)),
        1 => pick.clone().prop_map(Op::Fail),
        1 => pick.prop_map(Op::GiveUp),
        1 => (1u64..3_000).prop_map(Op::Advance),
    ];
    proptest::collection::vec(op, 1..120)
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Permit, Paused>> + 'a>>;

/// Polls everybody who waits once, in order of arrival; moves those who got in to `held`.
fn poll(waiting: &mut Vec<(u64, Waiting<'_>)>, held: &mut Vec<Permit>, served: &mut Vec<u64>) {
    waiting.retain_mut(|(id, future)| match future.as_mut().now_or_never() {
        Some(permit) => {
            held.push(permit.unwrap());
            served.push(*id);
            false
        }
        None => true,
    });
}

proptest! {
    #[test]
    fn under_any_sequence_the_limit_holds_and_nobody_is_overtaken_or_forgotten(
        cap in 1u32..20,
        ops in ops(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let limiter = Limiter::new(cap);
            let mut waiting: Vec<(u64, Waiting<'_>)> = Vec::new();
            let (mut held, mut served) = (Vec::<Permit>::new(), Vec::new());
            let mut next = 0;
            let mut pause_ends = Instant::now();
            for op in ops {
                let before = limiter.snapshot();
                match op {
                    Op::Ask => {
                        waiting.push((next, Box::pin(limiter.acquire())));
                        next += 1;
                    }
                    Op::Succeed(n) if !held.is_empty() => held.remove(n % held.len()).succeeded(),
                    Op::Overload(n, ms) if !held.is_empty() => {
                        let pause = ms.map(Duration::from_millis);
                        held.remove(n % held.len()).overloaded(pause);
                        pause_ends = pause_ends.max(Instant::now() + pause.unwrap_or_default());
                    }
                    Op::Fail(n) if !held.is_empty() => drop(held.remove(n % held.len())),
                    Op::GiveUp(n) if !waiting.is_empty() => drop(waiting.remove(n % waiting.len())),
                    Op::Advance(ms) => tokio::time::advance(Duration::from_millis(ms)).await,
                    Op::Succeed(_) | Op::Overload(..) | Op::Fail(_) | Op::GiveUp(_) => {}
                }
                let served_before = served.len();
                poll(&mut waiting, &mut held, &mut served);
                let now = limiter.snapshot();
                prop_assert!((1..=cap).contains(&now.limit));
                prop_assert!(now.limit <= before.limit + 1 && now.limit >= before.limit / 2);
                prop_assert!(now.in_flight <= cap);
                prop_assert_eq!(now.in_flight as usize, held.len());
                if served.len() > served_before {
                    prop_assert!(now.in_flight <= now.limit.max(before.limit));
                    prop_assert!(Instant::now() >= pause_ends, "nobody enters during a pause");
                }
                let idle = now.in_flight < now.limit && Instant::now() >= pause_ends;
                prop_assert!(!idle || waiting.is_empty(), "a free slot and somebody waiting");
                prop_assert!(served.is_sorted(), "first come, first served: {served:?}");
            }
            while !(waiting.is_empty() && held.is_empty()) {
                held.drain(..).for_each(Permit::succeeded);
                tokio::time::advance(Duration::from_secs(10)).await;
                poll(&mut waiting, &mut held, &mut served);
            }
            prop_assert_eq!(limiter.snapshot().in_flight, 0);
            Ok(())
        })?;
    }
}
