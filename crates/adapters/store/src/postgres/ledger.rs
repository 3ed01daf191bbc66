//! The ledger. Reservations and charges are joined in `writer.rs`; the arithmetic is in [`crate::ledger`].
//!
//! Whoever changes an account's row, its reservations or its spending holds the account's row first, so that a cap is checked
//! against sums that nobody else is changing.

mod rows;

use async_trait::async_trait;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{
    Amount, Balance, Caps, Charge, Ledger, LedgerError, ReservationId, Room,
};
use fapo_domain::{JobId, MicroUsd, TaskId};
use sqlx::postgres::PgConnection;
use tokio::sync::oneshot;

pub(crate) use self::rows::{lock, read, store};
use crate::error::Failure;
use crate::group::Op;
use crate::postgres::sql::{Columns, args, to_i64};
use crate::postgres::store::{PgStore, gone};

#[async_trait]
impl Ledger for PgStore {
    async fn open_account(&self, job: JobId, caps: Caps) -> Result<(), StoreError> {
        self.run("open an account", || async {
            let mut tx = self.begin().await?;
            args()
                .job(job)
                .opt_int(caps.cost.map(|cost| to_i64(cost.0)))
                .opt_int(caps.model_calls.map(to_i64))
                .query(
                    "INSERT INTO accounts (job, cap_cost, cap_calls) VALUES ($1, $2, $3) ON CONFLICT (job) \
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
        self.run("close a reservation", || async {
            let mut tx = self.begin().await?;
            let rest = close(&mut tx, job, id.task, id.epoch).await?;
            if rest != Amount::default() {
                tx.commit().await?;
            }
            Ok(rest)
        })
        .await
    }

    async fn balance(&self, job: JobId) -> Result<Balance, StoreError> {
        self.run("read an account", || async {
            rows::of_account(self.pool(), job)
                .await?
                .balance(job)
                .ok_or_else(|| Failure::not_found("account", job))
        })
        .await
    }
}

/// Counts what the claims of a task up to and including `epoch` still have reserved as lost, and returns it. Locks the account's
/// row in any case: see `tasks.rs`.
pub(crate) async fn close(
    tx: &mut PgConnection,
    job: JobId,
    task: TaskId,
    epoch: u64,
) -> Result<Amount, Failure> {
    args()
        .job(job)
        .query("SELECT 1 FROM accounts WHERE job = $1 FOR NO KEY UPDATE")
        .execute(&mut *tx)
        .await?;
    // one statement, and so one view of the reservations, begun after the lock was taken
    let row = args()
        .job(job)
        .hash(&task.0)
        .number(epoch)
        .query(
            "WITH rest AS ( \
             SELECT coalesce(sum(cost), 0)::bigint AS cost, coalesce(sum(calls), 0)::bigint AS calls \
             FROM reservations WHERE job = $1 AND task = $2 AND epoch <= $3 \
             ), lost AS ( \
             UPDATE reservations SET lost_cost = lost_cost + cost, lost_calls = lost_calls + calls, cost = 0, calls = 0 \
             WHERE job = $1 AND task = $2 AND epoch <= $3 AND (cost > 0 OR calls > 0) \
             ), moved AS ( \
             UPDATE accounts SET reserved_cost = reserved_cost - rest.cost, reserved_calls = reserved_calls - rest.calls, \
             lost_cost = lost_cost + rest.cost, lost_calls = lost_calls + rest.calls \
             FROM rest WHERE job = $1 AND (rest.cost > 0 OR rest.calls > 0) \
             ) SELECT cost, calls FROM rest",
        )
        .fetch_one(tx)
        .await?;
    Ok(Amount {
        cost: MicroUsd(row.number(0)?),
        model_calls: row.number(1)?,
    })
}
