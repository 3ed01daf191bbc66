//! A few styles of text, or none.

/// Puts text in a style, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    on: bool,
}

impl Style {
    /// With escapes, or without.
    pub const fn new(on: bool) -> Self {
        Self { on }
    }

    /// Whether escapes are written.
    pub const fn is_on(self) -> bool {
        self.on
    }

    /// Names and results.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What is less important.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// What went well.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// What needs a look.
    pub fn warn(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// What went wrong.
    pub fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// Places and headings.
    pub fn accent(self, text: &str) -> String {
        self.wrap("36", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A text from a model or a case, fit for a terminal: control characters, which could move the cursor or hide text, are
/// shown as their names. Line ends and tabs stay.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            '\r' => '␍',
            '\u{0}'..='\u{1f}' => {
                char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}')
            }
            '\u{7f}'..='\u{9f}' => '\u{fffd}',
            // direction overrides can make text read as what it is not
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            _ => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_text_stays_as_it_is() {
        assert_eq!(Style::new(false).bad("no"), "no");
        assert_eq!(Style::new(true).bad("no"), "\u{1b}[31mno\u{1b}[0m");
    }

    #[test]
    fn untrusted_text_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc"), "a␛[2Jb␍\nc");
        assert_eq!(printable("x\u{202e}y"), "x\u{fffd}y");
    }
}
