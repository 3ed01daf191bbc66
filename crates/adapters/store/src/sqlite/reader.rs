//! Joined look-ups in the step cache: one task answers everything that waits in its channel with one query.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock};

use fapo_domain::StepKey;
use fapo_domain::ports::StoreError;
use sqlx::AssertSqlSafe;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Failure, Shared};
use crate::sqlite::cache::select_statement;
use crate::sqlite::connections::ReadPool;
use crate::sqlite::sql::{Columns, args};

/// Most keys in one query.
const MOST: usize = 256;

/// One caller's question; the answer is the packed value, to be unpacked by the caller (so that this is done on as many
/// threads as there are callers).
pub(crate) struct Lookup {
    pub(crate) key: StepKey,
    pub(crate) answer: oneshot::Sender<Result<Option<Arc<Vec<u8>>>, StoreError>>,
}

/// Runs until the last sender is dropped.
pub(crate) async fn run(
    readers: Arc<ReadPool>,
    place: Arc<str>,
    mut lookups: mpsc::Receiver<Lookup>,
) {
    let mut batch = Vec::new();
    while let Some(first) = lookups.recv().await {
        batch.push(first);
        tokio::task::yield_now().await;
        let mut connection = readers.get().await;
        while batch.len() < MOST
            && let Ok(lookup) = lookups.try_recv()
        {
            batch.push(lookup);
        }
        let found = find(&mut connection, &batch).await;
        drop(connection);
        match found {
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

async fn find(
    connection: &mut sqlx::sqlite::SqliteConnection,
    batch: &[Lookup],
) -> Result<HashMap<StepKey, Arc<Vec<u8>>>, Failure> {
    let (text, places) = statement(batch.len());
    let mut arguments = args();
    for lookup in batch {
        arguments.hash(&lookup.key.0);
    }
    // nothing equals null
    for _ in batch.len()..places {
        arguments.opt_bytes(None);
    }
    arguments.number(batch.len() as u64);
    let rows = arguments
        .query(AssertSqlSafe(text))
        .fetch_all(connection)
        .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let key = StepKey(row.hash(0)?);
        // the first stays
        if let Entry::Vacant(place) = found.entry(key) {
            place.insert(Arc::new(row.column(1)?));
        }
    }
    Ok(found)
}

/// The query for so many keys, and for how many it has places: a power of two, so that the connection keeps all of them
/// prepared.
fn statement(keys: usize) -> (Arc<str>, usize) {
    static TEXTS: OnceLock<Vec<(Arc<str>, usize)>> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        (0..)
            .map(|n| 1usize << n)
            .take_while(|places| *places <= MOST)
            .map(|places| (select_statement(places).into(), places))
            .collect()
    });
    let place = texts.partition_point(|(_, places)| *places < keys);
    let (text, places) = &texts[place];
    (Arc::clone(text), *places)
}
