//! Group commit: writes that are made once per model call, joined (see [`crate::group`]).

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use fapo_domain::clock::Clock;
use fapo_domain::measure;
use fapo_domain::model::task::Fence;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::Charge;
use sqlx::AssertSqlSafe;
use tokio::sync::mpsc;

use crate::error::{Failure, Shared};
use crate::group::{
    self, Applied, MOST, Op, Outcomes, gather, join, take_waiting, tell, tell_failure,
};
use crate::sqlite::cache::{self, Known, Tail};
use crate::sqlite::connections::WriteConnection;
use crate::sqlite::ledger::{self, Stored};
use crate::sqlite::sql::args;

/// The joining task.
pub(crate) struct Group {
    pub(crate) writer: Arc<WriteConnection>,
    pub(crate) known: Arc<Known>,
    pub(crate) tail: Tail,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) place: Arc<str>,
}

impl Group {
    /// Runs until the last sender is dropped.
    pub(crate) async fn run(self, mut ops: mpsc::Receiver<Op>) {
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
            let mut guard = self.writer.lock().await;
            take_waiting(&mut ops, &mut batch);
            // a reservation nobody waits for any more is not made
            batch.retain(|op| !matches!(op, Op::Reserve { answer, .. } if answer.is_closed()));
            let undo = std::mem::take(&mut unheard);
            let began = Instant::now();
            let applied = self.apply(&mut guard, &mut batch, &undo).await;
            measure!(
                histogram.fapo_store_commit_seconds = began.elapsed().as_secs_f64(),
                store = "sqlite"
            );
            match applied {
                Ok(applied) => {
                    failed = false;
                    unheard = tell(applied);
                    if let Err(failure) = self.tail.index(&mut guard).await {
                        // nothing is lost: what waits for the index is found without it
                        let error = failure.explain("index the step cache", &self.place);
                        tracing::debug!(%error, "later, then");
                    }
                }
                Err(failure) => {
                    drop(guard);
                    // with the next writes, then: a store that fails is not to be asked in a circle
                    failed = true;
                    self.known.forget();
                    unheard = undo;
                    let shared = Shared::new(failure.explain("commit joined writes", &self.place));
                    tell_failure(batch, &shared);
                }
            }
        }
    }

    /// Applies `batch` in one transaction. On success the batch is empty; on failure nothing is changed and the batch
    /// is as it was.
    async fn apply(
        &self,
        guard: &mut crate::sqlite::connections::WriteGuard<'_>,
        batch: &mut Vec<Op>,
        undo: &[Charge],
    ) -> Result<Vec<Applied>, Failure> {
        let wanted = group::wanted(batch, undo);
        let arguments = ledger::begin_arguments(&wanted)?;
        let (mut tx, rows) = guard.begin_with(ledger::BEGIN, arguments).await?;
        let mut book = ledger::read(&rows, &wanted)?;
        let Outcomes { outcomes, entries } = group::apply(&mut book, batch, undo);
        if entries.is_empty() && !book.is_changed() {
            // nothing but refusals: no commit is needed
            tx.roll_back().await;
            return Ok(join(batch, outcomes));
        }
        let keys: Vec<_> = entries
            .iter()
            .map(|entry| (entry.key, entry.fingerprint))
            .collect();
        let mut fresh = Vec::new();
        for (_, fingerprint) in &keys {
            if !self.known.has(*fingerprint) && !fresh.contains(fingerprint) {
                fresh.push(*fingerprint);
            }
        }
        let fresh = cache::insert_fingerprints(&mut tx, fresh).await?;
        let mut arguments = args();
        let stored = ledger::store_arguments(book.changes(), &mut arguments)?;
        let (text, rows) = store_statement(stored, entries.len());
        cache::bind_entries(entries, rows, self.clock.now(), &mut arguments);
        tx.commit_with(AssertSqlSafe(text), arguments).await?;
        self.known.committed(&fresh, &keys);
        self.tail.grow(keys.len());
        Ok(join(batch, outcomes))
    }
}

/// The statements that store a group with so many cache entries, and for how many entries they have room: a power of
/// two, so that the connection keeps all of them prepared.
fn store_statement(stored: Stored, entries: usize) -> (Arc<str>, usize) {
    type Texts = OnceLock<Vec<(Arc<str>, usize)>>;
    static TEXTS: [Texts; Stored::WAYS] = [const { Texts::new() }; Stored::WAYS];
    let texts = TEXTS[stored.way()].get_or_init(|| {
        let ledger = Stored::statements(stored.way());
        let sizes = std::iter::once(0).chain((0..).map(|n| 1 << n));
        sizes
            .take_while(|rows| *rows <= MOST)
            .map(|rows| {
                let insert = cache::insert_statement(rows);
                (format!("{ledger}{insert} COMMIT").into(), rows)
            })
            .collect()
    });
    let place = texts.partition_point(|(_, rows)| *rows < entries);
    let (text, rows) = &texts[place];
    (Arc::clone(text), *rows)
}

/// Checks in the open transaction that `fence` is the live claim of its task.
pub(crate) async fn check_fence(
    tx: &mut sqlx::sqlite::SqliteConnection,
    fence: Option<Fence>,
) -> Result<(), Failure> {
    let Some(fence) = fence else { return Ok(()) };
    let live = crate::sqlite::sql::args()
        .hash(&fence.task.0)
        .number(fence.epoch)
        .query("SELECT 1 FROM tasks WHERE id = ? AND epoch = ? AND state = 'leased'")
        .fetch_optional(tx)
        .await?
        .is_some();
    if live {
        Ok(())
    } else {
        Err(StoreError::StaleLease { task: fence.task }.into())
    }
}
