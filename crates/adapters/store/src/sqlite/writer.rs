//! Group commit: writes that are made once per model call, joined.
//!
//! One task takes everything that waits in its channel, applies it in one transaction in the order of arrival, commits,
//! and answers each caller. While a commit is under way the next group gathers by itself, so one caller alone waits for
//! nobody, and many share the cost of a commit. Every caller has its own answer: a reservation that does not fit, or
//! comes from a stale claim, fails alone.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use fapo_domain::clock::Clock;
use fapo_domain::measure;
use fapo_domain::model::task::Fence;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{Amount, Charge, LedgerError, ReservationId, Room};
use fapo_domain::{JobId, Spend, StepFingerprint, StepKey};
use sqlx::AssertSqlSafe;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Failure, Shared};
use crate::sqlite::cache::{self, Known, NewEntry, Tail};
use crate::sqlite::connections::WriteConnection;
use crate::sqlite::ledger::{self, Book, Stored, Wanted};
use crate::sqlite::sql::args;

/// Most writes in one commit.
const MOST: usize = 256;

/// How often a group lets others run to see whether they join it.
const GATHERINGS: usize = 4;

/// A write on its way.
pub(crate) enum Op {
    Reserve {
        job: JobId,
        id: ReservationId,
        amount: Amount,
        answer: oneshot::Sender<Result<(), LedgerError>>,
    },
    Settle {
        charge: Charge,
        answer: oneshot::Sender<Result<Room, StoreError>>,
    },
    Put {
        key: StepKey,
        fingerprint: StepFingerprint,
        body: Vec<u8>,
        charge: Option<Charge>,
        answer: oneshot::Sender<Result<Room, StoreError>>,
    },
}

/// An applied write: what to tell whom once the commit stands.
enum Applied {
    Reserve {
        outcome: Result<(), LedgerError>,
        undo: Charge,
        answer: oneshot::Sender<Result<(), LedgerError>>,
    },
    Write {
        outcome: Result<Room, StoreError>,
        /// Takes back what was kept.
        undo: Option<Charge>,
        answer: oneshot::Sender<Result<Room, StoreError>>,
    },
}

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
        let wanted = wanted(batch, undo);
        let (mut tx, rows) = guard.begin_with(ledger::BEGIN, wanted.arguments()?).await?;
        let mut book = Book::read(&rows, &wanted)?;
        for charge in undo {
            // the account was there when the reservation was made
            let _ = book.settle(charge);
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut entries = Vec::new();
        let mut fresh = Vec::new();
        let mut keys = Vec::new();
        for op in batch.iter_mut() {
            outcomes.push(match op {
                Op::Reserve {
                    job, id, amount, ..
                } => book.reserve(*job, *id, *amount).map(|()| Room::Kept),
                Op::Settle { charge, .. } => book.settle(charge).map_err(LedgerError::Store),
                Op::Put {
                    key,
                    fingerprint,
                    body,
                    charge,
                    ..
                } => {
                    let settled = match charge {
                        Some(charge) => book.settle(charge),
                        None => Ok(Room::Released),
                    };
                    if settled.is_ok() {
                        if !self.known.has(*fingerprint) && !fresh.contains(fingerprint) {
                            fresh.push(*fingerprint);
                        }
                        keys.push((*key, *fingerprint));
                        entries.push(NewEntry {
                            key: *key,
                            body: body.clone(),
                        });
                    }
                    settled.map_err(LedgerError::Store)
                }
            });
        }
        if entries.is_empty() && !book.is_changed() {
            // nothing but refusals: no commit is needed
            tx.roll_back().await;
            return Ok(join(batch, outcomes));
        }
        let fresh = cache::insert_fingerprints(&mut tx, fresh).await?;
        let mut arguments = args();
        let stored = book.changes(&mut arguments)?;
        let (text, rows) = store_statement(stored, entries.len());
        cache::bind_entries(entries, rows, self.clock.now(), &mut arguments);
        tx.commit_with(AssertSqlSafe(text), arguments).await?;
        self.known.committed(&fresh, &keys);
        self.tail.grow(keys.len());
        Ok(join(batch, outcomes))
    }
}

/// Lets callers that are ready to run join the group, as long as more come.
async fn gather(ops: &mut mpsc::Receiver<Op>, batch: &mut Vec<Op>) {
    for _ in 0..GATHERINGS {
        tokio::task::yield_now().await;
        let before = batch.len();
        take_waiting(ops, batch);
        if batch.len() == before {
            return;
        }
    }
}

fn take_waiting(ops: &mut mpsc::Receiver<Op>, batch: &mut Vec<Op>) {
    while batch.len() < MOST
        && let Ok(op) = ops.try_recv()
    {
        batch.push(op);
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

/// Which rows of the ledger the batch is about.
fn wanted(batch: &[Op], undo: &[Charge]) -> Wanted {
    let mut wanted = Wanted::default();
    for charge in undo {
        wanted.add(charge.job, charge.reservation);
    }
    for op in batch {
        match op {
            Op::Reserve { job, id, .. } => wanted.add(*job, *id),
            Op::Settle { charge, .. }
            | Op::Put {
                charge: Some(charge),
                ..
            } => wanted.add(charge.job, charge.reservation),
            Op::Put { charge: None, .. } => {}
        }
    }
    wanted
}

fn join(batch: &mut Vec<Op>, outcomes: Vec<Result<Room, LedgerError>>) -> Vec<Applied> {
    batch
        .drain(..)
        .zip(outcomes)
        .map(|(op, outcome)| match op {
            Op::Reserve {
                job,
                id,
                amount,
                answer,
            } => Applied::Reserve {
                outcome: outcome.map(drop),
                undo: give_back(job, id, amount),
                answer,
            },
            Op::Settle { charge, answer } => written(outcome, Some(charge), answer),
            Op::Put { charge, answer, .. } => written(outcome, charge, answer),
        })
        .collect()
}

fn written(
    outcome: Result<Room, LedgerError>,
    charge: Option<Charge>,
    answer: oneshot::Sender<Result<Room, StoreError>>,
) -> Applied {
    let kept = charge.filter(|_| matches!(outcome, Ok(Room::Kept)));
    Applied::Write {
        outcome: outcome.map_err(only_store),
        undo: kept.map(|charge| give_back(charge.job, charge.reservation, charge.release)),
        answer,
    }
}

/// Takes a reservation back.
fn give_back(job: JobId, reservation: ReservationId, amount: Amount) -> Charge {
    Charge {
        job,
        reservation,
        role: SpendRole::Task,
        release: amount,
        spent: Spend::default(),
        lost: Amount::default(),
        keep: false,
    }
}

/// Settling never fails for want of budget.
fn only_store(error: LedgerError) -> StoreError {
    match error {
        LedgerError::Store(error) => error,
        LedgerError::Exhausted { what, .. } => StoreError::Invalid { message: what },
    }
}

/// Answers everybody; returns the reservations that nobody heard of, to be undone.
fn tell(applied: Vec<Applied>) -> Vec<Charge> {
    let mut unheard = Vec::new();
    for one in applied {
        match one {
            Applied::Reserve {
                outcome,
                undo,
                answer,
            } => {
                let made = outcome.is_ok();
                if answer.send(outcome).is_err() && made {
                    unheard.push(undo);
                }
            }
            Applied::Write {
                outcome,
                undo,
                answer,
            } => {
                // where the caller is gone, what it wrote stands, and what was kept for it is not needed
                if answer.send(outcome).is_err() {
                    unheard.extend(undo);
                }
            }
        }
    }
    unheard
}

fn tell_failure(batch: Vec<Op>, shared: &Shared) {
    for op in batch {
        match op {
            Op::Reserve { answer, .. } => {
                let _ = answer.send(Err(LedgerError::Store(shared.tell())));
            }
            Op::Settle { answer, .. } | Op::Put { answer, .. } => {
                let _ = answer.send(Err(shared.tell()));
            }
        }
    }
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
