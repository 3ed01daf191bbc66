//! Text within a budget of bytes.

use crate::enclosure::{Enclosure, LINES};

/// Text that never grows beyond its budget.
pub(crate) struct Page {
    /// What was written so far.
    pub text: String,
    /// Most bytes of it.
    pub budget: usize,
}

impl Page {
    /// No text yet.
    pub const fn new(budget: usize) -> Self {
        Self {
            text: String::new(),
            budget,
        }
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.budget.saturating_sub(self.text.len())
    }

    /// Adds a section of at most `most` bytes, heading included; an empty body adds nothing.
    pub fn section(&mut self, heading: &str, body: &str, most: usize) {
        let heading = format!("# {heading}\n\n");
        let most = most.min(self.left());
        if body.trim().is_empty() || most <= heading.len() + 40 {
            return;
        }
        let body = within(body.trim_end(), most - heading.len() - 2);
        self.text.push_str(&heading);
        self.text.push_str(&body);
        self.text.push_str("\n\n");
    }

    /// As [`Self::section`], for untrusted text: between the lines of `enclosure`.
    pub fn enclosed(&mut self, heading: &str, body: &str, most: usize, enclosure: &Enclosure) {
        let heading = format!("# {heading}\n\n");
        let most = most.min(self.left());
        let lines = heading.len() + LINES + 2;
        if body.trim().is_empty() || most <= lines + 40 {
            return;
        }
        let body = within(body.trim_end(), most - lines);
        self.text.push_str(&heading);
        self.text.push_str(&enclosure.around(&body));
        self.text.push('\n');
    }
}

/// The text, or its start with a mark, in at most `bytes` bytes.
pub(crate) fn within(text: &str, bytes: usize) -> String {
    const MARK: &str = " …";
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if bytes < MARK.len() {
        String::new()
    } else {
        format!("{}{MARK}", &text[..end])
    }
}
