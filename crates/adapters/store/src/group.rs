//! What the group commits of all back ends have in common: the joined writes, what the ledger makes of them, and who is told.
//!
//! A back end's joining task takes everything that waits in its channel, applies it in one transaction in the order of arrival,
//! commits, and answers each caller. While a commit is under way the next group gathers by itself, so one caller alone waits for
//! nobody, and many share the cost of a commit. Every caller has its own answer: a reservation that does not fit, or comes from a
//! stale claim, fails alone.

use fapo_domain::money::SpendRole;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{Amount, Charge, LedgerError, ReservationId, Room};
use fapo_domain::{JobId, Spend, StepFingerprint, StepKey};
use tokio::sync::{mpsc, oneshot};

use crate::error::Shared;
use crate::ledger::{Book, Wanted};

/// Most writes in one commit.
pub(crate) const MOST: usize = 256;

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
pub(crate) enum Applied {
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

/// A step result to be stored.
pub(crate) struct Entry {
    pub(crate) key: StepKey,
    pub(crate) fingerprint: StepFingerprint,
    pub(crate) body: Vec<u8>,
}

/// What a group comes to: each write's outcome in order, and the step results to be stored with it.
pub(crate) struct Outcomes {
    pub(crate) outcomes: Vec<Result<Room, LedgerError>>,
    pub(crate) entries: Vec<Entry>,
}

/// Applies a group to the ledger's rows. `undo` are reservations of earlier groups that nobody heard of.
pub(crate) fn apply(book: &mut Book, batch: &[Op], undo: &[Charge]) -> Outcomes {
    for charge in undo {
        // the account was there when the reservation was made
        let _ = book.settle(charge);
    }
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut entries = Vec::new();
    for op in batch {
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
                    entries.push(Entry {
                        key: *key,
                        fingerprint: *fingerprint,
                        body: body.clone(),
                    });
                }
                settled.map_err(LedgerError::Store)
            }
        });
    }
    Outcomes { outcomes, entries }
}

/// Lets callers that are ready to run join the group, as long as more come.
pub(crate) async fn gather(ops: &mut mpsc::Receiver<Op>, batch: &mut Vec<Op>) {
    for _ in 0..GATHERINGS {
        tokio::task::yield_now().await;
        let before = batch.len();
        take_waiting(ops, batch);
        if batch.len() == before {
            return;
        }
    }
}

/// Takes what waits, as far as there is room in the group.
pub(crate) fn take_waiting(ops: &mut mpsc::Receiver<Op>, batch: &mut Vec<Op>) {
    while batch.len() < MOST
        && let Ok(op) = ops.try_recv()
    {
        batch.push(op);
    }
}

/// Which rows of the ledger the batch is about.
pub(crate) fn wanted(batch: &[Op], undo: &[Charge]) -> Wanted {
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

/// Pairs each write with its outcome, once the commit stands; the batch is empty after.
pub(crate) fn join(batch: &mut Vec<Op>, outcomes: Vec<Result<Room, LedgerError>>) -> Vec<Applied> {
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
pub(crate) fn tell(applied: Vec<Applied>) -> Vec<Charge> {
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

/// Tells everybody that nothing was changed.
pub(crate) fn tell_failure(batch: Vec<Op>, shared: &Shared) {
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
