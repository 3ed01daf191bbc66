//! The ledger's arithmetic on the rows of one transaction. A back end reads the rows that are [`Wanted`], hands them in, and
//! stores the [`Changes`].
//!
//! Invariants, for each account: `reserved` and `lost` are the sums over its reservations; after a successful
//! [`Book::reserve`], settled + lost + reserved is within every cap. Settling takes the worst case back first from what
//! is reserved and then from what a close has counted as lost: a reply that comes late replaces the guess by the bill.

use std::collections::{BTreeMap, HashMap};

use fapo_domain::money::SpendRole;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{Amount, Balance, Caps, Charge, LedgerError, ReservationId, Room};
use fapo_domain::{JobId, Spend, TaskId};

use super::amounts::{least, minus, plus};

/// Which rows to load.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) jobs: Vec<JobId>,
    pub(crate) reservations: Vec<(JobId, ReservationId)>,
}

/// What is to be stored, in the order of the rows' keys.
pub(crate) struct Changes {
    /// Reservations: what is reserved, and what is lost.
    pub(crate) held: Vec<(JobId, ReservationId, Amount, Amount)>,
    /// Accounts: what is reserved, and what is lost.
    pub(crate) accounts: Vec<(JobId, Amount, Amount)>,
    /// What was spent in all.
    pub(crate) spent: Vec<(JobId, SpendRole, Spend)>,
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

impl Book {
    /// An account's row.
    pub(crate) fn put_account(&mut self, job: JobId, caps: Caps, reserved: Amount, lost: Amount) {
        let account = self.accounts.entry(job).or_default();
        account.caps = caps;
        account.reserved = reserved;
        account.lost = lost;
        account.stored = (reserved, lost);
    }

    /// What one role has spent of an account.
    pub(crate) fn put_spent(&mut self, job: JobId, role: SpendRole, spend: Spend) {
        self.accounts
            .entry(job)
            .or_default()
            .spent
            .insert(role, spend);
    }

    /// A task's row: its latest claim, and whether it is live.
    pub(crate) fn put_claim(&mut self, task: TaskId, epoch: u64, leased: bool) {
        self.claims.insert(task, Claim { epoch, leased });
    }

    /// A reservation's row.
    pub(crate) fn put_held(
        &mut self,
        job: JobId,
        id: ReservationId,
        reserved: Amount,
        lost: Amount,
    ) {
        let held = Held {
            reserved,
            lost,
            stored: (reserved, lost),
        };
        self.held.insert((job, id), held);
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

    /// What changed.
    pub(crate) fn changes(self) -> Changes {
        let mut held: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| held.has_moved())
            .map(|((job, id), held)| (*job, *id, held.reserved, held.lost))
            .collect();
        held.sort_unstable_by_key(|(job, id, ..)| (*job, *id));
        let mut accounts = Vec::new();
        let mut spent = Vec::new();
        for (job, account) in &self.accounts {
            if account.has_moved() {
                accounts.push((*job, account.reserved, account.lost));
            }
            for role in &account.changed_roles {
                let spend = account.spent.get(role).copied().unwrap_or_default();
                spent.push((*job, *role, spend));
            }
        }
        accounts.sort_unstable_by_key(|(job, ..)| *job);
        spent.sort_unstable_by_key(|(job, role, _)| (*job, *role));
        Changes {
            held,
            accounts,
            spent,
        }
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
