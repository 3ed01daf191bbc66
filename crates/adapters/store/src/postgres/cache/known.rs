//! Fingerprints that are known to be stored, without asking the database. That one is absent is never remembered: another
//! process may store it at any moment.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fapo_domain::StepFingerprint;

#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashSet<StepFingerprint>>);

impl Known {
    pub(crate) fn has(&self, fingerprint: StepFingerprint) -> bool {
        self.lock().contains(&fingerprint)
    }

    /// These are stored; to be called once their commit stands.
    pub(crate) fn add(&self, fingerprints: impl IntoIterator<Item = StepFingerprint>) {
        self.lock().extend(fingerprints);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<StepFingerprint>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
