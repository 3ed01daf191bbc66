//! Limits that all callers of a provider share: [`MemoryLimits`] in one process, [`RedisLimits`] over all of them.
//!
//! Rates are leaky buckets: a bucket drains at the rate that the provider allows, and a call goes on where it still fits in.
//! Providers keep such buckets themselves. That of tokens holds a minute, since one call may ask for much of it; that of
//! requests holds ten seconds, since some providers hold shorter spans to the same rate. A call that asks for more tokens than
//! the bucket holds takes all of it: it would wait for ever otherwise.
//!
//! Nobody stands in line here. A caller that has to wait is told how long at least, and asks again; callers of one process
//! stand in line before they ask (the limiter in the `llm` crate).

mod memory;
mod redis;

use std::time::Duration;

use fapo_domain::ports::limits::SharedLimit;

pub use memory::MemoryLimits;
pub use redis::RedisLimits;

/// How much of a minute the bucket of requests holds.
const REQUEST_SHARE: f64 = 1.0 / 6.0;
/// How soon a caller asks again for a slot, which may be given back at any time.
const SLOT_POLL: Duration = Duration::from_millis(50);

/// A rate with its bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rate {
    /// What drains in a millisecond.
    per_ms: f64,
    /// What the bucket holds.
    size: f64,
}

impl Rate {
    fn of_requests(limit: &SharedLimit) -> Option<Self> {
        limit.requests_per_minute.map(|per_minute| {
            let per_minute = f64::from(per_minute.max(1));
            Self {
                per_ms: per_minute / 60_000.0,
                size: (per_minute * REQUEST_SHARE).floor().max(1.0),
            }
        })
    }

    fn of_tokens(limit: &SharedLimit) -> Option<Self> {
        limit.tokens_per_minute.map(|per_minute| {
            // far below what a float holds exactly
            let per_minute = per_minute.clamp(1, 1 << 50) as f64;
            Self {
                per_ms: per_minute / 60_000.0,
                size: per_minute,
            }
        })
    }
}
