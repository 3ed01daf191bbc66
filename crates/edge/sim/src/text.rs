//! Small deterministic text functions: normalization for matching, token counting, and choices by hash.

use sha2::{Digest, Sha256};

/// Lower case, every run of characters that are neither letters nor digits becomes one space, and one space at either
/// end, so that a substring match of two normalized texts is a match of whole words.
pub fn normalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(' ');
    let mut pending = false;
    for ch in text.chars() {
        if ch.is_alphanumeric() {
            if pending && out.len() > 1 {
                out.push(' ');
            }
            pending = false;
            out.extend(ch.to_lowercase());
        } else {
            pending = true;
        }
    }
    if out.len() > 1 {
        out.push(' ');
    }
    out
}

/// The simulated tokenizer: 1.3 tokens per white-space separated word, rounded up.
pub fn count_tokens(text: &str) -> u64 {
    tokens_of_words(text.split_whitespace().count() as u64)
}

const fn tokens_of_words(words: u64) -> u64 {
    (words * 13).div_ceil(10)
}

/// Cuts `text` after as many words as fit into `max_tokens`; tells whether anything was cut.
pub(crate) fn cut_to_tokens(text: &mut String, max_tokens: u64) -> bool {
    if count_tokens(text) <= max_tokens {
        return false;
    }
    let words = usize::try_from(max_tokens * 10 / 13).unwrap_or(usize::MAX);
    let end = word_ends(text).nth(words.wrapping_sub(1)).unwrap_or(0);
    text.truncate(if words == 0 { 0 } else { end });
    true
}

/// Byte offsets of the ends of words.
fn word_ends(text: &str) -> impl Iterator<Item = usize> + '_ {
    let mut rest = text.char_indices().peekable();
    std::iter::from_fn(move || {
        while rest.next_if(|(_, ch)| ch.is_whitespace()).is_some() {}
        rest.peek()?;
        let mut end = 0;
        while let Some((at, ch)) = rest.next_if(|(_, ch)| !ch.is_whitespace()) {
            end = at + ch.len_utf8();
        }
        Some(end)
    })
}

/// Cuts `text` before the first stop text it holds; tells whether one was met.
pub(crate) fn cut_at_stop(text: &mut String, stops: &[String]) -> bool {
    let first = stops
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop.as_str()))
        .min();
    if let Some(at) = first {
        text.truncate(at);
    }
    first.is_some()
}

/// A hash of `parts`, each preceded by its length, as a number.
pub(crate) fn hash_of(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// Whether a hash falls into the first `share` of all hashes.
pub(crate) fn falls_into(hash: u64, share: f64) -> bool {
    (hash as f64 / u64::MAX as f64) < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizing_keeps_whole_words_only() {
        assert_eq!(normalize("Who wrote  “Emma”?"), " who wrote emma ");
        assert_eq!(normalize(""), " ");
        assert_eq!(normalize("...x"), " x ");
        assert!(normalize("The cat sat.").contains(&normalize("cat")));
        assert!(!normalize("concatenate").contains(&normalize("cat")));
    }

    #[test]
    fn cutting_respects_the_token_limit_and_word_borders() {
        let mut text = "one  two\nthree four".to_owned();
        assert_eq!(count_tokens(&text), 6);
        assert!(!cut_to_tokens(&mut text, 6));
        assert!(cut_to_tokens(&mut text, 4));
        assert_eq!(text, "one  two\nthree");
        assert!(cut_to_tokens(&mut text, 1));
        assert_eq!(text, "");
        let mut umlauts = "ä ö ü".to_owned();
        assert!(cut_to_tokens(&mut umlauts, 3));
        assert_eq!(umlauts, "ä ö");
    }

    #[test]
    fn the_earliest_stop_text_cuts() {
        let mut text = "a END b STOP c".to_owned();
        assert!(cut_at_stop(
            &mut text,
            &["STOP".into(), " END".into(), String::new()]
        ));
        assert_eq!(text, "a");
        assert!(!cut_at_stop(&mut text, &["z".into()]));
    }

    #[test]
    fn shares_of_hashes_come_out_near_the_rate() {
        let hits = (0u32..10_000)
            .filter(|n| falls_into(hash_of(&[&n.to_le_bytes()]), 0.3))
            .count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
        assert!(!falls_into(0, 0.0));
    }
}
