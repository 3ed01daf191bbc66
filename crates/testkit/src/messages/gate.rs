//! What a slow reply waits for.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// A gate before the events of a reply. Closed at first; clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self::closed()
    }
}

impl Gate {
    /// A gate that lets nothing through.
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets `events` more through.
    pub fn let_through(&self, events: usize) {
        self.0.add_permits(events);
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.0.close();
    }

    pub(super) async fn pass(&self) {
        // closed for good means open: there is nothing to wait for any more
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}
