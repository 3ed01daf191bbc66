//! A few values by key, for things that are dear to make and asked for again and again.

/// Values kept at the same time; the one used longest ago makes room.
pub(crate) const KEPT: usize = 8;

/// A few values, the one used last at the end.
pub(crate) struct Recent<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    /// The value under `key`, made if it is absent; more than [`KEPT`] values drop the one used longest ago.
    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> V {
        let entry = match self.entries.iter().position(|(known, _)| *known == key) {
            Some(position) => self.entries.remove(position),
            None => (key, make()),
        };
        let value = entry.1.clone();
        self.entries.push(entry);
        if self.entries.len() > KEPT {
            self.entries.remove(0);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_used_longest_ago_makes_room() {
        let mut recent = Recent::default();
        for key in 0..KEPT {
            recent.get_or_insert_with(key, || key);
        }
        recent.get_or_insert_with(0, || 99);
        recent.get_or_insert_with(KEPT, || KEPT);
        assert_eq!(recent.get_or_insert_with(0, || 99), 0);
        assert_eq!(recent.get_or_insert_with(1, || 99), 99);
    }
}
