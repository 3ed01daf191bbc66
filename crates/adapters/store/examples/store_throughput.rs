//! What the store costs per model call, and what an import costs.
//!
//! `cargo run --release -p fapo-store --example store_throughput [calls [cases]]` prints wall time and processor time
//! (of all threads, SQLite's included) for: look-up + reserve + put per call by 32 callers, recording the runs of those
//! calls in blocks of 64, reading them back, and importing generated cases.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fapo_domain::clock::SystemClock;
use fapo_domain::hash::ContentHash;
use fapo_domain::model::case::Split;
use fapo_domain::model::trace::{CacheEntry, RunRecord};
use fapo_domain::money::SpendRole;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::ledger::{Amount, Caps, Charge, Ledger, ReservationId};
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_domain::{MicroUsd, StepKey};
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::sample;

const CALLERS: u32 = 32;
const STEPS: u64 = 3;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let calls: u32 = arguments.next().unwrap_or(60_000);
    let cases: u32 = arguments.next().unwrap_or(200_000);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.db");
    let commits = Arc::new(AtomicU64::new(0));
    let options = StoreOptions {
        on_commit: Some(Arc::new({
            let commits = Arc::clone(&commits);
            move |number| commits.store(number, Ordering::Relaxed)
        })),
        sole_writer: true,
    };
    let store = SqliteStore::open(&path, Arc::new(SystemClock), options).await?;

    let meter = Meter::start()?;
    per_call(&store, calls).await?;
    meter.tell("look-up + reserve + put", calls)?;
    let joined = 2.0 * f64::from(calls) / commits.load(Ordering::Relaxed) as f64;
    say(format!("{joined:.1} writes in a commit"))?;

    let runs = runs(calls);
    let meter = Meter::start()?;
    for block in &runs {
        store.record_runs(None, block.clone()).await?;
    }
    meter.tell("record runs, per step", calls)?;

    let meter = Meter::start()?;
    let evaluation = sample::evaluation_id("bench");
    for block in &runs {
        let ordinals: Vec<u64> = block.iter().map(|run| run.ordinal).collect();
        let read = store.runs(evaluation, &ordinals, StepsOf::All).await?;
        anyhow::ensure!(read.len() == block.len());
    }
    meter.tell("read runs, per step", calls)?;
    drop(runs);

    let before = peak_memory()?;
    let meter = Meter::start()?;
    import(&store, cases, None).await?;
    meter.tell("import, per case", cases)?;
    let meter = Meter::start()?;
    import(&store, cases, Some(0.5)).await?;
    meter.tell("import and split, per case", cases)?;
    let size = std::fs::metadata(&path)?.len() / 1_000_000;
    say(format!(
        "peak memory {} MB before the imports, {} MB after; the file has {size} MB",
        before / 1024,
        peak_memory()? / 1024,
    ))
}

/// The hot path as the metered models walk it, with prompts of one and replies of half a kilobyte.
async fn per_call(store: &SqliteStore, calls: u32) -> Result<()> {
    let job = sample::job_id(1);
    store.open_account(job, Caps::default()).await?;
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let store = store.clone();
        callers.push(tokio::spawn(async move {
            let worst = Amount {
                cost: MicroUsd(100),
                model_calls: 1,
            };
            let reservation = ReservationId {
                // one executor's task makes many calls at once
                task: sample::task_id(job, caller % 2),
                epoch: 1,
            };
            for number in (caller..calls).step_by(CALLERS as usize) {
                let entry = entry(number);
                anyhow::ensure!(
                    store
                        .get_step(entry.key, entry.fingerprint)
                        .await?
                        .is_none()
                );
                store.reserve(job, reservation, worst).await?;
                let charge = Charge {
                    job,
                    reservation,
                    role: SpendRole::Task,
                    release: worst,
                    spent: sample::spend(40),
                    lost: Amount::default(),
                    keep: false,
                };
                store.put_step(entry, Some(charge)).await?;
            }
            Ok(())
        }));
    }
    for caller in callers {
        caller.await??;
    }
    let balance = store.balance(job).await?;
    anyhow::ensure!(balance.total().model_calls == u64::from(calls));
    Ok(())
}

fn entry(number: u32) -> CacheEntry {
    let mut entry = sample::cache_entry(0);
    entry.key = StepKey(ContentHash::of(&number.to_le_bytes()));
    entry.step.output.text = text(number, 500);
    entry
}

/// Blocks of 64 runs of three steps.
fn runs(calls: u32) -> Vec<Vec<RunRecord>> {
    let evaluation = sample::evaluation_id("bench");
    let all: Vec<u64> = (0..u64::from(calls) / STEPS).collect();
    all.chunks(64)
        .map(|block| {
            block
                .iter()
                .map(|ordinal| {
                    let mut run = sample::run_record(evaluation, *ordinal);
                    run.steps = (0..3u32)
                        .map(|position| {
                            let number = u32::try_from(*ordinal).unwrap_or(0) * 3 + position;
                            let mut step = sample::step_record("step", position, "");
                            step.input = Some(serde_json::json!([
                                { "role": "user", "content": text(number, 1000) }
                            ]));
                            step.output = Some(sample::output(&text(number, 500)));
                            step
                        })
                        .collect();
                    run
                })
                .collect()
        })
        .collect()
}

async fn import(store: &SqliteStore, cases: u32, split: Option<f64>) -> Result<()> {
    let import = store.begin_import("bench").await?;
    // another content each time, so that no version is met again
    let salt = u32::from(split.is_some()) * 1_000_000_007;
    for first in (0..cases).step_by(1000) {
        let batch = (first..cases.min(first + 1000))
            .map(|number| {
                let question = text(number.wrapping_add(salt), 600);
                let case = sample::case(&format!("case-{number}"), &question, "an answer");
                sample::incoming(Split::Train, u64::from(number) + 1, case)
            })
            .collect();
        store.import_cases(import, batch).await?;
    }
    if let Some(fraction) = split {
        store.split_import(import, fraction, 1).await?;
    }
    store.commit_import(import).await?;
    Ok(())
}

/// So many bytes of words, different for each number.
fn text(number: u32, bytes: usize) -> String {
    const WORDS: [&str; 16] = [
        "the", "river", "ends", "in", "a", "lake", "where", "people", "find", "old", "stones",
        "under", "water", "and", "carry", "them",
    ];
    let mut text = String::with_capacity(bytes + 16);
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text.push_str(WORDS[(state >> 60) as usize]);
        text.push(' ');
        if state >> 50 & 7 == 0 {
            text.push_str(&(state >> 40 & 0xfff).to_string());
            text.push(' ');
        }
    }
    text
}

struct Meter {
    wall: Instant,
    processor: Duration,
}

impl Meter {
    fn start() -> Result<Self> {
        Ok(Self {
            wall: Instant::now(),
            processor: processor_time()?,
        })
    }

    fn tell(self, what: &str, count: u32) -> Result<()> {
        let wall = self.wall.elapsed();
        let processor = processor_time()?.saturating_sub(self.processor);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count.max(1));
        say(format!(
            "{what:30} {count:>8}: {:6.2} s, {:6.1} us wall and {:6.1} us processor each",
            wall.as_secs_f64(),
            each(wall),
            each(processor),
        ))
    }
}

/// User and system time of all threads, from the kernel's bookkeeping (in ticks of 10 ms).
fn processor_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat").context("this needs Linux")?;
    let after_name = text.rsplit_once(')').context("an odd stat line")?.1;
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Peak resident memory in kilobytes.
fn peak_memory() -> Result<u64> {
    std::fs::read_to_string("/proc/self/status")?
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .context("the kernel does not tell the peak memory")
}

fn say(line: String) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
