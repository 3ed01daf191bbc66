//! Seeds for random choices: derived from what is being decided, never from process state, so that a resumed job
//! draws the same numbers as an undisturbed one.

use crate::hash::Hasher;

/// A 256-bit seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl Seed {
    /// The seed for one use: the job's own seed, a name for the use (`"bootstrap"`, `"case-order"`) and what it is about.
    pub fn derive(root: u64, purpose: &str, about: &[&[u8]]) -> Self {
        let mut hasher = Hasher::new("seed/v1");
        hasher.number(root).part(purpose.as_bytes());
        for part in about {
            hasher.part(part);
        }
        Self(*hasher.finish().as_bytes())
    }

    /// The first eight bytes as a number.
    pub fn as_u64(&self) -> u64 {
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(bytes)
    }
}
