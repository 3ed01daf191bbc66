//! The ledger. Reservations and charges are joined in `writer.rs`; the arithmetic is in [`crate::ledger`].

mod rows;

use async_trait::async_trait;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{
    Amount, Balance, Caps, Charge, Ledger, LedgerError, ReservationId, Room,
};
use fapo_domain::{JobId, MicroUsd, TaskId};
use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;

pub(crate) use self::rows::{BEGIN, Stored, begin_arguments, read, store_arguments};
use crate::error::Failure;
use crate::group::Op;
use crate::sqlite::sql::{Columns, args, to_i64};
use crate::sqlite::store::{SqliteStore, gone};

#[async_trait]
impl Ledger for SqliteStore {
    async fn open_account(&self, job: JobId, caps: Caps) -> Result<(), StoreError> {
        self.run("open an account", async {
            let mut writer = self.writer().await;
            let mut tx = writer.begin().await?;
            args()
                .job(job)
                .opt_int(caps.cost.map(|cost| to_i64(cost.0)))
                .opt_int(caps.model_calls.map(to_i64))
                .query(
                    "INSERT INTO accounts (job, cap_cost, cap_calls) VALUES (?, ?, ?) ON CONFLICT (job) \
                     DO UPDATE SET cap_cost = excluded.cap_cost, cap_calls = excluded.cap_calls",
                )
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        })
        .await
    }

    async fn reserve(
        &self,
        job: JobId,
        id: ReservationId,
        amount: Amount,
    ) -> Result<(), LedgerError> {
        let (answer, done) = oneshot::channel();
        self.submit(Op::Reserve {
            job,
            id,
            amount,
            answer,
        })
        .await?;
        done.await.map_err(|_| gone())?
    }

    async fn settle(&self, charge: Charge) -> Result<Room, StoreError> {
        let (answer, done) = oneshot::channel();
        self.submit(Op::Settle { charge, answer }).await?;
        done.await.map_err(|_| gone())?
    }

    async fn close(&self, job: JobId, id: ReservationId) -> Result<Amount, StoreError> {
        self.run("close a reservation", async {
            let mut writer = self.writer().await;
            let mut tx = writer.begin().await?;
            let rest = close(&mut tx, job, id.task, id.epoch).await?;
            if rest != Amount::default() {
                tx.commit().await?;
            }
            Ok(rest)
        })
        .await
    }

    async fn balance(&self, job: JobId) -> Result<Balance, StoreError> {
        self.run("read an account", async {
            rows::of_account(&mut *self.reader().await, job)
                .await?
                .balance(job)
                .ok_or_else(|| Failure::not_found("account", job))
        })
        .await
    }
}

/// Counts what the claims of a task up to and including `epoch` still have reserved as lost, and returns it.
pub(crate) async fn close(
    tx: &mut SqliteConnection,
    job: JobId,
    task: TaskId,
    epoch: u64,
) -> Result<Amount, Failure> {
    let row = args()
        .job(job)
        .hash(&task.0)
        .number(epoch)
        .query(
            "SELECT coalesce(sum(cost), 0), coalesce(sum(calls), 0) FROM reservations \
             WHERE job = ? AND task = ? AND epoch <= ?",
        )
        .fetch_one(&mut *tx)
        .await?;
    let rest = Amount {
        cost: MicroUsd(row.number(0)?),
        model_calls: row.number(1)?,
    };
    if rest == Amount::default() {
        return Ok(rest);
    }
    args()
        .job(job)
        .hash(&task.0)
        .number(epoch)
        .query(
            "UPDATE reservations SET lost_cost = lost_cost + cost, lost_calls = lost_calls + calls, \
             cost = 0, calls = 0 WHERE job = ? AND task = ? AND epoch <= ?",
        )
        .execute(&mut *tx)
        .await?;
    args()
        .job(job)
        .number(rest.cost.0)
        .number(rest.model_calls)
        .query(
            "UPDATE accounts SET reserved_cost = reserved_cost - ?2, reserved_calls = reserved_calls - ?3, \
             lost_cost = lost_cost + ?2, lost_calls = lost_calls + ?3 WHERE job = ?1",
        )
        .execute(&mut *tx)
        .await?;
    Ok(rest)
}
