//! A folder that belongs to one process at a time.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// How often the folder's lock is tried, and the wait after each try.
const LOCK_TRIES: u32 = 5;
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// Takes the folder for this process; the lock goes with the process, however it ends.
///
/// # Errors
/// When another process has it, or it cannot be written.
pub async fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // who only looks (see `Embedded::is_at_work`) holds it for an instant
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_WAIT).await,
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    bail!(
        "another fapo works in {}: wait for it, or look at it with `fapo status`",
        folder.display()
    )
}
