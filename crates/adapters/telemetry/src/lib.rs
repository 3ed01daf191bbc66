//! Logging set-up: one place that knows subscribers and exporters.
//!
//! Everything else in the workspace only emits `tracing` spans and events. This crate decides once per process where
//! they go: to standard error, never to standard output, which belongs to a command's data.
//!
//! The default shows warnings and errors only, so that live progress stays readable. A person who wants more raises the
//! level with `-v`, or writes a filter such as `fapo_llm=debug,info`.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// The filter that is used unless a person asks for another: problems only.
pub const QUIET: &str = "warn";

/// What a terminal does on it: back to the line's beginning, and erase it (ECMA-48: CR, EL 2).
pub const CLEAR_LINE: &str = "\r\x1b[2K";

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// A line with time, level, target, message and fields, to be kept in a file.
    #[default]
    Text,
    /// A short one for who watches a terminal: level, message and fields. It takes the place of a line that is being
    /// redrawn there, which then goes on below it.
    Terminal {
        /// Whether it has colours.
        colour: bool,
    },
    /// One JSON object a line, for machines.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("the log filter {filter:?} cannot be read")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The process has a global subscriber already.
    #[error("logging is set up already in this process")]
    Twice(#[from] TryInitError),
}

/// Keeps telemetry running; drop it last, so that what is buffered is written. With logging to standard error alone
/// there is nothing to flush; exporters will be.
#[derive(Debug)]
#[must_use = "telemetry stops when the guard is dropped"]
pub struct Guard {
    _private: (),
}

/// Sets up logging for the whole process, to standard error.
///
/// `filter` has the syntax of `tracing_subscriber::EnvFilter` (`warn`, `info`, `fapo_llm=debug,warn`).
///
/// # Errors
/// [`TelemetryError::Filter`] for a filter that cannot be read; [`TelemetryError::Twice`] when called a second time.
pub fn init(filter: &str, format: Format) -> Result<Guard, TelemetryError> {
    subscriber(filter, format, io::stderr)?.try_init()?;
    Ok(Guard { _private: () })
}

/// What logs the words of agents that are not trusted: it is silent unless the filter names it.
const GUESTS: &str = "rmcp";

/// The subscriber that [`init`] installs, over any writer.
///
/// # Errors
/// [`TelemetryError::Filter`].
fn subscriber<W: Write + 'static>(
    filter: &str,
    format: Format,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, TelemetryError> {
    let mut parsed = EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    if !filter.contains(GUESTS) {
        let silent = format!("{GUESTS}=off").parse();
        parsed = parsed.add_directive(silent.expect("a fixed directive"));
    }
    let registry = tracing_subscriber::registry().with(parsed);
    let layer = tracing_subscriber::fmt::layer();
    Ok(match format {
        Format::Text => Box::new(registry.with(layer.with_writer(writer).with_ansi(false))),
        Format::Terminal { colour } => {
            let layer = layer
                .with_writer(move || OverLine(writer()))
                .with_ansi(colour)
                .without_time()
                .with_target(false);
            Box::new(registry.with(layer))
        }
        Format::Json => Box::new(registry.with(layer.with_writer(writer).json())),
    })
}

/// Clears the terminal's line before each write. The layer writes a whole log line at once.
struct OverLine<W>(W);

impl<W: Write> Write for OverLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(CLEAR_LINE.as_bytes())?;
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(filter: &str, format: Format) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(filter, format, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(job = 7, "a block is done");
            tracing::warn!(job = 7, "a call was retried");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_default_filter_is_quiet_about_ordinary_work() {
        let text = written(QUIET, Format::Text);
        assert!(!text.contains("a block is done"), "{text}");
        assert!(text.contains("a call was retried"), "{text}");
        assert!(
            !text.contains('\u{1b}'),
            "no escapes without colour: {text}"
        );
    }

    #[test]
    fn a_line_at_a_terminal_is_short_and_takes_the_place_of_the_one_that_is_redrawn() {
        let text = written(QUIET, Format::Terminal { colour: false });
        assert_eq!(text, "\r\u{1b}[2K WARN a call was retried job=7\n");
        let text = written(QUIET, Format::Terminal { colour: true });
        assert!(text.contains("\u{1b}[33m WARN"), "{text:?}");
    }

    #[test]
    fn json_lines_hold_the_fields() {
        let text = written("info", Format::Json);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains(r#""job":7"#), "{text}");
    }

    #[test]
    fn what_an_agent_says_to_its_tools_is_logged_only_where_that_is_asked_for() {
        let said = |filter: &str| {
            let sink = Sink::default();
            let writer = sink.clone();
            let subscriber = subscriber(filter, Format::Text, move || writer.clone()).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                tracing::error!(target: "rmcp::service", "response error");
            });
            !sink.0.lock().unwrap().is_empty()
        };
        assert!(!said(QUIET) && !said("trace") && !said("fapo=debug,warn"));
        assert!(said("warn,rmcp=info"));
    }

    #[test]
    fn a_bad_filter_is_named() {
        let error = init("fapo=loud", Format::Text).unwrap_err();
        assert!(error.to_string().contains("fapo=loud"));
    }
}
