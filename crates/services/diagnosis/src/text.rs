//! Small text tools shared by attribution, lints and proposers: words, normal forms, quotes.

pub use fapo_domain::text::{cut, one_line};

/// Words too common to say anything about one case or one document.
const STOPWORDS: [&str; 72] = [
    "a", "about", "after", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been",
    "before", "but", "by", "can", "did", "do", "does", "for", "from", "had", "has", "have", "he",
    "her", "his", "how", "i", "if", "in", "into", "is", "it", "its", "more", "no", "not", "of",
    "on", "one", "only", "or", "other", "she", "so", "than", "that", "the", "their", "them",
    "then", "there", "these", "they", "this", "to", "was", "were", "what", "when", "where",
    "which", "who", "whom", "whose", "why", "will", "with", "you", "your",
];

/// Whether `word` (lower case) is too common to carry meaning.
pub fn is_stopword(word: &str) -> bool {
    STOPWORDS.binary_search(&word).is_ok()
}

/// The words of `text` in order: runs of letters and digits, lower-cased.
pub fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// The answer's normal form after SQuAD (Rajpurkar et al. 2016): lower case, without punctuation and articles, single
/// spaces.
pub fn normal_form(text: &str) -> String {
    let kept: String = text
        .chars()
        .filter(|c| c.is_alphanumeric() || c.is_whitespace())
        .flat_map(char::to_lowercase)
        .collect();
    kept.split_whitespace()
        .filter(|word| !matches!(*word, "a" | "an" | "the"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether the sequence `needle` stands somewhere in `haystack`. An empty needle stands nowhere.
pub fn contains_words(haystack: &[String], needle: &[String]) -> bool {
    !needle.is_empty()
        && haystack
            .windows(needle.len())
            .any(|window| window == needle)
}

/// A short quotation of `text` for a message.
pub fn quote(text: &str) -> String {
    format!("\"{}\"", one_line(text, 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopwords_are_sorted_so_they_can_be_searched() {
        assert!(STOPWORDS.is_sorted());
        assert!(is_stopword("which") && !is_stopword("lake"));
    }

    #[test]
    fn normal_form_drops_case_punctuation_and_articles() {
        assert_eq!(normal_form("  The  U.S.A., a  Land! "), "usa land");
        assert_eq!(words("Éa-b 12"), ["éa", "b", "12"]);
    }

    #[test]
    fn word_sequences_match_at_word_borders_only() {
        let text = words("the cat sat on the mat");
        assert!(contains_words(&text, &words("cat sat")));
        assert!(!contains_words(&text, &words("at")));
        assert!(!contains_words(&text, &[]));
    }
}
