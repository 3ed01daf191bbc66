//! What is known of the step cache without asking the database.
//!
//! A fingerprint that was stored once stays stored. And where this process is the only one that writes results, it knows
//! all keys under the fingerprints that it was the first to store: a new evaluation asks for one new key after the other,
//! and each is absent.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fapo_domain::{StepFingerprint, StepKey};

/// Most keys that are remembered (about ten megabytes). With more, the database is asked again.
const MOST: usize = 500_000;

/// Who wrote the entries under a stored fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// This process alone.
    Ours,
    /// Perhaps others too.
    Any,
}

#[derive(Debug)]
pub(crate) struct Known {
    /// Whether no other process writes results.
    sole: bool,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stored: HashMap<StepFingerprint, Writer>,
    /// Keys under the fingerprints that are ours, by their first eight bytes: two that share them cost a look-up.
    keys: HashSet<u64>,
}

impl Known {
    pub(crate) fn new(sole: bool) -> Self {
        Self {
            sole,
            most: MOST,
            state: Mutex::default(),
        }
    }

    /// Whether something is known to be stored under the fingerprint.
    pub(crate) fn has(&self, fingerprint: StepFingerprint) -> bool {
        self.lock().stored.contains_key(&fingerprint)
    }

    /// Something was found under the fingerprint.
    pub(crate) fn found(&self, fingerprint: StepFingerprint) {
        self.lock().stored.entry(fingerprint).or_insert(Writer::Any);
    }

    /// Whether nothing can be stored under the key.
    pub(crate) fn is_absent(&self, key: StepKey, fingerprint: StepFingerprint) -> bool {
        let state = self.lock();
        state.stored.get(&fingerprint) == Some(&Writer::Ours) && !state.keys.contains(&head(key))
    }

    /// Entries were committed; `first` are their fingerprints that were not known before.
    pub(crate) fn committed(
        &self,
        first: &[(StepFingerprint, Writer)],
        entries: &[(StepKey, StepFingerprint)],
    ) {
        let mut state = self.lock();
        for (fingerprint, writer) in first {
            let writer = if self.sole { *writer } else { Writer::Any };
            state.stored.entry(*fingerprint).or_insert(writer);
        }
        for (key, fingerprint) in entries {
            if state.stored.get(fingerprint) == Some(&Writer::Ours) {
                state.keys.insert(head(*key));
            }
        }
        if state.keys.len() > self.most {
            state.forget();
        }
    }

    /// A commit failed, and who can tell what of it stands: from now on the database is asked.
    pub(crate) fn forget(&self) {
        self.lock().forget();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self) {
        self.keys = HashSet::new();
        for writer in self.stored.values_mut() {
            *writer = Writer::Any;
        }
    }
}

fn head(key: StepKey) -> u64 {
    let bytes = key.0.as_bytes();
    u64::from_le_bytes(
        bytes[..8]
            .try_into()
            .expect("a hash is longer than eight bytes"),
    )
}

#[cfg(test)]
mod tests {
    use fapo_domain::ContentHash;

    use super::*;

    fn key(name: &str) -> StepKey {
        StepKey(ContentHash::of(name.as_bytes()))
    }

    fn fingerprint(name: &str) -> StepFingerprint {
        StepFingerprint(ContentHash::of(name.as_bytes()))
    }

    #[test]
    fn only_keys_under_fingerprints_of_our_own_are_known_to_be_absent() {
        let known = Known::new(true);
        let (ours, others) = (fingerprint("ours"), fingerprint("others"));
        assert!(!known.is_absent(key("a"), ours), "nothing is known yet");
        let first = [(ours, Writer::Ours), (others, Writer::Any)];
        known.committed(&first, &[(key("a"), ours), (key("b"), others)]);
        assert!(known.has(ours) && known.has(others));
        assert!(!known.is_absent(key("a"), ours), "it is there");
        assert!(known.is_absent(key("c"), ours));
        assert!(!known.is_absent(key("c"), others));
        // found by somebody's question after we stored the first: still ours
        known.found(ours);
        assert!(known.is_absent(key("c"), ours));
        known.forget();
        assert!(known.has(ours) && !known.is_absent(key("c"), ours));
    }

    #[test]
    fn with_other_writers_about_nothing_is_known_to_be_absent() {
        let known = Known::new(false);
        known.committed(&[(fingerprint("a"), Writer::Ours)], &[]);
        assert!(known.has(fingerprint("a")) && !known.is_absent(key("a"), fingerprint("a")));
    }

    #[test]
    fn memory_is_bounded_and_more_keys_are_asked_for_again() {
        let known = Known {
            most: 3,
            ..Known::new(true)
        };
        let (early, late) = (fingerprint("early"), fingerprint("late"));
        known.committed(&[(early, Writer::Ours)], &[]);
        for n in 0..4 {
            known.committed(&[], &[(key(&n.to_string()), early)]);
        }
        assert!(known.lock().keys.is_empty());
        assert!(!known.is_absent(key("x"), early));
        // what begins later is known again
        known.committed(&[(late, Writer::Ours)], &[(key("y"), late)]);
        assert!(known.is_absent(key("z"), late) && !known.is_absent(key("y"), late));
    }
}
