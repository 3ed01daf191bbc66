//! What every [`SharedLimits`] must do. Invoke [`crate::limits_suite!`] for each implementation.
//!
//! Rates are chosen so that a test that has to wait does so for less than a second of real time, and so that what drains while
//! the calls of a test are made does not change what it sees.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use fapo_domain::ports::limits::{Admission, SharedLimit, SharedLimits, SlotId};
use futures::future::join_all;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);
/// A lease that ends during a test.
const SHORT: Duration = Duration::from_millis(200);

const NONE: SharedLimit = SharedLimit {
    concurrency: None,
    requests_per_minute: None,
    tokens_per_minute: None,
};

const fn slots(most: u32) -> SharedLimit {
    SharedLimit {
        concurrency: Some(most),
        ..NONE
    }
}

const fn requests(per_minute: u32) -> SharedLimit {
    SharedLimit {
        requests_per_minute: Some(per_minute),
        ..NONE
    }
}

const fn tokens(per_minute: u64) -> SharedLimit {
    SharedLimit {
        tokens_per_minute: Some(per_minute),
        ..NONE
    }
}

async fn ask(limits: &dyn SharedLimits, limit: SharedLimit, tokens: u64) -> Result<Admission> {
    Ok(limits.admit("p", limit, tokens, LONG).await?)
}

async fn granted(limits: &dyn SharedLimits, limit: SharedLimit, tokens: u64) -> Result<SlotId> {
    match ask(limits, limit, tokens).await? {
        Admission::Granted(slot) => Ok(slot),
        Admission::Wait(wait) => bail!("a call that fits has to wait {wait:?}"),
    }
}

async fn refused(limits: &dyn SharedLimits, limit: SharedLimit, tokens: u64) -> Result<Duration> {
    match ask(limits, limit, tokens).await? {
        Admission::Granted(_) => bail!("a call beyond the limit is granted"),
        Admission::Wait(wait) => {
            ensure!(!wait.is_zero(), "a wait of nothing is no wait");
            Ok(wait)
        }
    }
}

/// Asks until it is granted, waiting as it is told.
async fn granted_in_time(
    limits: &dyn SharedLimits,
    limit: SharedLimit,
    tokens: u64,
) -> Result<Duration> {
    let began = tokio::time::Instant::now();
    loop {
        match ask(limits, limit, tokens).await? {
            Admission::Granted(_) => return Ok(began.elapsed()),
            Admission::Wait(wait) => {
                ensure!(began.elapsed() < LONG, "it is never granted");
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Without a limit every call goes on.
pub async fn nothing_is_held_without_a_limit(limits: &dyn SharedLimits) -> Result<()> {
    for _ in 0..100 {
        granted(limits, NONE, u64::MAX).await?;
    }
    Ok(())
}

/// No more calls are under way than allowed; a slot that is given back serves another, once.
pub async fn slots_are_held_until_they_are_given_back(limits: &dyn SharedLimits) -> Result<()> {
    let first = granted(limits, slots(2), 1).await?;
    let second = granted(limits, slots(2), 1).await?;
    ensure!(first != second, "two slots of one name");
    refused(limits, slots(2), 1).await?;
    limits.release("p", &first, 0).await?;
    limits.release("p", &first, 0).await?;
    granted(limits, slots(2), 1).await?;
    refused(limits, slots(2), 1).await?;
    limits
        .release("p", &SlotId("nonsense".to_owned()), 0)
        .await?;
    refused(limits, slots(2), 1).await?;
    Ok(())
}

/// The slot of somebody who died frees itself.
pub async fn a_slot_ends_with_its_lease(limits: &dyn SharedLimits) -> Result<()> {
    let admission = limits.admit("p", slots(1), 1, SHORT).await?;
    ensure!(matches!(admission, Admission::Granted(_)), "{admission:?}");
    let waited = granted_in_time(limits, slots(1), 1).await?;
    ensure!(
        waited >= SHORT / 2,
        "a held slot was granted after {waited:?}"
    );
    Ok(())
}

/// Of many callers at once as many go on as may.
pub async fn many_at_once_never_pass_the_limit(limits: &dyn SharedLimits) -> Result<()> {
    let all = join_all((0..40).map(|_| ask(limits, slots(7), 1))).await;
    let mut granted = 0;
    for admission in all {
        granted += u32::from(matches!(admission?, Admission::Granted(_)));
    }
    ensure!(granted == 7, "{granted} of 7");
    Ok(())
}

/// Requests beyond the rate wait, and go on after the wait they are told.
pub async fn requests_keep_their_rate(limits: &dyn SharedLimits) -> Result<()> {
    // ten at once, then one every second
    for _ in 0..10 {
        granted(limits, requests(60), 1).await?;
    }
    let wait = refused(limits, requests(60), 1).await?;
    ensure!(wait <= Duration::from_secs(1), "{wait:?}");
    let waited = granted_in_time(limits, requests(60), 1).await?;
    ensure!(
        waited >= Duration::from_millis(500),
        "a request beyond the rate went on after {waited:?}"
    );
    refused(limits, requests(60), 1).await?;
    Ok(())
}

/// Tokens beyond the rate wait; those that were not used are given back, once.
pub async fn unused_tokens_are_given_back(limits: &dyn SharedLimits) -> Result<()> {
    let slot = granted(limits, tokens(60_000), 60_000).await?;
    let wait = refused(limits, tokens(60_000), 10_000).await?;
    ensure!(
        wait > Duration::from_secs(5) && wait <= Duration::from_secs(10),
        "{wait:?} for a sixth of a minute"
    );
    limits.release("p", &slot, 20_000).await?;
    limits.release("p", &slot, 20_000).await?;
    granted(limits, tokens(60_000), 15_000).await?;
    refused(limits, tokens(60_000), 15_000).await?;
    Ok(())
}

/// A call that may need more tokens than a minute allows goes on when nothing else does.
pub async fn a_call_beyond_the_whole_limit_takes_all_of_it(
    limits: &dyn SharedLimits,
) -> Result<()> {
    granted(limits, tokens(60_000), 1_000_000).await?;
    refused(limits, tokens(60_000), 10_000).await?;
    Ok(())
}

/// A call that has to wait takes nothing while it waits.
pub async fn a_refused_call_takes_nothing(limits: &dyn SharedLimits) -> Result<()> {
    let both = SharedLimit {
        concurrency: Some(3),
        requests_per_minute: Some(60),
        tokens_per_minute: Some(60_000),
    };
    granted(limits, both, 50_000).await?;
    for _ in 0..50 {
        refused(limits, both, 40_000).await?;
    }
    // one of ten requests is used, and 50 000 tokens
    granted(limits, both, 5_000).await?;
    granted(limits, both, 1_000).await?;
    // the slots are used up
    refused(limits, both, 1).await?;
    Ok(())
}

/// Providers do not see each other's calls.
pub async fn providers_are_apart(limits: &dyn SharedLimits) -> Result<()> {
    let slot = granted(limits, slots(1), 1).await?;
    let other = limits.admit("q", slots(1), 1, LONG).await?;
    ensure!(matches!(other, Admission::Granted(_)), "{other:?}");
    limits.release("q", &slot, 0).await?;
    refused(limits, slots(1), 1).await?;
    Ok(())
}

/// The suite for one implementation, as a module of tests; `$make` gives it, and what must live as long.
#[macro_export]
macro_rules! limits_suite {
    ($module:ident, start_paused, $make:expr) => {
        $crate::limits_suite!(@module $module, [tokio::test(start_paused = true)], $make);
    };
    ($module:ident, $make:expr) => {
        $crate::limits_suite!(@module $module, [tokio::test], $make);
    };
    (@module $module:ident, $attribute:tt, $make:expr) => {
        mod $module {
            use super::*;
            $crate::limits_suite!(@tests $attribute, $make, [
                nothing_is_held_without_a_limit,
                slots_are_held_until_they_are_given_back,
                a_slot_ends_with_its_lease,
                many_at_once_never_pass_the_limit,
                requests_keep_their_rate,
                unused_tokens_are_given_back,
                a_call_beyond_the_whole_limit_takes_all_of_it,
                a_refused_call_takes_nothing,
                providers_are_apart,
            ]);
        }
    };
    (@tests $attribute:tt, $make:expr, [$($name:ident),+ $(,)?]) => {
        $($crate::limits_suite!(@test $attribute, $make, $name);)+
    };
    (@test [$($attribute:tt)*], $make:expr, $name:ident) => {
        #[$($attribute)*]
        async fn $name() -> anyhow::Result<()> {
            let (limits, _keep) = ($make)().await?;
            $crate::suites::limits::$name(&limits).await
        }
    };
}
