//! Log lines on standard error.

use std::io::Write;

use fapo_domain::telemetry;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, Layer, Registry};

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

/// What logs the words of agents that are not trusted: it is silent unless the filter names it.
const GUESTS: &str = "rmcp";

/// What is never a log line: measurements, spans that are for traces only, prompts and outputs.
const NO_LOGS: [&str; 3] = [telemetry::METRICS, telemetry::SPANS, telemetry::CONTENT];

/// Reads a filter of log lines.
pub(crate) fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    let mut filter = EnvFilter::try_new(text)?;
    let mut silence = |target: &str| {
        let directive = format!("{target}=off").parse();
        filter =
            std::mem::take(&mut filter).add_directive(directive.expect("a fixed directive is one"));
    };
    NO_LOGS.into_iter().for_each(&mut silence);
    if !text.contains(GUESTS) {
        silence(GUESTS);
    }
    Ok(filter)
}

/// The layer that writes lines, without a filter.
pub(crate) fn lines<W: Write + 'static>(
    format: Format,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer();
    match format {
        Format::Text => layer.with_writer(writer).with_ansi(false).boxed(),
        Format::Terminal { colour } => layer
            .with_writer(move || OverLine(writer()))
            .with_ansi(colour)
            .without_time()
            .with_target(false)
            .boxed(),
        Format::Json => layer.with_writer(writer).json().boxed(),
    }
}

/// Clears the terminal's line before each write. The layer writes a whole log line at once.
struct OverLine<W>(W);

impl<W: Write> Write for OverLine<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(CLEAR_LINE.as_bytes())?;
        self.0.write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

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

    fn logged(text: &str, format: Format, work: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = lines(format, move || writer.clone()).with_filter(filter(text).unwrap());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, work);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn written(text: &str, format: Format) -> String {
        logged(text, format, || {
            tracing::info!(job = 7, "a block is done");
            tracing::warn!(job = 7, "a call was retried");
        })
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
        let said = |text: &str| {
            !logged(text, Format::Text, || {
                tracing::error!(target: "rmcp::service", "response error");
            })
            .is_empty()
        };
        assert!(!said(QUIET) && !said("trace") && !said("fapo=debug,warn"));
        assert!(said("warn,rmcp=info"));
    }

    #[test]
    fn measurements_and_content_are_no_log_lines_however_the_filter_asks_for_them() {
        for text in [
            "trace",
            "fapo::metrics=trace,fapo::spans=trace,fapo::content=trace,trace",
        ] {
            let logged = logged(text, Format::Text, || {
                tracing::event!(target: telemetry::METRICS, tracing::Level::ERROR, monotonic_counter.fapo_test_total = 1_u64);
                tracing::error!(target: telemetry::CONTENT, "a prompt");
                let span = tracing::error_span!(target: telemetry::SPANS, "chat", { telemetry::GEN_AI_REQUEST_MODEL } = "m");
                span.in_scope(|| tracing::error!("a line"));
                assert!(!telemetry::content_is_on());
            });
            assert_eq!(logged.lines().count(), 1, "{logged}");
            assert!(!logged.contains("chat"), "{logged}");
        }
    }
}
