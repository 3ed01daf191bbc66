//! When a blob may go: what both back ends' retention goes by.
//!
//! Nothing counts who names a blob: rows name it, and the hot path would pay for every count. So it is marked and swept. Marking
//! reads every row that may name one; sweeping removes those that no row names. Both take their time, and meanwhile others store
//! runs. What keeps a blob alive that a row begins to name just then is its stamp, `touched_at`:
//!
//! * whoever stores a blob, or finds it stored and is about to name it, sets its stamp, unless that is younger than [`TOUCH`];
//! * the sweep leaves every blob alone whose stamp is younger than [`GRACE`] at the moment the marking began.
//!
//! So a row that the marking did not see, because it was committed after, names a blob whose stamp is younger than that. This
//! holds as long as no transaction takes, and no two machines' clocks differ by, `GRACE - TOUCH`. It also keeps what was uploaded
//! and has no job yet.

use std::collections::HashSet;
use std::time::Duration;

use fapo_domain::clock::Timestamp;
use fapo_domain::ports::retention::{Collected, RetentionRule};

/// A blob that was touched within this time stays.
pub(crate) const GRACE: Duration = Duration::from_secs(24 * 3600);
/// A stamp is set anew once it is older than this: a blob that is named by every run costs two writes a day.
pub(crate) const TOUCH: Duration = Duration::from_secs(12 * 3600);
// the back ends' statements say so in figures
const _: () = assert!(TOUCH.as_secs() == 43_200);
/// Blobs whose names are kept in memory at once: 8 MB, however many there are.
const AT_ONCE: u64 = 1 << 20;

/// Rows removed in one transaction.
pub(crate) const STEP: u32 = 500;

/// The moment so long before `now`.
pub(crate) fn before(now: Timestamp, time: Duration) -> Timestamp {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp(now.0.saturating_sub(millis))
}

/// From when on step results stay: those that a running job may have paid for are not thrown away.
pub(crate) fn cache_before(rule: &RetentionRule, oldest_running: Option<i64>) -> Option<i64> {
    let before = rule.cache_before?.0;
    Some(oldest_running.map_or(before, |oldest| before.min(oldest)))
}

/// A part of all hashes: with many blobs the marking is done part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    index: u64,
    of: u64,
}

impl Part {
    /// The parts in which so many blobs are looked at.
    pub(crate) fn all(blobs: u64) -> impl Iterator<Item = Self> {
        let of = blobs.div_ceil(AT_ONCE).max(1);
        (0..of).map(move |index| Self { index, of })
    }

    fn holds(self, start: u64) -> bool {
        // the upper half of the product: `start` is spread evenly, being of a hash
        let index = (u128::from(start) * u128::from(self.of)) >> 64;
        index == u128::from(self.index)
    }
}

/// The blobs of a part that rows name. By the first eight bytes of their hashes: of two that share them both stay.
#[derive(Debug)]
pub(crate) struct Named {
    part: Part,
    starts: HashSet<u64>,
}

impl Named {
    pub(crate) fn new(part: Part) -> Self {
        Self {
            part,
            starts: HashSet::new(),
        }
    }

    /// A row names this hash.
    pub(crate) fn add(&mut self, hash: &[u8]) {
        if let Some(start) = start(hash)
            && self.part.holds(start)
        {
            self.starts.insert(start);
        }
    }

    /// A row holds this JSON, which may name hashes anywhere: every run of 64 hex digits is taken for one. A name too many keeps
    /// a blob; a name missed would lose one.
    pub(crate) fn add_json(&mut self, json: &[u8]) {
        for digits in json.split(|byte| !byte.is_ascii_hexdigit()) {
            if digits.len() == 64
                && let Ok(hash) = hex::decode(digits)
            {
                self.add(&hash);
            }
        }
    }

    /// Whether a blob of this hash may go, as far as the rows are concerned. False for those of other parts.
    pub(crate) fn misses(&self, hash: &[u8]) -> bool {
        start(hash).is_some_and(|start| self.part.holds(start) && !self.starts.contains(&start))
    }
}

fn start(hash: &[u8]) -> Option<u64> {
    hash.first_chunk::<8>()
        .map(|bytes| u64::from_be_bytes(*bytes))
}

/// Counts blobs that went, or would.
pub(crate) fn count_blobs(collected: &mut Collected, sizes: impl IntoIterator<Item = u64>) {
    for size in sizes {
        collected.blobs += 1;
        collected.blob_bytes += size;
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::hash::ContentHash;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_hash_lies_in_exactly_one_part(seed: u64, blobs in 0u64..20 * AT_ONCE) {
            let hash = ContentHash::of(&seed.to_le_bytes());
            let missing = Part::all(blobs)
                .filter(|part| Named::new(*part).misses(hash.as_bytes()))
                .count();
            prop_assert_eq!(missing, 1);
        }
    }

    #[test]
    fn hashes_are_found_anywhere_in_json() {
        let (a, b) = (ContentHash::of(b"a"), ContentHash::of(b"b"));
        let part = Part::all(0).next().unwrap();
        let mut named = Named::new(part);
        named.add_json(format!("{{\"deep\":[\"{a}\",\"{}\"]}}", &b.to_string()[..63]).as_bytes());
        assert!(!named.misses(a.as_bytes()));
        assert!(named.misses(b.as_bytes()));
        named.add(b.as_bytes());
        assert!(!named.misses(b.as_bytes()));
        // no hash at all, and so none that is missed
        assert!(!named.misses(b"short"));
    }
}
