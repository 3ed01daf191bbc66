//! The ledger's rows: how [`Book`] is read and stored.

use fapo_domain::clock::Timestamp;
use fapo_domain::ports::ledger::{Amount, Caps};
use fapo_domain::{JobId, MicroUsd};
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use uuid::Uuid;

use crate::error::Failure;
use crate::group::Entry;
use crate::ledger::{Book, Changes, Wanted};
use crate::postgres::sql::{self, Columns, args};

/// Locks the accounts of the group's jobs, in the order of the jobs. What is decided under the locks is read after.
pub(crate) async fn lock(tx: &mut PgConnection, wanted: &Wanted) -> Result<Vec<PgRow>, Failure> {
    let rows = args()
        .jobs(wanted.jobs.iter().copied())
        .query(
            "SELECT job, cap_cost, cap_calls, reserved_cost, reserved_calls, lost_cost, lost_calls FROM accounts \
             WHERE job = ANY($1) ORDER BY job FOR NO KEY UPDATE",
        )
        .fetch_all(tx)
        .await?;
    Ok(rows)
}

/// Reads what belongs to locked accounts. `accounts` are the rows that [`lock`] found.
pub(crate) async fn read(
    tx: &mut PgConnection,
    accounts: &[PgRow],
    wanted: &Wanted,
) -> Result<Book, Failure> {
    let mut book = Book::default();
    if accounts.is_empty() {
        // nothing can be reserved or settled
        return Ok(book);
    }
    for row in accounts {
        read_account(&mut book, row)?;
    }
    let spent = args()
        .jobs(wanted.jobs.iter().copied())
        .query(SPENT)
        .fetch_all(&mut *tx)
        .await?;
    for row in &spent {
        read_spent(&mut book, row)?;
    }
    let reservations = &wanted.reservations;
    let held = args()
        .jobs(reservations.iter().map(|(job, _)| *job))
        .hashes(reservations.iter().map(|(_, id)| &id.task.0))
        .numbers(reservations.iter().map(|(_, id)| id.epoch))
        .query(
            "SELECT n, t.epoch, t.state = 'leased', r.cost, r.calls, r.lost_cost, r.lost_calls \
             FROM UNNEST($1::uuid[], $2::bytea[], $3::bigint[]) WITH ORDINALITY AS k (job, task, epoch, n) \
             LEFT JOIN tasks AS t ON t.id = k.task \
             LEFT JOIN reservations AS r ON r.job = k.job AND r.task = k.task AND r.epoch = k.epoch",
        )
        .fetch_all(tx)
        .await?;
    for row in &held {
        let index = usize::try_from(row.number(0)?).unwrap_or(usize::MAX);
        let Some(&(job, id)) = index.checked_sub(1).and_then(|n| reservations.get(n)) else {
            return Err(Failure::corrupt("a reservation that was not asked for"));
        };
        if let Some(epoch) = row.column::<Option<i64>>(1)? {
            book.put_claim(id.task, count(epoch), row.flag(2)?);
        }
        if row.column::<Option<i64>>(3)?.is_some() {
            book.put_held(job, id, amount(row, 3)?, amount(row, 5)?);
        }
    }
    Ok(book)
}

/// What was spent of accounts, by role.
const SPENT: &str = "SELECT job, role, cost, model_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens \
                     FROM ledger WHERE job = ANY($1)";

/// Reads one account, as it was at one moment.
pub(crate) async fn of_account(pool: &PgPool, job: JobId) -> Result<Book, Failure> {
    let rows = args()
        .job(job)
        .query(
            "SELECT job, cap_cost, cap_calls, reserved_cost, reserved_calls, lost_cost, lost_calls, role, cost, \
             model_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens \
             FROM accounts LEFT JOIN ledger USING (job) WHERE job = $1",
        )
        .fetch_all(pool)
        .await?;
    let mut book = Book::default();
    for row in &rows {
        read_account(&mut book, row)?;
        if let Some(role) = row.column::<Option<&str>>(7)? {
            book.put_spent(job, sql::to_spend_role(role)?, row.spend(8)?);
        }
    }
    Ok(book)
}

fn read_account(book: &mut Book, row: &PgRow) -> Result<(), Failure> {
    let caps = Caps {
        cost: row.column::<Option<i64>>(1)?.map(count).map(MicroUsd),
        model_calls: row.column::<Option<i64>>(2)?.map(count),
    };
    book.put_account(row.job(0)?, caps, amount(row, 3)?, amount(row, 5)?);
    Ok(())
}

fn read_spent(book: &mut Book, row: &PgRow) -> Result<(), Failure> {
    book.put_spent(
        row.job(0)?,
        sql::to_spend_role(row.column(1)?)?,
        row.spend(2)?,
    );
    Ok(())
}

/// Stores what changed, the step results with it, and the group's number, in one statement. Of results with one key the first stays; they are
/// inserted in the order of their keys, so that two groups with some in common do not wait for each other in a circle.
pub(crate) async fn store(
    tx: &mut PgConnection,
    (writer, number): (Uuid, u64),
    changes: Changes,
    mut entries: Vec<Entry>,
    now: Timestamp,
) -> Result<(), Failure> {
    // stable: the first of two stays the first
    entries.sort_by_key(|entry| entry.key);
    let Changes {
        held,
        accounts,
        spent,
    } = changes;
    args()
        // reservations
        .jobs(held.iter().map(|(job, ..)| *job))
        .hashes(held.iter().map(|(_, id, ..)| &id.task.0))
        .numbers(held.iter().map(|(_, id, ..)| id.epoch))
        .numbers(held.iter().map(|(_, _, reserved, _)| reserved.cost.0))
        .numbers(held.iter().map(|(_, _, reserved, _)| reserved.model_calls))
        .numbers(held.iter().map(|(.., lost)| lost.cost.0))
        .numbers(held.iter().map(|(.., lost)| lost.model_calls))
        // accounts
        .jobs(accounts.iter().map(|(job, ..)| *job))
        .numbers(accounts.iter().map(|(_, reserved, _)| reserved.cost.0))
        .numbers(accounts.iter().map(|(_, reserved, _)| reserved.model_calls))
        .numbers(accounts.iter().map(|(.., lost)| lost.cost.0))
        .numbers(accounts.iter().map(|(.., lost)| lost.model_calls))
        // what was spent
        .jobs(spent.iter().map(|(job, ..)| *job))
        .texts(
            spent
                .iter()
                .map(|(_, role, _)| sql::spend_role(*role).to_owned())
                .collect(),
        )
        .numbers(spent.iter().map(|(.., spent)| spent.cost.0))
        .numbers(spent.iter().map(|(.., spent)| spent.model_calls))
        .numbers(spent.iter().map(|(.., spent)| spent.usage.input_tokens))
        .numbers(spent.iter().map(|(.., spent)| spent.usage.output_tokens))
        .numbers(
            spent
                .iter()
                .map(|(.., spent)| spent.usage.cached_input_tokens),
        )
        .numbers(spent.iter().map(|(.., spent)| spent.usage.reasoning_tokens))
        // step results
        .hashes(entries.iter().map(|entry| &entry.key.0))
        .byte_lists(entries.into_iter().map(|entry| entry.body).collect())
        .int(now.0)
        // which group it is
        .id(writer)
        .number(number)
        .query(STORE)
        .execute(tx)
        .await?;
    Ok(())
}

const STORE: &str = "WITH held AS ( \
     INSERT INTO reservations (job, task, epoch, cost, calls, lost_cost, lost_calls) \
     SELECT * FROM UNNEST($1::uuid[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) \
     ON CONFLICT (job, task, epoch) DO UPDATE SET cost = excluded.cost, calls = excluded.calls, \
     lost_cost = excluded.lost_cost, lost_calls = excluded.lost_calls \
     ), moved AS ( \
     UPDATE accounts AS a SET reserved_cost = n.reserved_cost, reserved_calls = n.reserved_calls, lost_cost = n.lost_cost, \
     lost_calls = n.lost_calls FROM UNNEST($8::uuid[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[]) \
     AS n (job, reserved_cost, reserved_calls, lost_cost, lost_calls) WHERE a.job = n.job \
     ), spent AS ( \
     INSERT INTO ledger (job, role, cost, model_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens) \
     SELECT * FROM UNNEST($13::uuid[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], \
     $19::bigint[], $20::bigint[]) \
     ON CONFLICT (job, role) DO UPDATE SET cost = excluded.cost, model_calls = excluded.model_calls, \
     input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, \
     cached_tokens = excluded.cached_tokens, reasoning_tokens = excluded.reasoning_tokens \
     ), named AS ( \
     INSERT INTO writers (id, number, at) VALUES ($24, $25, $23) \
     ON CONFLICT (id) DO UPDATE SET number = excluded.number, at = excluded.at \
     ) INSERT INTO step_cache (key, body, created_at) \
     SELECT key, body, $23 FROM UNNEST($21::bytea[], $22::bytea[]) AS e (key, body) ON CONFLICT DO NOTHING";

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn amount(row: &PgRow, n: usize) -> Result<Amount, Failure> {
    Ok(Amount {
        cost: MicroUsd(row.number(n)?),
        model_calls: row.number(n + 1)?,
    })
}
