//! Text to index terms.
//!
//! A term is a run of Unicode letters and digits, in lower case, with its plural ending taken off by the S stemmer
//! (Harman 1991, "How effective is suffixing?", JASIS 42(1)). Scripts that put no space between words (Han, kana) give
//! one term per character. There is no stop list: the weights of common words are small enough by themselves, and on
//! the multi-hop data tried, dropping them lost gold documents.

/// Shortest term (in bytes) whose ending is looked at.
const MIN_STEMMED: usize = 4;

/// Calls `each` with every term of `text`, in order. `buffer` is working space.
pub fn for_each_term(text: &str, buffer: &mut String, mut each: impl FnMut(&str)) {
    buffer.clear();
    for character in text.chars() {
        if character.is_ascii() {
            if character.is_ascii_alphanumeric() {
                buffer.push(character.to_ascii_lowercase());
            } else if !buffer.is_empty() {
                emit(buffer, &mut each);
            }
        } else if stands_alone(character) {
            if !buffer.is_empty() {
                emit(buffer, &mut each);
            }
            buffer.push(character);
            emit(buffer, &mut each);
        } else if character.is_alphanumeric() {
            buffer.extend(character.to_lowercase());
        } else if !buffer.is_empty() {
            emit(buffer, &mut each);
        }
    }
    if !buffer.is_empty() {
        emit(buffer, &mut each);
    }
}

fn emit(buffer: &mut String, each: &mut impl FnMut(&str)) {
    strip_plural(buffer);
    each(buffer);
    buffer.clear();
}

/// Han, Hiragana and Katakana.
const fn stands_alone(character: char) -> bool {
    matches!(character,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2fa1f}')
}

/// The S stemmer: `-ies` to `-y`, `-es` to `-e`, `-s` to nothing; only the first rule that fits is applied.
fn strip_plural(term: &mut String) {
    let bytes = term.as_bytes();
    if bytes.len() < MIN_STEMMED || !bytes.ends_with(b"s") {
        return;
    }
    let ends = |suffix: &[u8]| bytes.ends_with(suffix);
    if ends(b"ies") && !ends(b"eies") && !ends(b"aies") {
        term.truncate(term.len() - 3);
        term.push('y');
    } else if ends(b"es") {
        if !ends(b"aes") && !ends(b"ees") && !ends(b"oes") {
            term.truncate(term.len() - 1);
        }
    } else if !ends(b"us") && !ends(b"ss") {
        term.truncate(term.len() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for_each_term(text, &mut String::new(), |term| found.push(term.to_owned()));
        found
    }

    #[test]
    fn letters_and_digits_in_lower_case() {
        assert_eq!(
            terms("The CVE-2024-1 café, Ångström_Übung!"),
            ["the", "cve", "2024", "1", "café", "ångström", "übung"]
        );
        assert!(terms(" --  \u{1f600} ").is_empty());
    }

    #[test]
    fn plurals_lose_their_ending() {
        assert_eq!(terms("cities films houses"), ["city", "film", "house"]);
        assert_eq!(
            terms("bus glass heroes is us"),
            ["bus", "glass", "heroes", "is", "us"]
        );
    }

    #[test]
    fn scripts_without_spaces_give_one_term_per_character() {
        assert_eq!(terms("北京2008奥运"), ["北", "京", "2008", "奥", "运"]);
    }
}
