//! Blocks of runs on their way in.

use std::borrow::Cow;
use std::collections::HashSet;

use fapo_domain::Spend;
use fapo_domain::model::task::Fence;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::copy::{HEADER, Rows, TRAILER};
use crate::blob::NewBlob;
use crate::error::Failure;
use crate::postgres::blobs;
use crate::postgres::evaluations::{Place, hold, partition};
use crate::postgres::fence::check_fence;
use crate::postgres::sql::{self, Args, Columns, args, without_nul};
use crate::postgres::store::PgStore;
use crate::runs::{PreparedRun, PreparedStep};

/// Bytes sent at once while steps are copied.
const SENT_AT_ONCE: usize = 1 << 20;

/// The runs of one evaluation as the server takes them.
pub(super) struct Block {
    place: Place,
    runs: Columnar,
    /// Each run's ordinal, and its steps' rows.
    steps: Vec<(u64, Rows)>,
}

impl Block {
    pub(super) fn new(place: Place, runs: &[PreparedRun]) -> Self {
        Self {
            place,
            runs: Columnar::new(runs),
            steps: runs
                .iter()
                .map(|run| (run.ordinal, step_rows(place, run)))
                .collect(),
        }
    }
}

/// Stores blocks in one transaction. False, and nothing is stored, where an evaluation is not in its place any more.
pub(super) async fn store(
    store: &PgStore,
    fence: Option<Fence>,
    blobs: &[NewBlob],
    blocks: &[Block],
) -> Result<bool, Failure> {
    let mut tx = store.begin().await?;
    check_fence(&mut tx, fence).await?;
    for block in blocks {
        if !hold(&mut tx, block.place).await? {
            return Ok(false);
        }
    }
    blobs::insert(&mut tx, blobs, store.now()).await?;
    for block in blocks {
        let written = insert_runs(&mut tx, block).await?;
        copy_steps(&mut tx, block, &written).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// Inserts runs and replaces missing ones; those that are final stay. Returns the ordinals of the former. In their order, as all
/// writers do, so that two with one block wait for each other and not in a circle.
async fn insert_runs(tx: &mut PgConnection, block: &Block) -> Result<HashSet<u64>, Failure> {
    let table = partition("runs", block.place.part);
    let mut arguments = args();
    arguments.int(block.place.part).int(block.place.id);
    block.runs.bind(&mut arguments);
    let rows = arguments
        .query(AssertSqlSafe(format!(
            "INSERT INTO {table} AS r ({COLUMNS}) SELECT $1, $2, new.* FROM UNNEST($3::bigint[], $4::text[], $5::text[], \
             $6::text[], $7::bytea[], $8::bytea[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], \
             $14::bigint[], $15::text[], $16::bigint[], $17::boolean[], $18::bigint[], $19::bigint[], $20::bigint[]) AS new \
             ON CONFLICT (part, evaluation, ordinal) DO UPDATE SET ({REPLACED}) = ROW ({EXCLUDED}) \
             WHERE r.status = 'missing' RETURNING ordinal, xmax <> 0",
        )))
        .fetch_all(&mut *tx)
        .await?;
    let mut written = HashSet::with_capacity(rows.len());
    let mut replaced = Vec::new();
    for row in &rows {
        let ordinal = row.number(0)?;
        written.insert(ordinal);
        if row.flag(1)? {
            replaced.push(ordinal);
        }
    }
    if !replaced.is_empty() {
        args()
            .int(block.place.part)
            .int(block.place.id)
            .numbers(replaced)
            .query("DELETE FROM steps WHERE part = $1 AND evaluation = $2 AND ordinal = ANY($3)")
            .execute(tx)
            .await?;
    }
    Ok(written)
}

const COLUMNS: &str = "part, evaluation, ordinal, case_id, status, reason, output_text, output_json, cost, model_calls, \
                       input_tokens, output_tokens, cached_tokens, reasoning_tokens, full_spend, full_cost, cached, \
                       started_at, duration_ms, full_duration_ms";
const REPLACED: &str = "case_id, status, reason, output_text, output_json, cost, model_calls, input_tokens, output_tokens, \
                        cached_tokens, reasoning_tokens, full_spend, full_cost, cached, started_at, duration_ms, \
                        full_duration_ms";
const EXCLUDED: &str = "excluded.case_id, excluded.status, excluded.reason, excluded.output_text, excluded.output_json, \
                        excluded.cost, excluded.model_calls, excluded.input_tokens, excluded.output_tokens, \
                        excluded.cached_tokens, excluded.reasoning_tokens, excluded.full_spend, excluded.full_cost, \
                        excluded.cached, excluded.started_at, excluded.duration_ms, excluded.full_duration_ms";

/// Runs column by column.
struct Columnar {
    ordinal: Vec<i64>,
    case_id: Vec<String>,
    status: Vec<String>,
    reason: Vec<Option<String>>,
    output_text: Vec<Option<Vec<u8>>>,
    output_json: Vec<Option<Vec<u8>>>,
    spend: [Vec<i64>; 6],
    full_spend: Vec<Option<String>>,
    full_cost: Vec<i64>,
    cached: Vec<bool>,
    started_at: Vec<i64>,
    duration_ms: Vec<i64>,
    full_duration_ms: Vec<i64>,
}

impl Columnar {
    fn new(runs: &[PreparedRun]) -> Self {
        fn column<T>(runs: &[PreparedRun], of: impl Fn(&PreparedRun) -> T) -> Vec<T> {
            runs.iter().map(of).collect()
        }
        Self {
            ordinal: column(runs, |run| sql::to_i64(run.ordinal)),
            case_id: column(runs, |run| run.case_id.clone()),
            status: column(runs, |run| sql::run_status(run.status).to_owned()),
            reason: column(runs, |run| run.reason.clone().map(without_nul)),
            output_text: column(runs, |run| run.output_text.clone()),
            output_json: column(runs, |run| run.output_json.clone()),
            spend: [0, 1, 2, 3, 4, 5].map(|n| column(runs, |run| numbers(&run.spend)[n])),
            full_spend: column(runs, |run| run.full_spend.clone()),
            full_cost: column(runs, |run| sql::to_i64(run.full_cost)),
            cached: column(runs, |run| run.cached),
            started_at: column(runs, |run| run.started_at),
            duration_ms: column(runs, |run| i64::from(run.duration_ms)),
            full_duration_ms: column(runs, |run| i64::from(run.full_duration_ms)),
        }
    }

    fn bind(&self, arguments: &mut Args) {
        arguments
            .ints(self.ordinal.clone())
            .texts(self.case_id.clone())
            .texts(self.status.clone())
            .opt_texts(self.reason.clone())
            .opt_byte_lists(self.output_text.clone())
            .opt_byte_lists(self.output_json.clone());
        for column in &self.spend {
            arguments.ints(column.clone());
        }
        arguments
            .opt_texts(self.full_spend.clone())
            .ints(self.full_cost.clone())
            .flags(self.cached.clone())
            .ints(self.started_at.clone())
            .ints(self.duration_ms.clone())
            .ints(self.full_duration_ms.clone());
    }
}

/// The six numbers of a spend, as they stand in rows.
fn numbers(spend: &Spend) -> [i64; 6] {
    [
        spend.cost.0,
        spend.model_calls,
        spend.usage.input_tokens,
        spend.usage.output_tokens,
        spend.usage.cached_input_tokens,
        spend.usage.reasoning_tokens,
    ]
    .map(sql::to_i64)
}

/// Copies the steps of the runs that were written.
async fn copy_steps(
    tx: &mut PgConnection,
    block: &Block,
    written: &HashSet<u64>,
) -> Result<(), Failure> {
    let mut chosen: Vec<&[u8]> = Vec::with_capacity(written.len());
    for (ordinal, rows) in &block.steps {
        if written.contains(ordinal) && !rows.as_slice().is_empty() {
            chosen.push(rows.as_slice());
        }
    }
    if chosen.is_empty() {
        return Ok(());
    }
    let table = partition("steps", block.place.part);
    let statement = format!("COPY {table} ({STEP_COLUMNS}) FROM STDIN (FORMAT binary)");
    let mut copy = tx.copy_in_raw(&statement).await?;
    let mut buffer = Vec::with_capacity(SENT_AT_ONCE);
    buffer.extend_from_slice(HEADER);
    for rows in chosen {
        buffer.extend_from_slice(rows);
        if buffer.len() >= SENT_AT_ONCE {
            copy.send(buffer.as_slice()).await?;
            buffer.clear();
        }
    }
    buffer.extend_from_slice(TRAILER);
    copy.send(buffer.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}

const STEP_COLUMNS: &str = "part, evaluation, ordinal, n, position, step, kind, status, key, cache_hit, input, output, \
                            finish, error_kind, error, cost, model_calls, input_tokens, output_tokens, cached_tokens, \
                            reasoning_tokens, full_spend, attempts, started_ms, duration_ms, full_duration_ms";

fn step_rows(place: Place, run: &PreparedRun) -> Rows {
    let mut rows = Rows::default();
    for (n, step) in (0..).zip(&run.steps) {
        step_row(place, run.ordinal, n, step, &mut rows);
    }
    rows
}

fn step_row(place: Place, ordinal: u64, n: i64, step: &PreparedStep, rows: &mut Rows) {
    let record = &step.record;
    let error_kind = record.error_kind.as_deref().map(no_nul);
    let error = record.error.as_deref().map(no_nul);
    rows.row(26)
        .int(place.part)
        .int(place.id)
        .number(ordinal)
        .int(n)
        .number(u64::from(record.position))
        .text(record.step.as_str())
        .text(&record.kind)
        .text(sql::step_status(record.status))
        .opt_bytes(record.key.as_ref().map(|key| &key.0.as_bytes()[..]))
        .flag(record.cache_hit)
        .opt_bytes(step.input.as_deref())
        .opt_bytes(step.output.as_deref())
        .opt_text(record.finish.map(sql::finish_reason))
        .opt_text(error_kind.as_deref())
        .opt_text(error.as_deref());
    for number in numbers(&record.spend) {
        rows.int(number);
    }
    rows.opt_text(step.full_spend.as_deref())
        .number(u64::from(record.attempts))
        .number(u64::from(record.started_ms))
        .number(u64::from(record.duration_ms))
        .number(u64::from(record.full_duration_ms));
}

/// As [`without_nul`], without a copy where there is nothing to replace.
fn no_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(without_nul(text.to_owned()))
    } else {
        Cow::Borrowed(text)
    }
}
