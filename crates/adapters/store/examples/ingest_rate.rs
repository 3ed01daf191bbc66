//! How fast Postgres takes in steps: through the port, and as raw bytes.
//!
//! `cargo run --release -p fapo-store --example ingest_rate postgres://USER@HOST/SCRATCH [blocks [rounds]]` alternates, round by
//! round, on one connection each:
//!
//! * `record_runs`: blocks of 200 runs with 5 steps each, as executors record them; blobs, rows of runs, fences left out;
//! * `COPY per block`: the same rows of steps, read back from the server as it sends them, copied (binary) into a table with the
//!   same columns, key and indexes, one COPY and commit a block;
//! * `COPY at once`: the same, all blocks in one COPY.
//!
//! It prints step rows per second: median, least and most. The database should be a scratch one: the runs stay in it.

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use fapo_domain::EvaluationId;
use fapo_domain::clock::{Clock, SystemClock};
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::traces::Traces;
use fapo_store::{PgOptions, PgStore};
use fapo_testkit::sample;
use futures::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

const RUNS: u64 = 200;
const STEPS: u32 = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context(
        "name a scratch database: ingest_rate postgres://USER@HOST/SCRATCH [blocks [rounds]]",
    )?;
    let blocks = number(arguments.next(), 50)?;
    let rounds = number(arguments.next(), 5)?;
    let options = PgOptions {
        connections: 1,
        ..PgOptions::new(url.parse()?)
    };
    let store = PgStore::connect(&options, Arc::new(SystemClock)).await?;
    let mut server = PgConnectOptions::from_str(&url)?.connect().await?;
    let started = SystemClock.now().0;
    let steps = (blocks * RUNS * u64::from(STEPS)) as f64;

    let mut rates: [(&str, Vec<f64>); 3] = [
        ("record_runs", Vec::new()),
        ("COPY per block", Vec::new()),
        ("COPY at once", Vec::new()),
    ];
    // a round to warm up, which does not count
    for round in 0..=rounds {
        let evaluation = sample::evaluation_id(&format!("ingest {started} {round}"));
        let runs: Vec<Vec<RunRecord>> = (0..blocks).map(|n| block(evaluation, n)).collect();
        let clock = Instant::now();
        for runs in runs {
            store.record_runs(None, runs).await?;
        }
        let recorded = clock.elapsed();

        let per_block = read_back(&mut server, evaluation, blocks).await?;
        make_table(&mut server).await?;
        let clock = Instant::now();
        for bytes in &per_block {
            copy(&mut server, bytes).await?;
        }
        let copied = clock.elapsed();

        let whole = join(&per_block);
        make_table(&mut server).await?;
        let clock = Instant::now();
        copy(&mut server, &whole).await?;
        let copied_at_once = clock.elapsed();

        if round > 0 {
            for ((_, rates), time) in rates.iter_mut().zip([recorded, copied, copied_at_once]) {
                rates.push(steps / time.as_secs_f64());
            }
        }
    }
    execute(&mut server, "DROP TABLE ingest_raw").await?;
    for (name, rates) in &mut rates {
        rates.sort_by(f64::total_cmp);
        say(format!(
            "{name:>15}: {:>9.0} step rows/s (least {:.0}, most {:.0})",
            rates[rates.len() / 2],
            rates[0],
            rates[rates.len() - 1],
        ))?;
    }
    let medians = rates.map(|(_, rates)| rates[rates.len() / 2]);
    say(format!(
        "record_runs has {:.2} of the rate of COPY per block, {:.2} of COPY at once; {rounds} rounds of {blocks} blocks",
        medians[0] / medians[1],
        medians[0] / medians[2],
    ))
}

fn number(argument: Option<String>, otherwise: u64) -> Result<u64> {
    argument.map_or(Ok(otherwise), |text| {
        text.parse()
            .ok()
            .filter(|number| *number > 0)
            .with_context(|| format!("{text} is no count"))
    })
}

/// Runs with values of usual length: prompts of half, replies of a quarter of a kilobyte, each another.
fn block(evaluation: EvaluationId, number: u64) -> Vec<RunRecord> {
    (number * RUNS..(number + 1) * RUNS)
        .map(|ordinal| {
            let steps = (0..STEPS).map(|n| {
                let text = format!("reply {n} to case {ordinal}; ").repeat(10);
                let mut step = sample::step_record(&format!("step{n}"), n, &text);
                step.input = Some(serde_json::json!([{
                    "role": "user",
                    "content": format!("question {n} of case {ordinal}; ").repeat(18),
                }]));
                step
            });
            RunRecord {
                steps: steps.collect(),
                ..sample::run_record(evaluation, ordinal)
            }
        })
        .collect()
}

/// The rows of an evaluation's steps as the server sends them, block by block.
async fn read_back(
    server: &mut PgConnection,
    evaluation: EvaluationId,
    blocks: u64,
) -> Result<Vec<Vec<u8>>> {
    let row = sqlx::query("SELECT id, part FROM evaluations WHERE hash = $1")
        .bind(&evaluation.0.as_bytes()[..])
        .fetch_one(&mut *server)
        .await?;
    let (id, part): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let mut read = Vec::new();
    for block in 0..blocks {
        let (start, end) = (block * RUNS, (block + 1) * RUNS);
        let statement = format!(
            "COPY (SELECT * FROM steps WHERE part = {part} AND evaluation = {id} AND ordinal >= {start} AND ordinal < {end} \
             ORDER BY ordinal, n) TO STDOUT (FORMAT binary)"
        );
        let chunks: Vec<_> = server.copy_out_raw(&statement).await?.try_collect().await?;
        read.push(chunks.concat());
    }
    Ok(read)
}

/// The same rows behind one header.
fn join(blocks: &[Vec<u8>]) -> Vec<u8> {
    /// Signature, flags, length of the extension.
    const HEADER: usize = 19;
    const TRAILER: usize = 2;
    let mut whole = Vec::new();
    for (n, block) in blocks.iter().enumerate() {
        let start = if n == 0 { 0 } else { HEADER };
        whole.extend_from_slice(&block[start..block.len() - TRAILER]);
    }
    whole.extend_from_slice(&[0xff, 0xff]);
    whole
}

async fn make_table(server: &mut PgConnection) -> Result<()> {
    execute(
        server,
        "DROP TABLE IF EXISTS ingest_raw; CREATE TABLE ingest_raw (LIKE steps INCLUDING ALL)",
    )
    .await
}

async fn copy(server: &mut PgConnection, bytes: &[u8]) -> Result<()> {
    let mut copy = server
        .copy_in_raw("COPY ingest_raw FROM STDIN (FORMAT binary)")
        .await?;
    for some in bytes.chunks(1 << 20) {
        copy.send(some).await?;
    }
    copy.finish().await?;
    Ok(())
}

async fn execute(server: &mut PgConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(server)
        .await?;
    Ok(())
}

fn say(line: String) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
