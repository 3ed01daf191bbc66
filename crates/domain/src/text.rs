//! Texts cut to fit a line.

/// The text in one line, white space squeezed, cut to `max` characters with `…`. Reads no more of the text than it needs.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    // bytes are at least characters, so this much is enough to know whether the line must be cut
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        // one word can be as long as the text: four bytes for each character that can still be shown
        let mut end = word.len().min((max + 1) * 4);
        while !word.is_char_boundary(end) {
            end -= 1;
        }
        line.push_str(&word[..end]);
        if line.len() > (max + 1) * 4 {
            break;
        }
    }
    cut(&line, max)
}

/// At most `max` characters, the last a `…` in place of what was left out.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_fall_on_characters_and_say_so() {
        assert_eq!(cut("äöü", 2), "ä…");
        assert_eq!(one_line(" a\n b ", 9), "a b");
    }

    #[test]
    fn one_endless_word_is_cut_too() {
        assert_eq!(one_line("ààààà", 3), "àà…");
        assert_eq!(one_line(&"x".repeat(1000), 3), "xx…");
        assert_eq!(one_line("à la\n carte", 20), "à la carte");
        assert_eq!(one_line("ab cd", 4), "ab…");
    }
}
