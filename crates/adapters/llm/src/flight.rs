//! Calls with the same key that are under way at the same time become one call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use fapo_domain::ids::StepKey;
use tokio::sync::OwnedMutexGuard;

/// What callers of one key share: the result, once there is one. Its holder makes the call.
type Slot<T> = Arc<tokio::sync::Mutex<Option<T>>>;

/// The keys under way.
#[derive(Debug)]
pub(crate) struct Flights<T>(Mutex<HashMap<StepKey, Slot<T>>>);

/// The turn of one caller at one key. Dropping it without a result passes the turn on.
#[derive(Debug)]
pub(crate) struct Turn<'a, T> {
    flights: &'a Flights<T>,
    key: StepKey,
    slot: Slot<T>,
    guard: Option<OwnedMutexGuard<Option<T>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Flights<T> {
    fn map(&self) -> MutexGuard<'_, HashMap<StepKey, Slot<T>>> {
        self.0
            .lock()
            .expect("nothing panics while the keys under way are held")
    }

    /// Waits for the turn at `key`: at once where nobody else is there.
    pub(crate) async fn enter(&self, key: StepKey) -> Turn<'_, T> {
        let slot = Arc::clone(self.map().entry(key).or_default());
        // Made before the wait, so that giving up while waiting cleans up, too.
        let mut turn = Turn {
            flights: self,
            key,
            slot,
            guard: None,
        };
        turn.guard = Some(Arc::clone(&turn.slot).lock_owned().await);
        turn
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.map().len()
    }
}

impl<T> Turn<'_, T> {
    /// The result of whoever had the turn before.
    pub(crate) fn result(&self) -> Option<&T> {
        self.guard.as_ref()?.as_ref()
    }

    /// Leaves the result to those who wait; it is made only where there are any.
    pub(crate) fn finish(mut self, result: impl FnOnce() -> T) {
        let mut map = self.flights.map();
        // Whoever comes from now on starts anew, and looks into the cache.
        map.remove(&self.key);
        // This turn's slot, its guard's, and those of others.
        let awaited = Arc::strong_count(&self.slot) > 2;
        drop(map);
        if awaited && let Some(guard) = self.guard.as_mut() {
            **guard = Some(result());
        }
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        let mut map = self.flights.map();
        // The map's and this turn's: nobody else waits.
        if Arc::strong_count(&self.slot) == 2
            && map
                .get(&self.key)
                .is_some_and(|slot| Arc::ptr_eq(slot, &self.slot))
        {
            map.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::ContentHash;
    use futures::FutureExt;

    use super::*;

    fn key(text: &str) -> StepKey {
        StepKey(ContentHash::of(text.as_bytes()))
    }

    #[tokio::test]
    async fn the_second_waits_and_gets_the_firsts_result() {
        let flights = Flights::<u32>::default();
        let first = flights.enter(key("a")).await;
        assert_eq!(first.result(), None);
        let mut second = Box::pin(flights.enter(key("a")));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(
            flights.enter(key("b")).now_or_never().is_some(),
            "other keys are free"
        );
        first.finish(|| 7);
        let second = second.await;
        assert_eq!(second.result(), Some(&7));
        drop(second);
        assert_eq!(flights.len(), 0);
        assert_eq!(
            flights.enter(key("a")).await.result(),
            None,
            "a later one starts anew"
        );
    }

    #[tokio::test]
    async fn a_turn_that_ends_without_a_result_passes_on() {
        let flights = Flights::<u32>::default();
        let first = flights.enter(key("a")).await;
        let mut second = Box::pin(flights.enter(key("a")));
        let mut third = Box::pin(flights.enter(key("a")));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        drop(second);
        let third = third.await;
        assert_eq!(third.result(), None);
        third.finish(|| panic!("nobody waits for it"));
        assert_eq!(flights.len(), 0);
    }
}
