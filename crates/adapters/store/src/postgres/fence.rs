//! Whether a claim still stands.

use fapo_domain::model::task::Fence;
use fapo_domain::ports::StoreError;
use sqlx::postgres::PgConnection;

use crate::error::Failure;
use crate::postgres::sql::args;

/// Checks in the open transaction that `fence` is the live claim of its task, and holds the task's row until it ends: whoever
/// claims the task in the meantime waits for what is written here.
pub(crate) async fn check_fence(
    tx: &mut PgConnection,
    fence: Option<Fence>,
) -> Result<(), Failure> {
    let Some(fence) = fence else { return Ok(()) };
    let live = args()
        .hash(&fence.task.0)
        .number(fence.epoch)
        .query("SELECT 1 FROM tasks WHERE id = $1 AND epoch = $2 AND state = 'leased' FOR SHARE")
        .fetch_optional(tx)
        .await?
        .is_some();
    if live { Ok(()) } else { Err(stale(fence)) }
}

pub(crate) fn stale(fence: Fence) -> Failure {
    StoreError::StaleLease { task: fence.task }.into()
}
