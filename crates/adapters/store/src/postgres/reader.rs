//! Joined look-ups in the step cache: one task answers everything that waits in its channel with one query.

use std::collections::HashMap;
use std::sync::Arc;

use fapo_domain::StepKey;
use fapo_domain::ports::StoreError;
use sqlx::postgres::PgPool;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Failure, Shared};
use crate::postgres::sql::{Columns, args};

/// Most keys in one query.
const MOST: usize = 256;

/// One caller's question; the answer is the packed value, to be unpacked by the caller (so that this is done on as many
/// threads as there are callers).
pub(crate) struct Lookup {
    pub(crate) key: StepKey,
    pub(crate) answer: oneshot::Sender<Result<Option<Arc<Vec<u8>>>, StoreError>>,
}

/// Runs until the last sender is dropped.
pub(crate) async fn run(pool: PgPool, place: Arc<str>, mut lookups: mpsc::Receiver<Lookup>) {
    let mut batch = Vec::new();
    while let Some(first) = lookups.recv().await {
        batch.push(first);
        tokio::task::yield_now().await;
        while batch.len() < MOST
            && let Ok(lookup) = lookups.try_recv()
        {
            batch.push(lookup);
        }
        match find(&pool, &batch).await {
            Ok(found) => {
                for lookup in batch.drain(..) {
                    let _ = lookup.answer.send(Ok(found.get(&lookup.key).cloned()));
                }
            }
            Err(failure) => {
                let shared = Shared::new(failure.explain("look up the step cache", &place));
                for lookup in batch.drain(..) {
                    let _ = lookup.answer.send(Err(shared.tell()));
                }
            }
        }
    }
}

async fn find(pool: &PgPool, batch: &[Lookup]) -> Result<HashMap<StepKey, Arc<Vec<u8>>>, Failure> {
    let rows = args()
        .hashes(batch.iter().map(|lookup| &lookup.key.0))
        .query("SELECT key, body FROM step_cache WHERE key = ANY($1)")
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| Ok((StepKey(row.hash(0)?), Arc::new(row.column(1)?))))
        .collect()
}
