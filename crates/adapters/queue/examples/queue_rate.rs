//! Messages a second and dispatch latency of `RedisQueue` beside the bare commands (XADD, XREADGROUP, XACK and XDEL in one
//! MULTI) on the same server, in alternating rounds.
//!
//! `cargo run --release -p fapo-queue --example queue_rate -- [messages] [rounds] [url]`
//!
//! Rate: all messages are pushed in batches of 500, then consumers take eight at a time and acknowledge each. Latency: one
//! message every two milliseconds, from before it is pushed until its consumer has it. Every consumer has connections of its
//! own, as in a process of its own.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fapo_domain::model::task::{Lane, Topic};
use fapo_domain::ports::queue::{Message, TaskQueue};
use fapo_domain::{JobId, TaskId};
use fapo_queue::{RedisQueue, RedisQueueConfig, RedisServer};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, AsyncConnectionConfig};
use tokio::task::JoinSet;

const TOPIC: Topic = Topic::Execute;
const BATCH: usize = 500;
const AT_ONCE: usize = 8;
const WAIT: Duration = Duration::from_millis(500);
const LEASE: Duration = Duration::from_secs(30);
/// Messages of a latency round, and the time between two.
const PACED: u64 = 500;
const PACE: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Fapo,
    Bare,
}

/// One producer's or consumer's end.
enum End {
    Fapo(RedisQueue, Vec<Message>),
    Bare(MultiplexedConnection, String),
}

/// When each message was pushed, in microseconds since the start, by number.
struct Pushed {
    start: Instant,
    at: Vec<AtomicU64>,
    seen: AtomicU64,
}

impl Pushed {
    fn new(count: u64) -> Self {
        Self {
            start: Instant::now(),
            at: (0..count).map(|_| AtomicU64::new(0)).collect(),
            seen: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// Messages of four jobs of two projects.
fn messages(count: u64) -> Vec<Message> {
    (0..count)
        .map(|number| {
            let job = JobId::at(1, [(number % 4) as u8; 10]);
            Message::Task {
                task: TaskId::derive(job, "rate", &number.to_string()),
                job,
                lane: Lane(number % 2),
            }
        })
        .collect()
}

struct Bench {
    url: String,
    name: String,
}

impl Bench {
    async fn end(&self, way: Way, count: u64) -> Result<End> {
        Ok(match way {
            Way::Fapo => {
                let server = RedisServer::connect(&self.url, &self.name).await?;
                let config = RedisQueueConfig {
                    max_waiting: count.max(1),
                };
                End::Fapo(RedisQueue::new(&server, config), messages(count))
            }
            Way::Bare => {
                let config = AsyncConnectionConfig::new().set_response_timeout(None);
                let connection = redis::Client::open(self.url.as_str())?
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?;
                // beside the queue's keys, to be deleted with them
                End::Bare(connection, format!("fapo:{{{}}}:bare", self.name))
            }
        })
    }

    async fn clear(&self) -> Result<()> {
        let mut connection = redis::Client::open(self.url.as_str())?
            .get_multiplexed_async_connection()
            .await?;
        let mut keys = Vec::new();
        let mut found = connection
            .scan_match::<_, String>(format!("fapo:{{{}}}:*", self.name))
            .await?;
        while let Some(key) = found.next_item().await {
            keys.push(key?);
        }
        drop(found);
        if !keys.is_empty() {
            let _deleted: u64 = connection.del(keys).await?;
        }
        Ok(())
    }

    /// Messages a second with so many consumers.
    async fn rate(&self, way: Way, consumers: usize, count: u64) -> Result<f64> {
        self.clear().await?;
        let pushed = Arc::new(Pushed::new(count));
        let mut producer = self.end(way, count).await?;
        producer.prepare().await?;
        let mut ends = Vec::new();
        for _ in 0..consumers {
            ends.push(self.end(way, count).await?);
        }
        let began = Instant::now();
        for first in (0..count).step_by(BATCH) {
            let last = (first + BATCH as u64).min(count);
            producer.push(first..last, &pushed).await?;
        }
        let mut running = JoinSet::new();
        for (number, end) in ends.into_iter().enumerate() {
            let pushed = Arc::clone(&pushed);
            running.spawn(async move { end.consume(number, count, &pushed).await });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        let seconds = began.elapsed().as_secs_f64();
        ensure!(pushed.seen.load(Ordering::SeqCst) == count);
        Ok(count as f64 / seconds)
    }

    /// Microseconds from push to consumer at a steady pace, sorted.
    async fn latency(&self, way: Way, consumers: usize) -> Result<Vec<u64>> {
        self.clear().await?;
        let pushed = Arc::new(Pushed::new(PACED));
        let mut producer = self.end(way, PACED).await?;
        producer.prepare().await?;
        let mut running = JoinSet::new();
        for number in 0..consumers {
            let end = self.end(way, PACED).await?;
            let pushed = Arc::clone(&pushed);
            running.spawn(async move { end.consume(number, PACED, &pushed).await });
        }
        let mut pace = tokio::time::interval(PACE);
        for number in 0..PACED {
            pace.tick().await;
            producer.push(number..number + 1, &pushed).await?;
        }
        let mut all = Vec::new();
        while let Some(ended) = running.join_next().await {
            all.extend(ended??);
        }
        all.sort_unstable();
        Ok(all)
    }
}

impl End {
    async fn prepare(&mut self) -> Result<()> {
        if let Self::Bare(connection, stream) = self {
            let _made: () = connection
                .xgroup_create_mkstream(stream.as_str(), "workers", "0")
                .await?;
        }
        Ok(())
    }

    async fn push(&mut self, numbers: std::ops::Range<u64>, pushed: &Pushed) -> Result<()> {
        let now = pushed.now();
        for number in numbers.clone() {
            pushed.at[number as usize].store(now, Ordering::SeqCst);
        }
        match self {
            Self::Fapo(queue, messages) => {
                let some = &messages[numbers.start as usize..numbers.end as usize];
                queue.push(TOPIC, some, Duration::ZERO).await?;
            }
            Self::Bare(connection, stream) => {
                let mut pipe = redis::pipe();
                for number in numbers {
                    pipe.xadd(stream.as_str(), "*", &[("m", number)]).ignore();
                }
                let _added: () = pipe.query_async(connection).await?;
            }
        }
        Ok(())
    }

    /// Takes and acknowledges until all are seen; tells how long each took to come, in microseconds.
    async fn consume(mut self, number: usize, count: u64, pushed: &Pushed) -> Result<Vec<u64>> {
        let name = format!("consumer-{number}");
        let numbers: std::collections::HashMap<Message, u64> = match &self {
            Self::Fapo(_, messages) => messages.iter().copied().zip(0..).collect(),
            Self::Bare(..) => std::collections::HashMap::new(),
        };
        let mut took = Vec::new();
        while pushed.seen.load(Ordering::SeqCst) < count {
            match &mut self {
                Self::Fapo(queue, _) => {
                    let taken = queue.receive(TOPIC, &name, AT_ONCE, WAIT, LEASE).await?;
                    let now = pushed.now();
                    for delivery in taken {
                        let number = numbers.get(&delivery.message).context("not ours")?;
                        took.push(now - pushed.at[*number as usize].load(Ordering::SeqCst));
                        queue.acknowledge(&delivery).await?;
                        pushed.seen.fetch_add(1, Ordering::SeqCst);
                    }
                }
                Self::Bare(connection, stream) => {
                    let options = StreamReadOptions::default()
                        .group("workers", &name)
                        .count(AT_ONCE)
                        .block(WAIT.as_millis() as usize);
                    let reply: Option<StreamReadReply> = connection
                        .xread_options(&[stream.as_str()], &[">"], &options)
                        .await?;
                    let now = pushed.now();
                    for entry in reply.into_iter().flat_map(|reply| reply.keys) {
                        for entry in entry.ids {
                            let number: u64 = entry.get("m").context("no number")?;
                            took.push(now - pushed.at[number as usize].load(Ordering::SeqCst));
                            let _done: () = redis::pipe()
                                .atomic()
                                .xack(stream.as_str(), "workers", &[&entry.id])
                                .ignore()
                                .xdel(stream.as_str(), &[&entry.id])
                                .ignore()
                                .query_async(connection)
                                .await?;
                            pushed.seen.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            }
        }
        Ok(took)
    }
}

/// The middle, the smallest and the largest.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    format!(
        "{:>9.0} ({:.0} to {:.0})",
        at(values.len() / 2),
        at(0),
        at(values.len().saturating_sub(1))
    )
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| match arguments.get(index) {
        Some(text) => text
            .parse()
            .with_context(|| format!("`{text}` is no number")),
        None => Ok(default),
    };
    let (count, rounds) = (number(0, 20_000)?, number(1, 5)?);
    if count == 0 || rounds == 0 {
        bail!("at least one message and one round");
    }
    let url = arguments.get(2).cloned();
    let bench = Bench {
        url: url.unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned()),
        name: format!("rate-{}", std::process::id()),
    };
    let mut out = std::io::stdout();
    for consumers in [1, 4] {
        let mut figures = [const { (Vec::new(), Vec::new(), Vec::new()) }; 2];
        for _ in 0..rounds {
            for (way, (rates, middle, late)) in [Way::Bare, Way::Fapo].into_iter().zip(&mut figures)
            {
                rates.push(bench.rate(way, consumers, count).await?);
                let sorted = bench.latency(way, consumers).await?;
                let at = |share: usize| sorted[sorted.len() * share / 100] as f64;
                middle.push(at(50));
                late.push(at(99));
            }
        }
        writeln!(
            out,
            "{consumers} consumer(s), {count} messages, {rounds} rounds: median (min to max)"
        )?;
        for (name, (rates, middle, late)) in
            ["bare commands", "RedisQueue"].into_iter().zip(figures)
        {
            writeln!(out, "  {name:<14} messages/s {}", spread(rates))?;
            writeln!(out, "  {name:<14} p50 us     {}", spread(middle))?;
            writeln!(out, "  {name:<14} p99 us     {}", spread(late))?;
        }
    }
    bench.clear().await
}
