//! What is left of a request for those who watch: its trace, its span, its figures.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use fapo_domain::ids::JobId;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::jobs::Jobs as _;
use fapo_domain::ports::trace_context::TraceContext;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::client::Ask;
use crate::requests::submission;
use crate::world::{Setup, World};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Remembers the last parent that a span was given.
#[derive(Debug, Default)]
struct Remembers(Mutex<Option<TraceParent>>);

impl TraceContext for Remembers {
    fn current(&self) -> Option<TraceParent> {
        self.0.lock().unwrap().clone()
    }

    fn adopt(&self, _: &Span, parent: &TraceParent) {
        *self.0.lock().unwrap() = Some(parent.clone());
    }
}

#[tokio::test]
async fn a_job_belongs_to_the_trace_of_whoever_submitted_it() -> anyhow::Result<()> {
    let world = World::with(Setup {
        trace_context: Some(Arc::new(Remembers::default())),
        ..Setup::default()
    })
    .await?;
    for (number, header) in [(0, "nonsense"), (1, PARENT)] {
        let ask = Ask::post("/api/v1/jobs").json(&submission(&format!("r{number}")));
        let ask = ask.header("traceparent", header).with(&world, "submitter");
        let reply = ask.send(&world).await?;
        assert_eq!(reply.status, 201);
        let id: JobId = serde_json::from_value(reply.json()["id"].clone())?;
        let trace = world.store.get_job(id).await?.trace;
        let wanted = (number == 1).then_some(PARENT);
        assert_eq!(trace.as_ref().map(TraceParent::as_str), wanted);
    }
    Ok(())
}

/// Writes down spans, what is recorded on them, and events, one a line.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Notes {
    fn add(&self, begin: &str, visit: impl FnOnce(&mut Line)) {
        let mut line = Line(begin.to_owned());
        visit(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn one(&self, begin: &str, parts: &[&str]) {
        let lines = self.0.lock().unwrap();
        let fits = |line: &&String| {
            line.starts_with(begin) && parts.iter().all(|part| line.contains(part))
        };
        let count = lines.iter().filter(fits).count();
        assert_eq!(count, 1, "{begin} {parts:?} in {lines:#?}");
    }
}

impl<S: Subscriber> Layer<S> for Notes {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let name = attributes.metadata().name();
        self.add(&format!("span {name}"), |line| attributes.record(line));
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.add("record", |line| values.record(line));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        self.add(&format!("event {target}"), |line| event.record(line));
    }
}

#[tokio::test]
async fn a_request_has_a_span_and_figures_under_its_routes_template() -> anyhow::Result<()> {
    let notes = Notes::default();
    // where there is one subscriber in all, tracing asks the thread that meets a place first whether anybody listens to it, and
    // that may be another test's; of two it asks both
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::registry().with(notes.clone());
    let _default = tracing::subscriber::set_default(subscriber);
    let world = World::new().await?;
    let path = format!("/api/v1/jobs/{}", world.job);
    assert_eq!(
        Ask::get(path)
            .with(&world, "viewer")
            .send(&world)
            .await?
            .status,
        200
    );
    assert_eq!(Ask::get("/nowhere/at/all").send(&world).await?.status, 404);

    let route = "=\"/api/v1/jobs/{job_id}\"";
    let of_route = format!("http.route{route}");
    notes.one(
        "span http",
        &[
            &of_route,
            "http.request.method=\"GET\"",
            "otel.kind=\"server\"",
        ],
    );
    notes.one("record fapo.caller=\"viewer\"", &[]);
    notes.one("record http.response.status_code=200", &[]);
    let label = format!("route{route}");
    let count = "monotonic_counter.fapo_http_requests_total=1";
    let seconds = "histogram.fapo_http_seconds=";
    let labels = ["method=\"GET\"", "status=200"];
    notes.one(
        "event fapo::metrics",
        &[count, &label, labels[0], labels[1]],
    );
    notes.one(
        "event fapo::metrics",
        &[seconds, &label, labels[0], labels[1]],
    );
    notes.one(
        "event fapo::metrics",
        &[count, "route=\"unknown\"", "status=404"],
    );
    // neither tokens nor whole paths, which hold ids, are in any of it
    let all = notes.0.lock().unwrap().join("\n");
    assert!(!all.contains("fapo_0101") && !all.contains("nowhere"));
    Ok(())
}
