//! Each call has a span in its caller's trace, and figures.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, ensure};
use fapo_domain::model::access::Caller;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::optimizer::Optimizer;
use fapo_domain::ports::trace_context::TraceContext;
use fapo_rpc::{ClientOptions, Connection, RemoteOptimizer};
use fapo_testkit::sample;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::world::{Setup, World};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Is at one place, and remembers what it was told of others.
#[derive(Debug, Default)]
struct Placed {
    here: Option<TraceParent>,
    adopted: Mutex<Vec<String>>,
}

impl TraceContext for Placed {
    fn current(&self) -> Option<TraceParent> {
        self.here.clone()
    }

    fn adopt(&self, span: &Span, parent: &TraceParent) {
        let name = span
            .metadata()
            .map_or("disabled", |metadata| metadata.name());
        let told = format!("{name} under {parent}");
        held(&self.adopted).push(told);
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Fields = BTreeMap<String, String>;

/// Writes down spans called `rpc`, and events for figures.
#[derive(Clone, Default)]
struct Seen {
    spans: Arc<Mutex<Fields>>,
    figures: Arc<Mutex<Vec<Fields>>>,
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}").trim_matches('"').to_owned();
        self.0.insert(field.name().to_owned(), text);
    }
}

impl<S: Subscriber> Layer<S> for Seen {
    fn on_new_span(&self, span: &Attributes<'_>, _id: &Id, _context: Context<'_, S>) {
        if span.metadata().name() == "rpc" {
            span.record(&mut Into(&mut held(&self.spans)));
        }
    }

    fn on_record(&self, _span: &Id, values: &Record<'_>, _context: Context<'_, S>) {
        values.record(&mut Into(&mut held(&self.spans)));
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if event.metadata().target() == "fapo::metrics" {
            let mut fields = Fields::new();
            event.record(&mut Into(&mut fields));
            held(&self.figures).push(fields);
        }
    }
}

/// On one thread, whose subscriber sees the server too.
#[tokio::test(flavor = "current_thread")]
async fn a_call_is_a_span_in_its_caller_s_trace_and_is_counted_by_method_and_code()
-> anyhow::Result<()> {
    let seen = Seen::default();
    let subscriber = tracing_subscriber::registry().with(seen.clone());
    // Where there is one subscriber only, `tracing` asks that of the thread which comes by first, and other tests' threads have
    // none: a second one makes it ask all of them.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Arc::new(Placed::default());
    let world = World::new(Setup {
        trace: server.clone(),
        ..Setup::default()
    })
    .await?;
    let things = world.fill("qa").await?;
    let client = Arc::new(Placed {
        here: Some(PARENT.parse()?),
        ..Placed::default()
    });
    let options = ClientOptions::new(&world.url);
    let remote = RemoteOptimizer::new(Connection::new(options, client)?);
    remote.job(&Caller::local(), things.job).await?;
    let refused = remote.job(&Caller::local(), sample::job_id(9)).await;
    ensure!(refused.is_err());
    let adopted = server.adopted.lock().unwrap().clone();
    ensure!(
        adopted == vec![format!("rpc under {PARENT}"); 2],
        "{adopted:?}"
    );
    let span = seen.spans.lock().unwrap().clone();
    let service = "fapo.optimizer.v1.OptimizerService";
    for (field, value) in [
        ("rpc.system", "grpc"),
        ("rpc.service", service),
        ("rpc.method", "GetJob"),
        ("rpc.grpc.status_code", "5"),
        ("caller", "local"),
    ] {
        ensure!(
            span.get(field).is_some_and(|got| got == value),
            "{field}: {span:?}"
        );
    }
    let figures = seen.figures.lock().unwrap().clone();
    let codes: Vec<&str> = figures
        .iter()
        .filter(|figure| {
            figure
                .get("method")
                .is_some_and(|method| method == "GetJob")
        })
        .filter(|figure| figure.get("service").is_some_and(|name| name == service))
        .map(|figure| figure.get("code").map_or("none", String::as_str))
        .collect();
    ensure!(codes == ["OK", "NOT_FOUND"], "{figures:?}");
    let first = figures.first().context("two figures")?;
    ensure!(
        first
            .get("monotonic_counter.fapo_rpc_total")
            .is_some_and(|n| n == "1")
    );
    let seconds: f64 = first
        .get("histogram.fapo_rpc_seconds")
        .context("how long it took")?
        .parse()?;
    ensure!((0.0..60.0).contains(&seconds));
    Ok(())
}
