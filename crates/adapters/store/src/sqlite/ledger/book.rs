//! The ledger's arithmetic on the rows of one transaction.
//!
//! Invariants, for each account: `reserved` and `lost` are the sums over its reservations; after a successful
//! [`Book::reserve`], settled + lost + reserved is within every cap. Settling takes the worst case back first from what
//! is reserved and then from what a close has counted as lost: a reply that comes late replaces the guess by the bill.

use std::collections::{BTreeMap, HashMap};

use fapo_domain::money::SpendRole;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{Amount, Balance, Caps, Charge, LedgerError, ReservationId, Room};
use fapo_domain::{JobId, MicroUsd, Spend, TaskId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::amounts::{least, minus, plus};
use crate::codec::to_text;
use crate::error::Failure;
use crate::sqlite::sql::{self, Args, Columns, args};

/// Which rows to load.
#[derive(Default)]
pub(crate) struct Wanted {
    jobs: Vec<JobId>,
    reservations: Vec<(JobId, ReservationId)>,
}

impl Wanted {
    pub(crate) fn add_job(&mut self, job: JobId) {
        if !self.jobs.contains(&job) {
            self.jobs.push(job);
        }
    }

    pub(crate) fn add(&mut self, job: JobId, id: ReservationId) {
        self.add_job(job);
        // a batch is about few tasks: each worker makes many calls for one
        if !self.reservations.contains(&(job, id)) {
            self.reservations.push((job, id));
        }
    }
}

#[derive(Default)]
pub(super) struct Account {
    pub(super) caps: Caps,
    pub(super) reserved: Amount,
    pub(super) lost: Amount,
    pub(super) spent: BTreeMap<SpendRole, Spend>,
    /// `reserved` and `lost` as they are stored.
    stored: (Amount, Amount),
    changed_roles: Vec<SpendRole>,
}

#[derive(Default)]
struct Held {
    reserved: Amount,
    lost: Amount,
    /// Both as they are stored.
    stored: (Amount, Amount),
}

/// A task's row, as far as it decides whether a claim is live.
struct Claim {
    epoch: u64,
    leased: bool,
}

/// Rows of the ledger, loaded, changed and stored within one transaction.
#[derive(Default)]
pub(crate) struct Book {
    accounts: HashMap<JobId, Account>,
    held: HashMap<(JobId, ReservationId), Held>,
    claims: HashMap<TaskId, Claim>,
}

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

impl Held {
    fn has_moved(&self) -> bool {
        (self.reserved, self.lost) != self.stored
    }
}

impl Account {
    fn has_moved(&self) -> bool {
        (self.reserved, self.lost) != self.stored
    }
}

impl Wanted {
    /// Arguments of [`BEGIN`].
    pub(crate) fn arguments(&self) -> Result<Args, Failure> {
        let reservations: Vec<(String, String, i64)> = self
            .reservations
            .iter()
            .map(|(job, id)| (job_hex(*job), task_hex(id.task), sql::to_i64(id.epoch)))
            .collect();
        let mut arguments = self.account_arguments()?;
        arguments.text(to_text(&reservations)?);
        Ok(arguments)
    }

    fn account_arguments(&self) -> Result<Args, Failure> {
        let jobs: Vec<String> = self.jobs.iter().map(|job| job_hex(*job)).collect();
        let mut arguments = args();
        arguments.text(to_text(&jobs)?);
        Ok(arguments)
    }
}

fn job_hex(job: JobId) -> String {
    sql::to_hex(job.0.as_bytes())
}

fn task_hex(task: TaskId) -> String {
    sql::to_hex(task.0.as_bytes())
}

impl Book {
    /// Reads one account.
    pub(crate) async fn of_account(
        connection: &mut SqliteConnection,
        job: JobId,
    ) -> Result<Self, Failure> {
        let mut wanted = Wanted::default();
        wanted.add_job(job);
        let rows = wanted
            .account_arguments()?
            .query(ACCOUNTS)
            .fetch_all(connection)
            .await?;
        Self::read(&rows, &wanted)
    }

    /// Reads the rows that [`BEGIN`] found.
    pub(crate) fn read(rows: &[SqliteRow], wanted: &Wanted) -> Result<Self, Failure> {
        let mut book = Self::default();
        for row in rows {
            if sqlx::Row::len(row) == ACCOUNT_COLUMNS {
                book.read_account(row)?;
            } else {
                book.read_reservation(row, &wanted.reservations)?;
            }
        }
        Ok(book)
    }

    fn read_account(&mut self, row: &SqliteRow) -> Result<(), Failure> {
        let account = self.accounts.entry(row.job(0)?).or_default();
        account.caps = Caps {
            cost: row.column::<Option<i64>>(1)?.map(count).map(MicroUsd),
            model_calls: row.column::<Option<i64>>(2)?.map(count),
        };
        account.reserved = amount(row, 3)?;
        account.lost = amount(row, 5)?;
        account.stored = (account.reserved, account.lost);
        if let Some(role) = row.column::<Option<String>>(7)? {
            account
                .spent
                .insert(sql::to_spend_role(&role)?, sql::to_spend(row, 8)?);
        }
        Ok(())
    }

    fn read_reservation(
        &mut self,
        row: &SqliteRow,
        reservations: &[(JobId, ReservationId)],
    ) -> Result<(), Failure> {
        let index = usize::try_from(row.number(0)?).unwrap_or(usize::MAX);
        let Some(&(job, id)) = reservations.get(index) else {
            return Err(Failure::corrupt("a reservation that was not asked for"));
        };
        if let Some(epoch) = row.column::<Option<i64>>(1)? {
            let leased = row.flag(2)?;
            let epoch = count(epoch);
            self.claims.insert(id.task, Claim { epoch, leased });
        }
        if row.column::<Option<i64>>(3)?.is_some() {
            let (reserved, lost) = (amount(row, 3)?, amount(row, 5)?);
            let held = Held {
                reserved,
                lost,
                stored: (reserved, lost),
            };
            self.held.insert((job, id), held);
        }
        Ok(())
    }

    /// Reserves, or says why not; a refusal changes nothing.
    pub(crate) fn reserve(
        &mut self,
        job: JobId,
        id: ReservationId,
        amount: Amount,
    ) -> Result<(), LedgerError> {
        // a task without a row is work outside any job, such as running one case by hand
        if let Some(claim) = self.claims.get(&id.task)
            && !(claim.leased && claim.epoch == id.epoch)
        {
            return Err(StoreError::StaleLease { task: id.task }.into());
        }
        let account = self.accounts.get_mut(&job).ok_or_else(|| no_account(job))?;
        account.fits(amount)?;
        account.reserved = plus(account.reserved, amount);
        let held = self.held.entry((job, id)).or_default();
        held.reserved = plus(held.reserved, amount);
        Ok(())
    }

    /// Settles a charge, and keeps what it releases where that is asked for and possible.
    pub(crate) fn settle(&mut self, charge: &Charge) -> Result<Room, StoreError> {
        self.book(charge)?;
        let kept = charge.keep
            && self
                .reserve(charge.job, charge.reservation, charge.release)
                .is_ok();
        Ok(if kept { Room::Kept } else { Room::Released })
    }

    fn book(&mut self, charge: &Charge) -> Result<(), StoreError> {
        let account = self
            .accounts
            .get_mut(&charge.job)
            .ok_or_else(|| no_account(charge.job))?;
        if charge.lost != Amount::default() {
            account.lost = plus(account.lost, charge.lost);
            let held = self
                .held
                .entry((charge.job, charge.reservation))
                .or_default();
            held.lost = plus(held.lost, charge.lost);
        }
        if charge.release != Amount::default() {
            let held = self
                .held
                .entry((charge.job, charge.reservation))
                .or_default();
            let back = least(charge.release, held.reserved);
            held.reserved = minus(held.reserved, back);
            account.reserved = minus(account.reserved, back);
            let found = least(minus(charge.release, back), held.lost);
            held.lost = minus(held.lost, found);
            account.lost = minus(account.lost, found);
        }
        if charge.spent != Spend::default() {
            *account.spent.entry(charge.role).or_default() += charge.spent;
            if !account.changed_roles.contains(&charge.role) {
                account.changed_roles.push(charge.role);
            }
        }
        Ok(())
    }

    /// Whether there is anything to store.
    pub(crate) fn is_changed(&self) -> bool {
        self.held.values().any(Held::has_moved)
            || self
                .accounts
                .values()
                .any(|account| account.has_moved() || !account.changed_roles.is_empty())
    }

    /// The statements that store what changed, of [`STORE`], and their arguments.
    pub(crate) fn changes(self, arguments: &mut Args) -> Result<Stored, Failure> {
        let held: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| held.has_moved())
            .map(|((job, id), held)| {
                (
                    job_hex(*job),
                    task_hex(id.task),
                    sql::to_i64(id.epoch),
                    numbers(held.reserved),
                    numbers(held.lost),
                )
            })
            // flat, as the statement reads it
            .map(
                |(job, task, epoch, [cost, calls], [lost_cost, lost_calls])| {
                    (job, task, epoch, cost, calls, lost_cost, lost_calls)
                },
            )
            .collect();
        let mut accounts = Vec::new();
        let mut ledger = Vec::new();
        for (job, account) in &self.accounts {
            if account.has_moved() {
                let ([cost, calls], [lost_cost, lost_calls]) =
                    (numbers(account.reserved), numbers(account.lost));
                accounts.push((job_hex(*job), cost, calls, lost_cost, lost_calls));
            }
            for role in &account.changed_roles {
                let spent = account.spent.get(role).copied().unwrap_or_default();
                ledger.push((
                    job_hex(*job),
                    sql::spend_role(*role),
                    sql::to_i64(spent.cost.0),
                    sql::to_i64(spent.model_calls),
                    sql::to_i64(spent.usage.input_tokens),
                    sql::to_i64(spent.usage.output_tokens),
                    sql::to_i64(spent.usage.cached_input_tokens),
                    sql::to_i64(spent.usage.reasoning_tokens),
                ));
            }
        }
        let stored = Stored {
            reservations: !held.is_empty(),
            accounts: !accounts.is_empty(),
            ledger: !ledger.is_empty(),
        };
        if stored.reservations {
            arguments.text(to_text(&held)?);
        }
        if stored.accounts {
            arguments.text(to_text(&accounts)?);
        }
        if stored.ledger {
            arguments.text(to_text(&ledger)?);
        }
        Ok(stored)
    }

    /// An account, or `None` where none was opened.
    pub(crate) fn balance(&self, job: JobId) -> Option<Balance> {
        let account = self.accounts.get(&job)?;
        Some(Balance {
            caps: account.caps,
            reserved: account.reserved,
            spent: account
                .spent
                .iter()
                .map(|(role, spend)| (*role, *spend))
                .collect(),
            lost: account.lost,
        })
    }
}

fn no_account(job: JobId) -> StoreError {
    StoreError::NotFound {
        kind: "account",
        id: job.to_string(),
    }
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
