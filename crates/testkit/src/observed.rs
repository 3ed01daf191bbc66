//! What work says to traces and metrics, caught in memory.
//!
//! ```no_run
//! use fapo_testkit::observed::Observed;
//! let (observed, _guard) = Observed::on_this_thread(false);
//! // the work, on this thread or in a current-thread runtime
//! assert!(observed.span("chat").is_some());
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use fapo_domain::telemetry;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Fields by name, values as text.
pub type Fields = BTreeMap<String, String>;

/// A span.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// The name of the span that it is in.
    pub parent: Option<String>,
    /// Its fields, those included that were recorded later.
    pub fields: Fields,
}

/// What was seen so far. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Observed(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    spans: Vec<(u64, Span)>,
    measurements: Vec<Fields>,
}

impl Observed {
    /// Watches what this thread does until the guard is dropped, as if all of fapo's spans and metrics were exported, and with
    /// `content` prompts and outputs too.
    pub fn on_this_thread(content: bool) -> (Self, DefaultGuard) {
        // While there is only one subscriber in the process, `tracing` asks that of the thread which meets a span first whether
        // anybody wants it, and remembers the answer: another test's thread would say no for this one. A second one mends that.
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| Dispatch::new(NoSubscriber::new()));
        let observed = Self::default();
        let only = FilterFn::new(move |metadata: &Metadata<'_>| match metadata.target() {
            telemetry::CONTENT => content,
            target => target.starts_with("fapo"),
        });
        let subscriber = tracing_subscriber::registry()
            .with(observed.clone())
            .with(only);
        (observed, tracing::subscriber::set_default(subscriber))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All spans, in the order in which they began.
    pub fn spans(&self) -> Vec<Span> {
        let seen = self.seen();
        seen.spans.iter().map(|(_, span)| span.clone()).collect()
    }

    /// The first span of a name.
    pub fn span(&self, name: &str) -> Option<Span> {
        self.spans().into_iter().find(|span| span.name == name)
    }

    /// The sum of what was measured under a counter's name, over all labels that contain these.
    pub fn counted(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let field = format!("monotonic_counter.{name}");
        let seen = self.seen();
        seen.measurements
            .iter()
            .filter(|fields| {
                labels
                    .iter()
                    .all(|(label, value)| fields.get(*label).is_some_and(|have| have == value))
            })
            .filter_map(|fields| fields.get(&field)?.parse::<f64>().ok())
            .sum()
    }

    /// How often a histogram's or a gauge's name was measured.
    pub fn measured(&self, name: &str) -> usize {
        let suffix = format!(".{name}");
        let seen = self.seen();
        seen.measurements
            .iter()
            .filter(|fields| fields.keys().any(|field| field.ends_with(&suffix)))
            .count()
    }

    /// Everything, as text to search in.
    pub fn whole(&self) -> String {
        format!("{:?}", self.seen())
    }
}

struct Texts<'a>(&'a mut Fields);

impl Visit for Texts<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Observed {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Texts(&mut fields));
        let parent = context
            .span(id)
            .and_then(|span| span.parent().map(|parent| parent.name().to_owned()));
        let name = attributes.metadata().name().to_owned();
        let span = Span {
            name,
            parent,
            fields,
        };
        self.seen().spans.push((id.into_u64(), span));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _context: Context<'_, S>) {
        let mut seen = self.seen();
        // ids are used again once a span is closed: the last one is meant
        let found = seen
            .spans
            .iter_mut()
            .rev()
            .find(|(known, _)| *known == id.into_u64());
        if let Some((_, span)) = found {
            values.record(&mut Texts(&mut span.fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if event.metadata().target() != telemetry::METRICS {
            return;
        }
        let mut fields = Fields::new();
        event.record(&mut Texts(&mut fields));
        self.seen().measurements.push(fields);
    }
}
