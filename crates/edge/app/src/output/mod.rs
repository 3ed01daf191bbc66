//! What a command says: data on standard output, everything else on standard error.

pub mod files;
pub mod format;
pub mod style;
pub mod table;

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use self::style::Style;
use crate::config::Env;

/// The two streams and how to write on them.
#[derive(Debug, Clone)]
pub struct Output {
    /// Whether data is written as JSON.
    pub json: bool,
    /// Whether notes are left out.
    pub quiet: bool,
    /// Colours of standard output.
    pub style: Style,
    /// Colours of standard error.
    pub notes: Style,
    /// Whether standard error is a terminal that can redraw lines.
    pub live: bool,
}

impl Output {
    /// For the process's own streams. Colours need a terminal, no `NO_COLOR` (no-color.org) and a `TERM` that is not
    /// `dumb`; `CLICOLOR_FORCE` turns them on anywhere.
    pub fn new(json: bool, quiet: bool, env: &Env) -> Self {
        let stderr = io::stderr().is_terminal();
        let capable = env.get("TERM") != Some("dumb");
        let colour = |terminal: bool| {
            let wanted = (terminal && capable) || env.get("CLICOLOR_FORCE").is_some();
            Style::new(wanted && env.get("NO_COLOR").is_none())
        };
        Self {
            json,
            quiet,
            style: colour(io::stdout().is_terminal()),
            notes: colour(stderr),
            live: stderr && capable,
        }
    }

    /// Writes data, with a line end.
    ///
    /// # Errors
    /// What the system says, a closed pipe included.
    pub fn data(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()
    }

    /// Writes a value as one indented JSON document.
    ///
    /// # Errors
    /// What the system says.
    pub fn json(&self, value: &impl Serialize) -> io::Result<()> {
        self.data(&serde_json::to_string_pretty(value).map_err(io::Error::other)?)
    }

    /// Writes a value as JSON on one line, for who reads lines.
    ///
    /// # Errors
    /// What the system says.
    pub fn json_line(&self, value: &impl Serialize) -> io::Result<()> {
        self.data(&serde_json::to_string(value).map_err(io::Error::other)?)
    }

    /// Writes a note for the person, unless they want none. A standard error that cannot be written is no reason to fail.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.error(text);
        }
    }

    /// Writes a line on standard error in any case; at a terminal in the place of the one that is redrawn there.
    pub fn error(&self, text: &str) {
        let place = if self.live {
            fapo_telemetry::CLEAR_LINE
        } else {
            ""
        };
        let _ = writeln!(io::stderr().lock(), "{place}{text}");
    }
}
