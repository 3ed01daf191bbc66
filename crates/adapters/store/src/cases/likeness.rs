//! When two cases are nearly the same.
//!
//! A case's *tokens* are the maximal runs of letters and digits in the texts, numbers and truth values of its input,
//! in lower case, keys in alphabetical order. (In scripts without spaces each letter is a token.) Two cases are the
//! same up to case, punctuation and white space when their token sequences are equal: `exact` is a hash of it.
//!
//! Near likeness is the Jaccard index of the sets of three-token shingles (Broder, "On the resemblance and containment
//! of documents", 1997). It is found by MinHash with banding (Broder et al., "Min-wise independent permutations", 1998;
//! Leskovec, Rajaraman & Ullman, *Mining of Massive Datasets*, 3.4): 32 minima under multiply-add-shift hashes
//! (Dietzfelbinger 1996), in four bands of eight. Two cases with index `s` share a band with probability
//! `1 - (1 - s^8)^4`: 0.90 at 0.9, 0.52 at 0.8, 0.02 at 0.5. Texts shorter than [`LEAST_TOKENS`] are compared exactly
//! only: among short questions one other word makes another case.

use serde_json::{Map, Value};

/// Bands of minima.
pub(crate) const BANDS: usize = 4;
const ROWS: usize = 8;
const SHINGLE: usize = 3;
/// Fewer tokens than this have no bands.
const LEAST_TOKENS: usize = 16;

/// What a case is compared by. `None` where there is nothing to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Likeness {
    /// Equal for equal token sequences.
    pub(crate) exact: Option<i64>,
    /// One of them is equal for most near-duplicates.
    pub(crate) bands: [Option<i64>; BANDS],
}

impl Likeness {
    pub(crate) fn of(input: &Map<String, Value>) -> Self {
        let tokens = tokens(input);
        if tokens.is_empty() {
            return Self {
                exact: None,
                bands: [None; BANDS],
            };
        }
        Self {
            exact: Some(fold(&tokens)),
            bands: if tokens.len() < LEAST_TOKENS {
                [None; BANDS]
            } else {
                bands(&tokens).map(Some)
            },
        }
    }
}

/// The shingles of an input: a set, in ascending order.
pub(crate) struct Shingles(Vec<u64>);

impl Shingles {
    pub(crate) fn of(input: &Map<String, Value>) -> Self {
        let mut all: Vec<u64> = shingles(&tokens(input)).collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    /// The Jaccard index of two sets.
    pub(crate) fn resemblance(&self, other: &Self) -> f64 {
        let (mut common, mut theirs) = (0usize, other.0.iter().peekable());
        for mine in &self.0 {
            while theirs.next_if(|theirs| *theirs < mine).is_some() {}
            common += usize::from(theirs.next_if_eq(&mine).is_some());
        }
        let all = self.0.len() + other.0.len() - common;
        if all == 0 {
            0.0
        } else {
            common as f64 / all as f64
        }
    }
}

fn bands(tokens: &[u64]) -> [i64; BANDS] {
    let mut minima = [u32::MAX; BANDS * ROWS];
    for shingle in shingles(tokens) {
        for (minimum, (factor, offset)) in minima.iter_mut().zip(HASHES) {
            let hash = (shingle.wrapping_mul(factor).wrapping_add(offset) >> 32) as u32;
            *minimum = (*minimum).min(hash);
        }
    }
    let mut keys = [0; BANDS];
    for (key, rows) in keys.iter_mut().zip(minima.chunks_exact(ROWS)) {
        let rows: [u64; ROWS] = std::array::from_fn(|n| u64::from(rows[n]));
        *key = fold(&rows);
    }
    keys
}

fn shingles(tokens: &[u64]) -> impl Iterator<Item = u64> {
    // a text shorter than a shingle is one shingle
    let size = SHINGLE.min(tokens.len().max(1));
    tokens
        .windows(size)
        .map(|window| fold(window).cast_unsigned())
}

/// Hashes of the tokens, in order.
fn tokens(input: &Map<String, Value>) -> Vec<u64> {
    let mut tokens = Tokens::default();
    tokens.map(input);
    tokens.list
}

#[derive(Default)]
struct Tokens {
    list: Vec<u64>,
    current: Option<u64>,
}

impl Tokens {
    fn map(&mut self, map: &Map<String, Value>) {
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        for (_, value) in entries {
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(value) => self.text(if *value { "true" } else { "false" }),
            Value::Number(number) => self.text(&number.to_string()),
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter().for_each(|item| self.value(item)),
            Value::Object(map) => self.map(map),
        }
    }

    fn text(&mut self, text: &str) {
        for letter in text.chars() {
            if !letter.is_alphanumeric() {
                self.end();
                continue;
            }
            for lower in letter.to_lowercase() {
                // FNV-1a, a letter at a time
                let hash = self.current.unwrap_or(0xcbf2_9ce4_8422_2325);
                self.current =
                    Some((hash ^ u64::from(u32::from(lower))).wrapping_mul(0x0000_0100_0000_01b3));
            }
            // from the CJK radicals on, words are not divided by spaces
            if u32::from(letter) >= 0x2e80 {
                self.end();
            }
        }
        self.end();
    }

    fn end(&mut self) {
        self.list.extend(self.current.take());
    }
}

/// An order-sensitive hash of numbers.
fn fold(numbers: &[u64]) -> i64 {
    numbers
        .iter()
        .fold(mix(numbers.len() as u64), |hash, number| {
            mix(hash.rotate_left(5) ^ *number)
        })
        .cast_signed()
}

/// SplitMix64 (Steele, Lea & Flood 2014).
const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Factors (odd) and offsets of the hashes. Stored keys depend on them only while an import is under way.
const HASHES: [(u64, u64); BANDS * ROWS] = {
    let mut hashes = [(0, 0); BANDS * ROWS];
    let mut n = 0;
    while n < hashes.len() {
        hashes[n] = (mix(2 * n as u64) | 1, mix(2 * n as u64 + 1));
        n += 1;
    }
    hashes
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn input(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn case_punctuation_space_and_key_order_do_not_matter() {
        let a = input(json!({"q": "What is  BLUE?", "n": 3, "deep": {"x": ["a", true]}}));
        let b = input(json!({"deep": {"x": ["A!", true]}, "n": 3, "q": "what is blue"}));
        assert_eq!(Likeness::of(&a), Likeness::of(&b));
        let c = input(json!({"deep": {"x": ["A!", true]}, "n": 4, "q": "what is blue"}));
        assert_ne!(Likeness::of(&a).exact, Likeness::of(&c).exact);
        assert_eq!(Likeness::of(&Map::new()).exact, None);
        assert_eq!(Likeness::of(&a).bands, [None; BANDS]);
    }

    #[test]
    fn a_long_text_with_one_other_word_shares_a_band_and_another_text_shares_none() {
        let words: Vec<String> = (0..200).map(|n| format!("word{}", n * 7 % 113)).collect();
        let mut shares = 0;
        for changed in 0..100 {
            let a = input(json!({ "text": words.join(" ") }));
            let mut other = words.clone();
            other[changed] = "changed".to_owned();
            let b = input(json!({ "text": other.join(" ") }));
            assert!(Shingles::of(&a).resemblance(&Shingles::of(&b)) > 0.9);
            let (a, b) = (Likeness::of(&a), Likeness::of(&b));
            assert_ne!(a.exact, b.exact);
            shares += usize::from(a.bands.iter().zip(b.bands).any(|(x, y)| *x == y));
        }
        assert!(shares >= 85, "{shares} of 100");
        let other: Vec<String> = (0..200).map(|n| format!("term{}", n * 5 % 97)).collect();
        let a = input(json!({ "text": words.join(" ") }));
        let b = input(json!({ "text": other.join(" ") }));
        let (a, b) = (Likeness::of(&a), Likeness::of(&b));
        assert!(a.bands.iter().zip(b.bands).all(|(x, y)| *x != y));
    }

    #[test]
    fn letters_of_scripts_without_spaces_are_tokens() {
        let a = input(json!({"q": "東京の天気はどうですか、明日の予定を教えてください"}));
        let b = input(json!({"q": "東京の天気はどうですか。明日の予定を教えてください！"}));
        assert_eq!(Likeness::of(&a), Likeness::of(&b));
        assert!(Likeness::of(&a).bands[0].is_some());
    }
}
