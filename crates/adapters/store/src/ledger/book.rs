//! The ledger's arithmetic on the rows of one transaction.
//!
//! Invariants, for each account: `reserved` and `lost` are the sums over its reservations; after a successful
//! [`Book::reserve`], settled + lost + reserved is within every cap. Settling takes the worst case back first from what
//! is reserved and then from what a close has counted as lost: a reply that comes late replaces the guess by the bill.

use std::collections::{BTreeMap, HashMap};

use fapo_domain::money::SpendRole;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{Amount, Balance, Caps, Charge, LedgerError, ReservationId};
use fapo_domain::{JobId, MicroUsd, Spend, TaskId};
use sqlx::sqlite::SqliteConnection;

use super::amounts::{least, minus, plus};
use crate::error::Failure;
use crate::sql::{self, Args, Columns, Insert, args};

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
struct Account {
    caps: Caps,
    reserved: Amount,
    lost: Amount,
    spent: BTreeMap<SpendRole, Spend>,
    changed: bool,
    changed_roles: Vec<SpendRole>,
}

#[derive(Default)]
struct Held {
    reserved: Amount,
    lost: Amount,
    changed: bool,
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

impl Book {
    /// Loads the wanted rows.
    pub(crate) async fn load(
        connection: &mut SqliteConnection,
        wanted: Wanted,
    ) -> Result<Self, Failure> {
        let mut book = Self::default();
        if wanted.jobs.is_empty() {
            return Ok(book);
        }
        book.load_accounts(connection, &wanted.jobs).await?;
        if !wanted.reservations.is_empty() {
            book.load_reservations(connection, wanted.reservations)
                .await?;
        }
        Ok(book)
    }

    async fn load_accounts(
        &mut self,
        connection: &mut SqliteConnection,
        jobs: &[JobId],
    ) -> Result<(), Failure> {
        let list: Vec<String> = jobs
            .iter()
            .map(|job| hex::encode(job.0.as_bytes()))
            .collect();
        let rows = args()
            .text(crate::codec::to_text(&list)?)
            .query(
                "SELECT job, cap_cost, cap_calls, reserved_cost, reserved_calls, lost_cost, lost_calls, role, \
                 cost, model_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens \
                 FROM accounts LEFT JOIN ledger USING (job) \
                 WHERE job IN (SELECT unhex(value) FROM json_each(?))",
            )
            .fetch_all(connection)
            .await?;
        for row in &rows {
            let account = self.accounts.entry(row.job(0)?).or_default();
            account.caps = Caps {
                cost: row.column::<Option<i64>>(1)?.map(count).map(MicroUsd),
                model_calls: row.column::<Option<i64>>(2)?.map(count),
            };
            account.reserved = Amount {
                cost: MicroUsd(row.number(3)?),
                model_calls: row.number(4)?,
            };
            account.lost = Amount {
                cost: MicroUsd(row.number(5)?),
                model_calls: row.number(6)?,
            };
            if let Some(role) = row.column::<Option<String>>(7)? {
                account
                    .spent
                    .insert(sql::to_spend_role(&role)?, sql::to_spend(row, 8)?);
            }
        }
        Ok(())
    }

    async fn load_reservations(
        &mut self,
        connection: &mut SqliteConnection,
        reservations: Vec<(JobId, ReservationId)>,
    ) -> Result<(), Failure> {
        let list: Vec<(String, String, i64)> = reservations
            .iter()
            .map(|(job, id)| {
                (
                    hex::encode(job.0.as_bytes()),
                    hex::encode(id.task.0.as_bytes()),
                    sql::to_i64(id.epoch),
                )
            })
            .collect();
        let rows = args()
            .text(crate::codec::to_text(&list)?)
            .query(
                "SELECT k.key, t.epoch, t.state = 'leased', r.cost, r.calls, r.lost_cost, r.lost_calls \
                 FROM json_each(?) AS k \
                 LEFT JOIN tasks AS t ON t.id = unhex(k.value ->> 1) \
                 LEFT JOIN reservations AS r ON r.job = unhex(k.value ->> 0) \
                 AND r.task = unhex(k.value ->> 1) AND r.epoch = k.value ->> 2",
            )
            .fetch_all(connection)
            .await?;
        for row in &rows {
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
                let held = Held {
                    reserved: Amount {
                        cost: MicroUsd(row.number(3)?),
                        model_calls: row.number(4)?,
                    },
                    lost: Amount {
                        cost: MicroUsd(row.number(5)?),
                        model_calls: row.number(6)?,
                    },
                    changed: false,
                };
                self.held.insert((job, id), held);
            }
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
        account.changed = true;
        let held = self.held.entry((job, id)).or_default();
        held.reserved = plus(held.reserved, amount);
        held.changed = true;
        Ok(())
    }

    /// Settles a charge.
    pub(crate) fn settle(&mut self, charge: &Charge) -> Result<(), StoreError> {
        let account = self
            .accounts
            .get_mut(&charge.job)
            .ok_or_else(|| no_account(charge.job))?;
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
            held.changed = true;
            account.changed = true;
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
        self.accounts
            .values()
            .any(|account| account.changed || !account.changed_roles.is_empty())
    }

    /// Stores what changed.
    pub(crate) async fn store(self, tx: &mut SqliteConnection) -> Result<(), Failure> {
        static HELD: Insert = Insert::new(
            "INSERT OR REPLACE INTO reservations (job, task, epoch, cost, calls, lost_cost, lost_calls) VALUES",
            7,
            "",
        );
        let held = self.held.into_iter().filter(|(_, held)| held.changed);
        HELD.run(tx, held.collect(), bind_held).await?;
        for (job, account) in self.accounts {
            if account.changed {
                args()
                    .job(job)
                    .number(account.reserved.cost.0)
                    .number(account.reserved.model_calls)
                    .number(account.lost.cost.0)
                    .number(account.lost.model_calls)
                    .query(
                        "UPDATE accounts SET reserved_cost = ?2, reserved_calls = ?3, lost_cost = ?4, \
                         lost_calls = ?5 WHERE job = ?1",
                    )
                    .execute(&mut *tx)
                    .await?;
            }
            for role in account.changed_roles {
                let spent = account.spent.get(&role).copied().unwrap_or_default();
                args()
                    .job(job)
                    .text(sql::spend_role(role))
                    .spend(&spent)
                    .query(
                        "INSERT OR REPLACE INTO ledger (job, role, cost, model_calls, input_tokens, output_tokens, \
                         cached_tokens, reasoning_tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    )
                    .execute(&mut *tx)
                    .await?;
            }
        }
        Ok(())
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

impl Account {
    fn fits(&self, amount: Amount) -> Result<(), LedgerError> {
        let spent: Spend = self.spent.values().copied().sum();
        let gone = Amount {
            cost: spent.cost + self.lost.cost,
            model_calls: spent.model_calls.saturating_add(self.lost.model_calls),
        };
        let cost = self
            .caps
            .cost
            .map(|cap| Room::of(gone.cost.0, self.reserved.cost.0, amount.cost.0, cap.0));
        let calls = self.caps.model_calls.map(|cap| {
            Room::of(
                gone.model_calls,
                self.reserved.model_calls,
                amount.model_calls,
                cap,
            )
        });
        let rooms = [cost, calls];
        if rooms.iter().flatten().all(|room| room.fits) {
            return Ok(());
        }
        let what = if cost.is_some_and(|room| !room.fits) {
            format!(
                "{} of the cost cap {} is left and {} may be needed",
                MicroUsd(cost.map_or(0, |room| room.left)),
                self.caps.cost.unwrap_or_default(),
                amount.cost
            )
        } else {
            format!(
                "{} of the cap of {} model calls is left and {} may be needed",
                calls.map_or(0, |room| room.left),
                self.caps.model_calls.unwrap_or_default(),
                amount.model_calls
            )
        };
        Err(LedgerError::Exhausted {
            what,
            may_fit_later: rooms.iter().flatten().all(|room| room.could_fit),
        })
    }
}

/// One cap's verdict.
#[derive(Clone, Copy)]
struct Room {
    fits: bool,
    /// If everything reserved were settled at nothing.
    could_fit: bool,
    left: u64,
}

impl Room {
    fn of(gone: u64, reserved: u64, amount: u64, cap: u64) -> Self {
        let taken = gone.saturating_add(reserved);
        Self {
            fits: taken.saturating_add(amount) <= cap,
            could_fit: gone.saturating_add(amount) <= cap,
            left: cap.saturating_sub(taken),
        }
    }
}

fn bind_held(((job, id), held): ((JobId, ReservationId), Held), arguments: &mut Args) {
    arguments
        .job(job)
        .hash(&id.task.0)
        .number(id.epoch)
        .number(held.reserved.cost.0)
        .number(held.reserved.model_calls)
        .number(held.lost.cost.0)
        .number(held.lost.model_calls);
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
