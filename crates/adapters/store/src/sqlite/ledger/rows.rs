//! The ledger's rows: how [`Book`] is read and stored.

use fapo_domain::ports::ledger::{Amount, Caps, ReservationId};
use fapo_domain::{JobId, MicroUsd, TaskId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::codec::to_text;
use crate::error::Failure;
use crate::ledger::{Book, Changes, Wanted};
use crate::sqlite::sql::{self, Args, Columns, args};

/// The accounts of some jobs with what was spent by role; `?` is a JSON array of job ids.
macro_rules! accounts {
    () => {
        "SELECT job, cap_cost, cap_calls, reserved_cost, reserved_calls, lost_cost, lost_calls, role, cost, \
         model_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens \
         FROM accounts LEFT JOIN ledger USING (job) WHERE job IN (SELECT unhex(value) FROM json_each(?))"
    };
}

/// Reads accounts.
const ACCOUNTS: &str = accounts!();
/// Columns of an account's row, to tell it from a reservation's.
const ACCOUNT_COLUMNS: usize = 14;

/// Begins a transaction and reads accounts, and reservations with their tasks; the second `?` is a JSON array of
/// `[job, task, epoch]`.
pub(crate) const BEGIN: &str = concat!(
    "BEGIN IMMEDIATE; ",
    accounts!(),
    "; SELECT k.key, t.epoch, t.state = 'leased', r.cost, r.calls, r.lost_cost, r.lost_calls \
     FROM json_each(?) AS k LEFT JOIN tasks AS t ON t.id = unhex(k.value ->> 1) \
     LEFT JOIN reservations AS r ON r.job = unhex(k.value ->> 0) \
     AND r.task = unhex(k.value ->> 1) AND r.epoch = k.value ->> 2"
);

/// Stores what changed of reservations, accounts and the ledger; each `?` is a JSON array of rows, so that one text serves
/// any number of them.
const STORE: [&str; 3] = [
    "INSERT OR REPLACE INTO reservations (job, task, epoch, cost, calls, lost_cost, lost_calls) \
     SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6 \
     FROM json_each(?);",
    "UPDATE accounts SET reserved_cost = n.value ->> 1, reserved_calls = n.value ->> 2, lost_cost = n.value ->> 3, \
     lost_calls = n.value ->> 4 FROM json_each(?) AS n WHERE job = unhex(n.value ->> 0);",
    "INSERT OR REPLACE INTO ledger \
     (job, role, cost, model_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens) \
     SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, \
     value ->> 7 FROM json_each(?);",
];

/// Which tables a group of writes changes. Where the next call takes over what the last one reserved, it is the ledger alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    reservations: bool,
    accounts: bool,
    ledger: bool,
}

impl Stored {
    /// Each way there is.
    pub(crate) const WAYS: usize = 8;

    /// Its number, below [`Self::WAYS`].
    pub(crate) fn way(self) -> usize {
        usize::from(self.reservations)
            + 2 * usize::from(self.accounts)
            + 4 * usize::from(self.ledger)
    }

    /// The statements of a way.
    pub(crate) fn statements(way: usize) -> String {
        let wanted = STORE.iter().enumerate();
        wanted
            .filter(|(place, _)| way & (1 << place) != 0)
            .fold(String::new(), |text, (_, statement)| text + statement + " ")
    }
}

/// Arguments of [`BEGIN`].
pub(crate) fn begin_arguments(wanted: &Wanted) -> Result<Args, Failure> {
    let reservations: Vec<(String, String, i64)> = wanted
        .reservations
        .iter()
        .map(|(job, id)| (job_hex(*job), task_hex(id.task), sql::to_i64(id.epoch)))
        .collect();
    let mut arguments = account_arguments(&wanted.jobs)?;
    arguments.text(to_text(&reservations)?);
    Ok(arguments)
}

fn account_arguments(jobs: &[JobId]) -> Result<Args, Failure> {
    let jobs: Vec<String> = jobs.iter().map(|job| job_hex(*job)).collect();
    let mut arguments = args();
    arguments.text(to_text(&jobs)?);
    Ok(arguments)
}

fn job_hex(job: JobId) -> String {
    sql::to_hex(job.0.as_bytes())
}

fn task_hex(task: TaskId) -> String {
    sql::to_hex(task.0.as_bytes())
}

/// Reads one account.
pub(crate) async fn of_account(
    connection: &mut SqliteConnection,
    job: JobId,
) -> Result<Book, Failure> {
    let rows = account_arguments(&[job])?
        .query(ACCOUNTS)
        .fetch_all(connection)
        .await?;
    read(&rows, &Wanted::default())
}

/// Reads the rows that [`BEGIN`] found.
pub(crate) fn read(rows: &[SqliteRow], wanted: &Wanted) -> Result<Book, Failure> {
    let mut book = Book::default();
    for row in rows {
        if sqlx::Row::len(row) == ACCOUNT_COLUMNS {
            read_account(&mut book, row)?;
        } else {
            read_reservation(&mut book, row, &wanted.reservations)?;
        }
    }
    Ok(book)
}

fn read_account(book: &mut Book, row: &SqliteRow) -> Result<(), Failure> {
    let job = row.job(0)?;
    let caps = Caps {
        cost: row.column::<Option<i64>>(1)?.map(count).map(MicroUsd),
        model_calls: row.column::<Option<i64>>(2)?.map(count),
    };
    book.put_account(job, caps, amount(row, 3)?, amount(row, 5)?);
    if let Some(role) = row.column::<Option<String>>(7)? {
        book.put_spent(job, sql::to_spend_role(&role)?, sql::to_spend(row, 8)?);
    }
    Ok(())
}

fn read_reservation(
    book: &mut Book,
    row: &SqliteRow,
    reservations: &[(JobId, ReservationId)],
) -> Result<(), Failure> {
    let index = usize::try_from(row.number(0)?).unwrap_or(usize::MAX);
    let Some(&(job, id)) = reservations.get(index) else {
        return Err(Failure::corrupt("a reservation that was not asked for"));
    };
    if let Some(epoch) = row.column::<Option<i64>>(1)? {
        book.put_claim(id.task, count(epoch), row.flag(2)?);
    }
    if row.column::<Option<i64>>(3)?.is_some() {
        book.put_held(job, id, amount(row, 3)?, amount(row, 5)?);
    }
    Ok(())
}

/// The statements that store what changed, of [`STORE`], and their arguments.
pub(crate) fn store_arguments(changes: Changes, arguments: &mut Args) -> Result<Stored, Failure> {
    // flat, as the statements read them
    let held: Vec<_> = changes
        .held
        .iter()
        .map(|(job, id, reserved, lost)| {
            let ([cost, calls], [lost_cost, lost_calls]) = (numbers(*reserved), numbers(*lost));
            let (task, epoch) = (task_hex(id.task), sql::to_i64(id.epoch));
            (
                job_hex(*job),
                task,
                epoch,
                cost,
                calls,
                lost_cost,
                lost_calls,
            )
        })
        .collect();
    let accounts: Vec<_> = changes
        .accounts
        .iter()
        .map(|(job, reserved, lost)| {
            let ([cost, calls], [lost_cost, lost_calls]) = (numbers(*reserved), numbers(*lost));
            (job_hex(*job), cost, calls, lost_cost, lost_calls)
        })
        .collect();
    let spent: Vec<_> = changes
        .spent
        .iter()
        .map(|(job, role, spent)| {
            (
                job_hex(*job),
                sql::spend_role(*role),
                sql::to_i64(spent.cost.0),
                sql::to_i64(spent.model_calls),
                sql::to_i64(spent.usage.input_tokens),
                sql::to_i64(spent.usage.output_tokens),
                sql::to_i64(spent.usage.cached_input_tokens),
                sql::to_i64(spent.usage.reasoning_tokens),
            )
        })
        .collect();
    let stored = Stored {
        reservations: !held.is_empty(),
        accounts: !accounts.is_empty(),
        ledger: !spent.is_empty(),
    };
    if stored.reservations {
        arguments.text(to_text(&held)?);
    }
    if stored.accounts {
        arguments.text(to_text(&accounts)?);
    }
    if stored.ledger {
        arguments.text(to_text(&spent)?);
    }
    Ok(stored)
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn amount(row: &SqliteRow, n: usize) -> Result<Amount, Failure> {
    Ok(Amount {
        cost: MicroUsd(row.number(n)?),
        model_calls: row.number(n + 1)?,
    })
}

fn numbers(amount: Amount) -> [i64; 2] {
    [sql::to_i64(amount.cost.0), sql::to_i64(amount.model_calls)]
}
