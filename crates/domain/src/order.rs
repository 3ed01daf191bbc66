//! A seeded order over `0..n` in constant memory.
//!
//! A Feistel network over the smallest even number of bits that holds `n`, walked until the result falls below `n`
//! (cycle walking; Black & Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). It is a bijection for every seed,
//! so a million cases can be visited in random order without a shuffled list in memory.

use crate::seed::Seed;

const ROUNDS: usize = 4;

/// A permutation of `0..len`.
#[derive(Debug, Clone, Copy)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` that `seed` names.
    pub fn new(len: u64, seed: Seed) -> Self {
        let bits = 64 - len.saturating_sub(1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(1);
        let mut keys = [0u64; ROUNDS];
        for (key, chunk) in keys.iter_mut().zip(seed.0.chunks_exact(8)) {
            let mut bytes = [0u8; 8];
            bytes.copy_from_slice(chunk);
            *key = u64::from_le_bytes(bytes);
        }
        Self {
            len,
            half_bits,
            keys,
        }
    }

    /// How many positions there are.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The element at `position`, or `None` at or past the end.
    pub fn at(&self, position: u64) -> Option<u64> {
        if position >= self.len {
            return None;
        }
        let mut value = self.encrypt(position);
        while value >= self.len {
            value = self.encrypt(value);
        }
        Some(value)
    }

    fn encrypt(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let mut left = (value >> self.half_bits) & mask;
        let mut right = value & mask;
        for key in self.keys {
            let next = left ^ (mix(right ^ key) & mask);
            left = right;
            right = next;
        }
        (left << self.half_bits) | right
    }
}

/// The finalizer of SplitMix64 (Steele, Lea & Flood 2014): a cheap mixing of all bits.
const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_element_appears_exactly_once(len in 0u64..2000, root: u64) {
            let order = Permutation::new(len, Seed::derive(root, "t", &[]));
            let mut seen: Vec<u64> = (0..len).filter_map(|p| order.at(p)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..len).collect::<Vec<_>>());
            prop_assert_eq!(order.at(len), None);
        }
    }

    #[test]
    fn another_seed_gives_another_order() {
        let list = |root| -> Vec<u64> {
            let order = Permutation::new(100, Seed::derive(root, "t", &[]));
            (0..100).filter_map(|p| order.at(p)).collect()
        };
        assert_eq!(list(1), list(1));
        assert_ne!(list(1), list(2));
        assert_ne!(list(1), (0..100).collect::<Vec<_>>());
    }
}
