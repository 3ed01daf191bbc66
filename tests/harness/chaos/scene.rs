//! The cluster under chaos, with everything it stands on.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use super::ChaosOptions;
use super::faults::{Fault, LEASE, Link};
use super::invariants::{Judge, Known};
use super::jobs::{Jobs, Models};
use crate::cluster::{Cluster, ClusterOptions};
use crate::postgres::Postgres;
use crate::proxy::Proxy;
use crate::redis::Redis;

/// Doubles what each topic's stream holds, and what waits in the lines goes into it, too: a receive then hands every message out
/// once more. The names are those of `docs/adr/0013-redis-streams.md`.
const REDELIVER: &str = "
local count = 0
for _, stream in ipairs(redis.call('KEYS', '*:stream')) do
  for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+')) do
    redis.call('XADD', stream, '*', unpack(entry[2]))
    count = count + 1
  end
end
local time = redis.call('TIME')[1] .. '000000'
for _, line in ipairs(redis.call('KEYS', '*:line:*')) do
  local topic = string.match(line, '^(.*):line:')
  for _, message in ipairs(redis.call('ZRANGE', line, 0, -1)) do
    redis.call('XADD', topic .. ':stream', '*', 'm', message, 'n', '0', 's', time)
    count = count + 1
  end
end
return count";

/// All of it. Ends with this value, the processes first.
pub(super) struct Scene {
    cluster: Cluster,
    jobs: Jobs,
    models: Models,
    to_redis: Proxy,
    to_postgres: Proxy,
    redis: Redis,
    postgres: Postgres,
    /// Serves the proxies and the simulated models.
    runtime: Runtime,
}

impl Scene {
    pub(super) fn start(options: &ChaosOptions) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let postgres = Postgres::start()?;
        let redis = Redis::start()?;
        let to_postgres = runtime.block_on(Proxy::start(postgres.port()))?;
        let to_redis = runtime.block_on(Proxy::start(redis.port()))?;
        let models = runtime.block_on(Models::start())?;
        let set = [
            format!("workers.lease={}s", LEASE.as_secs()),
            "workers.heartbeat=1s".to_owned(),
            "workers.reconcile_every=1s".to_owned(),
            // a store that is away is the cause of most failures here, and no reason to give a task up
            "workers.max_attempts=1000".to_owned(),
            "store.acquire_timeout=5s".to_owned(),
            "store.pool=8".to_owned(),
            "node.start_timeout=120s".to_owned(),
        ];
        let cluster = Cluster::start_over(
            ClusterOptions {
                executors: 2,
                set: set.to_vec(),
                env: models.env(),
                binary: options.binary.clone(),
            },
            Postgres::url(to_postgres.port()),
            Redis::url(to_redis.port()),
        )?;
        Ok(Self {
            cluster,
            jobs: Jobs::default(),
            models,
            to_redis,
            to_postgres,
            redis,
            postgres,
            runtime,
        })
    }

    /// The cluster's processes.
    pub(super) fn names(&self) -> Vec<String> {
        self.cluster.names()
    }

    /// How many jobs were submitted.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Submits jobs until `wanted` are under way.
    pub(super) fn keep_busy(&mut self, wanted: usize) -> Result<()> {
        self.jobs.look(&self.cluster)?;
        let running = self.running()?;
        for _ in running + self.jobs.on_their_way()..wanted {
            self.jobs.submit(&self.cluster)?;
        }
        Ok(())
    }

    /// Whether every job that was submitted is final.
    pub(super) fn all_ended(&mut self) -> Result<bool> {
        self.jobs.look(&self.cluster)?;
        Ok(self.jobs.on_their_way() == 0 && self.running()? == 0)
    }

    /// Jobs that are not final, as the database has them.
    fn running(&self) -> Result<usize> {
        let sql = "SELECT count(*) FROM jobs WHERE status = 'running'";
        Ok(self.postgres.one(sql)?.parse()?)
    }

    /// Begins a fault.
    pub(super) fn begin(&mut self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::Kill(name, _) => {
                // another fault may have ended it
                if self.cluster.ended(name)?.is_none() && self.cluster.runs(name) {
                    self.cluster.kill(name)?;
                }
            }
            Fault::Freeze(name) => {
                if self.cluster.runs(name) {
                    self.cluster.signal(name, "STOP")?;
                }
            }
            Fault::RestartRedis(_) => self.redis.kill(),
            Fault::Flush => self.redis_up()?.flush()?,
            Fault::Redeliver => {
                self.redis_up()?.eval(REDELIVER)?;
            }
            Fault::RestartPostgres => self.postgres.restart()?,
            Fault::Cut(link) => self.proxy(*link).cut(),
            Fault::BreakMidway(link) => self.proxy(*link).break_midway(),
            Fault::Delay(link, by) => self.proxy(*link).delay(*by),
            Fault::Stall(link, _) => self.proxy(*link).stall(true),
        }
        Ok(())
    }

    /// Ends it.
    pub(super) fn end(&mut self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::Kill(name, _) => {
                if !self.cluster.runs(name) {
                    self.cluster.begin(name)?;
                }
            }
            Fault::Freeze(name) => {
                if self.cluster.runs(name) {
                    self.cluster.signal(name, "CONT")?;
                }
            }
            Fault::RestartRedis(_) => {
                self.redis_up()?;
            }
            Fault::Delay(link, _) => self.proxy(*link).delay(Duration::ZERO),
            Fault::Stall(link, _) => self.proxy(*link).stall(false),
            Fault::Flush
            | Fault::Redeliver
            | Fault::RestartPostgres
            | Fault::Cut(_)
            | Fault::BreakMidway(_) => {}
        }
        Ok(())
    }

    /// Starts processes again that ended by themselves, as an engine would, and returns how many there were.
    pub(super) fn revive(&mut self, say: &mut impl FnMut(&str)) -> Result<u32> {
        let mut ended = 0;
        for name in self.cluster.names() {
            if let Some(ran) = self.cluster.ended(&name)? {
                ended += 1;
                let said = ran.stderr();
                let last = said.lines().last().unwrap_or_default();
                say(&format!(
                    "           {name} ended ({}): {last}",
                    ran.0.status
                ));
            }
            if !self.cluster.runs(&name) {
                self.cluster.begin(&name)?;
            }
        }
        Ok(ended)
    }

    /// What does not hold, with the calls that the models were asked for and those asked for again.
    pub(super) fn check(&mut self) -> Result<((u64, u64), Vec<String>)> {
        // before the embedded runs ask them, too
        let stats = self.models.stats();
        let known = Known {
            url: Postgres::url(self.postgres.port()),
            replies: self
                .postgres
                .one("SELECT count(*) FROM step_cache")?
                .parse()?,
            jobs: self.jobs.submitted(),
            requests: stats.requests,
        };
        let (mut violations, hashes) = self.runtime.block_on(Judge::all(known))?;
        let env = self.models.env();
        for (job, hash) in hashes {
            let embedded = self.jobs.embedded(&job, &env)?;
            if embedded != hash {
                violations.push(format!(
                    "job {job} ended with lineage {hash}, its embedded run with {embedded}"
                ));
            }
        }
        Ok(((stats.requests, stats.repeated), violations))
    }

    /// Redis, started where another fault has just killed it.
    fn redis_up(&mut self) -> Result<&Redis> {
        if !self.redis.runs() {
            self.redis.restart().context("Redis comes back")?;
        }
        Ok(&self.redis)
    }

    fn proxy(&self, link: Link) -> &Proxy {
        match link {
            Link::Queue => &self.to_redis,
            Link::Store => &self.to_postgres,
        }
    }
}
