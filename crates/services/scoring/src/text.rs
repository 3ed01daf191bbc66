//! Normal forms of texts and the short quotes in feedback lines.

use unicode_normalization::UnicodeNormalization;

/// Longest quote in a feedback line, in characters.
const QUOTE_CHARS: usize = 60;

/// A text between back quotes, on one line, cut at 60 characters.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(QUOTE_CHARS + 4);
    out.push('`');
    let mut written = 0;
    for word in text.split_whitespace() {
        if written > 0 {
            out.push(' ');
            written += 1;
        }
        for character in word.chars() {
            if written >= QUOTE_CHARS {
                out.push_str("…`");
                return out;
            }
            // a back quote inside would end the quote for a reader
            out.push(if character == '`' { '\'' } else { character });
            written += 1;
        }
    }
    out.push('`');
    out
}

/// Several quotes, at most five, and how many were left out.
pub(crate) fn quote_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut texts = texts.into_iter();
    let mut out = texts
        .by_ref()
        .take(5)
        .map(quote)
        .collect::<Vec<_>>()
        .join(", ");
    let rest = texts.count();
    if rest > 0 {
        out.push_str(&format!(" and {rest} more"));
    }
    out
}

/// What was expected: one quote, or `one of` several.
pub(crate) fn quote_expected<S: AsRef<str>>(expected: &[S]) -> String {
    match expected {
        [one] => quote(one.as_ref()),
        several => format!(
            "one of {}",
            quote_list(several.iter().map(|text| text.as_ref()))
        ),
    }
}

/// The normal form of the SQuAD evaluation script (Rajpurkar et al. 2016): lower case, ASCII punctuation removed, the
/// words a, an and the removed, single spaces. The HotpotQA script uses the same.
pub(crate) fn squad_normalize(text: &str) -> String {
    let lower: String = text
        .to_lowercase()
        .chars()
        .filter(|character| !character.is_ascii_punctuation())
        .collect();
    let mut out = String::with_capacity(lower.len());
    for chunk in lower.split_whitespace() {
        // within a chunk, words border on what is left of punctuation, such as typographic quotes; an article between
        // them becomes a space, as in the script
        let mut rest = chunk;
        let mut at_border = true;
        while let Some(first) = rest.chars().next() {
            let is_word = first.is_alphanumeric();
            let end = rest
                .find(|character: char| character.is_alphanumeric() != is_word)
                .unwrap_or(rest.len());
            let (run, tail) = rest.split_at(end);
            rest = tail;
            if is_word && matches!(run, "a" | "an" | "the") {
                at_border = true;
                continue;
            }
            if at_border && !out.is_empty() {
                out.push(' ');
            }
            at_border = false;
            out.push_str(run);
        }
    }
    out
}

/// The normal form of a member of a set (a title, an id): composed characters, lower case, single spaces. Punctuation
/// and articles stay, because `The Matrix` and `Matrix` are two titles.
pub(crate) fn fold_member(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        if word.is_ascii() {
            out.extend(word.chars().map(|character| character.to_ascii_lowercase()));
        } else {
            out.push_str(&word.nfc().collect::<String>().to_lowercase());
        }
    }
    out
}

/// Whether `needle` stands in `text` as whole words, whatever the case.
pub(crate) fn contains_words(text: &str, needle: &str) -> bool {
    let (text, needle) = (text.to_lowercase(), needle.trim().to_lowercase());
    if needle.is_empty() {
        return false;
    }
    let is_word = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
    text.match_indices(&needle).any(|(start, found)| {
        !is_word(text[..start].chars().next_back())
            && !is_word(text[start + found.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squad_normalization_does_what_the_official_script_does() {
        let table = [
            ("The  Eiffel Tower!", "eiffel tower"),
            ("a an the", ""),
            ("An apple a day.", "apple day"),
            ("U.S.A.", "usa"),
            ("the-cat", "thecat"),
            ("Theatre", "theatre"),
            ("  Ünïcode  ÉTÉ ", "ünïcode été"),
            ("\u{201c}the\u{201d} end", "\u{201c} \u{201d} end"),
            ("$1,000", "1000"),
            ("", ""),
        ];
        for (text, normal) in table {
            assert_eq!(squad_normalize(text), normal, "{text:?}");
        }
    }

    #[test]
    fn quotes_are_one_short_line() {
        assert_eq!(quote(" a\n b`c "), "`a b'c`");
        let long = quote(&"word ".repeat(100));
        assert!(long.ends_with("…`") && long.chars().count() <= 63, "{long}");
        assert_eq!(
            quote_list(["1", "2", "3", "4", "5", "6"]),
            "`1`, `2`, `3`, `4`, `5` and 1 more"
        );
    }

    #[test]
    fn members_fold_case_space_and_composition_but_keep_punctuation() {
        assert_eq!(fold_member("  The   Matrix (1999) "), "the matrix (1999)");
        assert_eq!(fold_member("Cafe\u{301}"), fold_member("CAFÉ"));
        assert_ne!(fold_member("The Matrix"), fold_member("Matrix"));
    }

    #[test]
    fn whole_words_are_found_and_parts_of_words_are_not() {
        assert!(contains_words("It is Paris, of course", "paris"));
        assert!(!contains_words("comparison", "paris"));
        assert!(!contains_words("anything", " "));
    }
}
