//! How often somebody may ask: a token bucket for each caller, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fapo_domain::clock::Timestamp;
use fapo_domain::hash::ContentHash;

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Payer {
    /// A valid token, by the hash of its text.
    Token(ContentHash),
    /// An address that showed none.
    Address(IpAddr),
    /// Nobody in particular: those for whom the table has no place, and requests without an address.
    Others,
}

/// The buckets. Each is kept as the moment at which it is full again (the "theoretical arrival time" of the generic cell rate
/// algorithm, ITU-T I.371), which says all there is to know of it in one number.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Milliseconds that one request takes to come back.
    interval: f64,
    /// Milliseconds by which a bucket may be behind.
    depth: f64,
    /// Entries at most.
    capacity: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    full_at: HashMap<Payer, f64>,
    /// Before this moment no sweep: each looks at every entry.
    next_sweep: i64,
}

/// The table is swept this often at most, in milliseconds.
const SWEEP_EVERY: i64 = 1000;

impl Rates {
    /// `rate` requests per second, `burst` at once, remembered for `capacity` callers.
    pub(crate) fn new(rate: f64, burst: u32, capacity: usize) -> Self {
        let interval = 1000.0 / rate.max(0.001);
        Self {
            interval,
            depth: interval * f64::from(burst.max(1) - 1),
            capacity: capacity.max(1),
            table: Mutex::default(),
        }
    }

    /// Takes one request of `payer`, or says how long they must wait for it.
    pub(crate) fn take(&self, payer: Payer, now: Timestamp) -> Result<(), Duration> {
        let at = now.0 as f64;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let payer = self.place(&mut table, payer, now);
        let full_at = table
            .full_at
            .get(&payer)
            .map_or(at, |full_at| full_at.max(at));
        // a clock that was set back would make them wait for as long as it was set back
        let full_at = full_at.min(at + self.depth + self.interval);
        let behind = full_at - at;
        if behind > self.depth {
            table.full_at.insert(payer, full_at);
            let wait = (behind - self.depth).ceil().max(1.0);
            return Err(Duration::from_millis(wait as u64));
        }
        table.full_at.insert(payer, full_at + self.interval);
        Ok(())
    }

    /// `payer`, where there is an entry or a place for one. Entries that are full again say nothing, and make place.
    fn place(&self, table: &mut Table, payer: Payer, now: Timestamp) -> Payer {
        if table.full_at.contains_key(&payer) || table.full_at.len() < self.capacity {
            return payer;
        }
        if now.0 >= table.next_sweep {
            table.next_sweep = now.0.saturating_add(SWEEP_EVERY);
            table.full_at.retain(|_, full_at| *full_at > now.0 as f64);
        }
        if table.full_at.len() < self.capacity {
            payer
        } else {
            Payer::Others
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.lock().unwrap().full_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Payer {
        Payer::Address(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_burst_passes_and_then_one_request_per_interval() {
        let rates = Rates::new(10.0, 3, 100);
        for _ in 0..3 {
            assert!(rates.take(address(1), Timestamp(0)).is_ok());
        }
        assert_eq!(
            rates.take(address(1), Timestamp(0)),
            Err(Duration::from_millis(100))
        );
        assert!(
            rates.take(address(2), Timestamp(0)).is_ok(),
            "others are free"
        );
        assert!(rates.take(address(1), Timestamp(99)).is_err());
        assert!(rates.take(address(1), Timestamp(100)).is_ok());
        assert!(rates.take(address(1), Timestamp(100)).is_err());
    }

    #[test]
    fn a_refused_request_costs_nothing() {
        let rates = Rates::new(10.0, 1, 100);
        assert!(rates.take(address(1), Timestamp(0)).is_ok());
        for _ in 0..50 {
            assert!(rates.take(address(1), Timestamp(50)).is_err());
        }
        assert!(rates.take(address(1), Timestamp(100)).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_those_beyond_share_one_rate() {
        let rates = Rates::new(1.0, 1, 4);
        for last in 0..4 {
            assert!(rates.take(address(last), Timestamp(0)).is_ok());
        }
        assert!(rates.take(address(100), Timestamp(1)).is_ok());
        assert!(rates.take(address(101), Timestamp(1)).is_err());
        assert_eq!(rates.len(), 5, "the four, and the one that the rest share");
        // once the four are full again they make place
        assert!(rates.take(address(102), Timestamp(5000)).is_ok());
        assert_eq!(rates.len(), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let rates = Rates::new(10.0, 2, 4);
        assert!(rates.take(address(1), Timestamp(1_000_000)).is_ok());
        assert!(rates.take(address(1), Timestamp(0)).is_err());
        assert!(rates.take(address(1), Timestamp(200)).is_ok());
    }
}
