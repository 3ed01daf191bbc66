//! Group commit: writes that are made once per model call, joined (see [`crate::group`]).
//!
//! One transaction serves a group, whatever the jobs in it. It locks the accounts in the order of the jobs, reads what belongs
//! to them, and stores everything with one statement.
//!
//! Settling is not a thing to do twice, so a commit whose answer is lost must not stay unknown. Each group has a number, and
//! its transaction writes that number into the row of this store in `writers`. Afterwards the row tells what became of it, and
//! reading it by an upsert waits for a transaction that is still under way.

use std::time::Instant;

use fapo_domain::measure;
use fapo_domain::ports::ledger::Charge;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::error::{Failure, Shared, is_broken_off, is_connection_lost};
use crate::group::{self, Applied, Op, Outcomes, gather, join, take_waiting, tell, tell_failure};
use crate::postgres::cache;
use crate::postgres::ledger;
use crate::postgres::sql::{Columns, args};
use crate::postgres::store::{PAUSE, PgStore, TRIES};

/// The joining task.
pub(crate) struct Group {
    store: PgStore,
    /// The row in `writers`.
    id: Uuid,
    number: u64,
}

impl Group {
    /// `store` is one whose dropping does not end the channel: see [`PgStore::for_tasks`].
    pub(crate) fn new(store: PgStore) -> Self {
        Self {
            store,
            id: Uuid::now_v7(),
            number: 0,
        }
    }

    /// Runs until the last sender is dropped.
    pub(crate) async fn run(mut self, mut ops: mpsc::Receiver<Op>) {
        // reservations whose callers went away before they heard of them
        let mut unheard: Vec<Charge> = Vec::new();
        let mut failed = false;
        loop {
            let mut batch = Vec::new();
            if unheard.is_empty() || failed {
                match ops.recv().await {
                    Some(op) => batch.push(op),
                    None => return,
                }
            }
            gather(&mut ops, &mut batch).await;
            take_waiting(&mut ops, &mut batch);
            // a reservation nobody waits for any more is not made
            batch.retain(|op| !matches!(op, Op::Reserve { answer, .. } if answer.is_closed()));
            let undo = std::mem::take(&mut unheard);
            let began = Instant::now();
            let applied = self.apply(&mut batch, &undo).await;
            measure!(
                histogram.fapo_store_commit_seconds = began.elapsed().as_secs_f64(),
                store = "postgres"
            );
            match applied {
                Ok(applied) => {
                    failed = false;
                    unheard = tell(applied);
                }
                Err(failure) => {
                    // with the next writes, then: a store that fails is not to be asked in a circle
                    failed = true;
                    // where they may have been given back already, what is left of them counts as lost when the claim ends
                    let unknown = matches!(failure, Failure::Port(_));
                    unheard = if unknown { Vec::new() } else { undo };
                    let error = failure.explain("commit joined writes", self.store.place());
                    tell_failure(batch, &Shared::new(error));
                }
            }
        }
    }

    /// Applies `batch` in one transaction, several times where Postgres breaks it off or the connection is lost. On success
    /// the batch is empty; on failure nothing is changed, as far as anybody can tell, and the batch is as it was.
    async fn apply(
        &mut self,
        batch: &mut Vec<Op>,
        undo: &[Charge],
    ) -> Result<Vec<Applied>, Failure> {
        let mut tries = 1;
        let mut pause = PAUSE;
        loop {
            let failure = match self.try_apply(batch, undo).await {
                Ok(applied) => return Ok(applied),
                Err(failure) if tries == TRIES => return Err(failure),
                Err(failure) => failure,
            };
            if is_connection_lost(&failure) {
                tokio::time::sleep(pause).await;
                pause *= 2;
            } else if !is_broken_off(&failure) {
                return Err(failure);
            }
            tries += 1;
        }
    }

    /// One try. Its failure may be tried again unless it is the port's own error.
    async fn try_apply(
        &mut self,
        batch: &mut Vec<Op>,
        undo: &[Charge],
    ) -> Result<Vec<Applied>, Failure> {
        let wanted = group::wanted(batch, undo);
        let mut tx = self.store.begin().await?;
        let accounts = ledger::lock(&mut tx, &wanted).await?;
        let mut book = ledger::read(&mut tx, &accounts, &wanted).await?;
        let Outcomes { outcomes, entries } = group::apply(&mut book, batch, undo);
        if entries.is_empty() && !book.is_changed() {
            // nothing but refusals: no commit is needed
            return Ok(join(batch, outcomes));
        }
        let mut fresh: Vec<_> = entries
            .iter()
            .map(|entry| entry.fingerprint)
            .filter(|fingerprint| !self.store.known().has(*fingerprint))
            .collect();
        fresh.sort_unstable();
        fresh.dedup();
        cache::insert_fingerprints(&mut tx, &fresh).await?;
        self.number += 1;
        let now = self.store.now();
        let group = (self.id, self.number);
        ledger::store(&mut tx, group, book.changes(), entries, now).await?;
        if let Err(error) = tx.try_commit().await {
            tracing::debug!(%error, "a commit has no answer; asking what became of it");
            if !self.is_committed().await? {
                return Err(error.into());
            }
        }
        self.store.known().add(fresh);
        Ok(join(batch, outcomes))
    }

    /// Whether the group with the latest number is committed. Fails as the port does where that cannot be found out: the group
    /// must not be tried again then.
    async fn is_committed(&self) -> Result<bool, Failure> {
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            match self.last_committed().await {
                Ok(number) => return Ok(number == self.number),
                Err(failure) if tries == TRIES => {
                    let operation = "find out what became of a commit";
                    return Err(failure.explain(operation, self.store.place()).into());
                }
                Err(failure) => tracing::debug!(?failure, "no answer yet"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            tries += 1;
        }
    }

    async fn last_committed(&self) -> Result<u64, Failure> {
        let mut tx = self.store.begin().await?;
        let row = args()
            .id(self.id)
            .int(self.store.now().0)
            .query(
                "INSERT INTO writers AS w (id, number, at) VALUES ($1, 0, $2) \
                 ON CONFLICT (id) DO UPDATE SET number = w.number RETURNING number",
            )
            .fetch_one(&mut *tx)
            .await?;
        let number = row.number(0)?;
        tx.commit().await?;
        Ok(number)
    }
}

/// Forgets what became of the groups of processes that are long gone.
pub(crate) async fn forget_old(store: &PgStore) -> Result<(), Failure> {
    const DAY: i64 = 24 * 3600 * 1000;
    args()
        .int(store.now().0 - DAY)
        .query("DELETE FROM writers WHERE at < $1")
        .execute(store.pool())
        .await?;
    Ok(())
}
