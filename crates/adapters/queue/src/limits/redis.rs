//! Limits over all processes of a deployment, in Redis.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Script, ScriptInvocation};
use async_trait::async_trait;
use fapo_domain::hash::Hasher;
use fapo_domain::ports::limits::{Admission, SharedLimit, SharedLimits, SlotId};
use fapo_domain::ports::queue::QueueError;

use super::{Rate, SLOT_POLL};
use crate::server::RedisServer;

/// [`SharedLimits`] among all processes of the deployment that the server was connected for. Each call is one script, on the
/// server's time. Losing Redis forgets what was counted: limits then begin anew, with empty buckets and no slot taken.
#[derive(Clone)]
pub struct RedisLimits {
    server: RedisServer,
    admit: Arc<Script>,
    release: Arc<Script>,
}

impl std::fmt::Debug for RedisLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisLimits")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl RedisLimits {
    /// The limits of the deployment that `server` was connected for.
    pub fn new(server: &RedisServer) -> Self {
        Self {
            server: server.clone(),
            admit: Arc::new(Script::new(include_str!("lua/admit.lua"))),
            release: Arc::new(Script::new(include_str!("lua/release.lua"))),
        }
    }

    fn on<'a>(&self, provider: &str, script: &'a Script) -> ScriptInvocation<'a> {
        // addresses may be long, and hold characters that mean something in keys
        let mut hasher = Hasher::new("limit-key/v1");
        hasher.part(provider.as_bytes());
        let name = format!("{}:limits:{}", self.server.prefix(), hasher.finish());
        let mut invocation = script.key(format!("{name}:slots"));
        invocation.key(format!("{name}:levels"));
        invocation
    }
}

#[async_trait]
impl SharedLimits for RedisLimits {
    async fn admit(
        &self,
        provider: &str,
        limit: SharedLimit,
        tokens: u64,
        lease: Duration,
    ) -> Result<Admission, QueueError> {
        // zero: not limited
        let parts = |rate: Option<Rate>| rate.map_or((0.0, 0.0), |rate| (rate.per_ms, rate.size));
        let (requests, request_size) = parts(Rate::of_requests(&limit));
        let (token_rate, token_size) = parts(Rate::of_tokens(&limit));
        let mut admit = self.on(provider, &self.admit);
        admit
            .arg(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX))
            .arg(limit.concurrency.map_or(0, |most| most.max(1)))
            .arg(u64::try_from(SLOT_POLL.as_millis()).unwrap_or(u64::MAX))
            .arg(requests)
            .arg(request_size)
            .arg(token_rate)
            .arg(token_size)
            .arg(tokens);
        let (wait, slot): (u64, String) = self.server.run("ask for a call", &admit).await?;
        Ok(if wait == 0 {
            Admission::Granted(SlotId(slot))
        } else {
            Admission::Wait(Duration::from_millis(wait))
        })
    }

    async fn release(
        &self,
        provider: &str,
        slot: &SlotId,
        unused_tokens: u64,
    ) -> Result<(), QueueError> {
        let mut release = self.on(provider, &self.release);
        release.arg(&slot.0).arg(unused_tokens);
        let _released: u32 = self.server.run("end a call", &release).await?;
        Ok(())
    }
}
