//! What happens to a job: as a page, and as a stream of server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use fapo_domain::ids::JobId;
use fapo_domain::model::access::{Caller, Role};
use fapo_domain::model::job::JobEvent;
use futures::Stream;
use futures::stream;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::call::{self, Call};
use crate::params::{Kind, MAX_INTEGER, Param};
use crate::problem::Problem;
use crate::route::{Access, Answer, BodySpec, Content, Patience, Route, Verb, common, schema};
use crate::router::Api;
use crate::views::{EventView, Page};

/// Events on a page where nothing was said.
const PAGE: u64 = 100;
/// Events that a stream reads at a time.
const BATCH: u32 = 200;
/// How long one question for new events waits.
const WAIT: Duration = Duration::from_secs(10);

const AFTER_SEQ: Param = common::after(
    "after_seq",
    "Only events after this position; from the beginning where absent.",
);

pub(crate) const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/api/v1/jobs/{job_id}/events",
        name: "list_events",
        tag: "events",
        about: "A job's events in order.",
        access: Access::Role(Role::Viewer),
        path_params: &[common::JOB],
        query: &[AFTER_SEQ, common::limit(PAGE, 1000)],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: "A page of events. `next` is always there: ask on with it as `after_seq`, now or once more has happened.",
            content: Content::Json(schema::<Page<EventView>>),
        },
        failures: &[],
        handler: |call| Box::pin(list(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/api/v1/jobs/{job_id}/events/stream",
        name: "stream_events",
        tag: "events",
        about: "A job's events as they happen, as server-sent events. `event: job` has an event as JSON under its position as \
                `id`; `event: end` says that the job is final and nothing more comes; `event: problem` says why the stream \
                breaks off. One that ends otherwise is to be asked for again with `Last-Event-ID`, as an EventSource does.",
        access: Access::Role(Role::Viewer),
        path_params: &[common::JOB],
        query: &[AFTER_SEQ],
        headers: &[Param {
            name: "Last-Event-ID",
            kind: Kind::Integer {
                min: 0,
                max: MAX_INTEGER,
                default: None,
            },
            about: "The last position that was seen; goes before `after_seq`.",
            example: "10",
        }],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: "The stream.",
            content: Content::Events(&["job", "end", "problem"]),
        },
        failures: &[],
        handler: |call| Box::pin(open(call)),
    },
];

async fn list(call: Call) -> Result<Response, Problem> {
    let job = call.job()?;
    let after = call.query.get("after_seq").unwrap_or(0);
    let limit = call.limit(PAGE as u32);
    let optimizer = &call.api.ports.optimizer;
    let events = optimizer
        .events(&call.caller, job, after, limit, Duration::ZERO)
        .await?;
    let next = events.last().map_or(after, |event| event.seq);
    call::ok(&Page {
        items: events.into_iter().map(EventView::from).collect(),
        next: Some(next.to_string()),
    })
}

/// Where the stream begins.
fn begin(call: &Call) -> Result<u64, Problem> {
    let Some(value) = call.headers.get("last-event-id") else {
        return Ok(call.query.get("after_seq").unwrap_or(0));
    };
    value
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|seq| *seq <= MAX_INTEGER)
        .ok_or_else(|| {
            Problem::invalid_field(
                "Last-Event-ID",
                "the `id` of the last event is needed, a number",
            )
        })
}

async fn open(call: Call) -> Result<Response, Problem> {
    let after = begin(&call)?;
    let job = call.job()?;
    // before the stream begins, so that a job that does not exist is a 404 and no empty stream
    call.api.ports.optimizer.job(&call.caller, job).await?;
    let place = Arc::clone(&call.api.streams)
        .try_acquire_owned()
        .map_err(|_| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "SERVER_BUSY",
                "as many event streams are open as the server allows",
            )
            .retry_after(Duration::from_secs(5))
        })?;
    let limits = &call.api.config.limits;
    let keep_alive = KeepAlive::new().interval(limits.stream_keep_alive);
    let feed = Feed {
        until: Instant::now() + limits.stream_time,
        api: Arc::clone(&call.api),
        caller: call.caller,
        job,
        after,
        read: Vec::new().into_iter(),
        state: State::Flowing,
        _place: place,
    };
    Ok(Sse::new(feed.into_stream())
        .keep_alive(keep_alive)
        .into_response())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// More may come.
    Flowing,
    /// The job is final; one more look, because events may have come between the last look and the end.
    LastLook,
    /// Nothing more comes.
    Over,
}

/// An open stream. Its place is free again when the client goes and this is dropped.
struct Feed {
    api: Arc<Api>,
    caller: Caller,
    job: JobId,
    /// The last position that was sent.
    after: u64,
    /// Events that were read and not sent yet.
    read: std::vec::IntoIter<JobEvent>,
    state: State,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut feed| async move {
            let event = Box::pin(feed.next()).await?;
            Some((Ok(event), feed))
        })
    }

    /// The next event to be sent; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.read.next() {
                self.after = event.seq;
                let id = event.seq.to_string();
                let data = serde_json::to_string(&EventView::from(event)).unwrap_or_default();
                return Some(Event::default().id(id).event("job").data(data));
            }
            if self.state == State::Over {
                return None;
            }
            let stop = self.api.stop.clone();
            let until = self.until;
            let more = tokio::select! {
                biased;
                // the client comes again, to a server that stays
                () = stop.cancelled() => return None,
                () = tokio::time::sleep_until(until) => return None,
                more = self.more() => more,
            };
            match more {
                Ok(None) => {}
                Ok(Some(end)) => {
                    self.state = State::Over;
                    return Some(end);
                }
                Err(problem) => {
                    self.state = State::Over;
                    let data = serde_json::to_string(&problem).unwrap_or_default();
                    return Some(Event::default().event("problem").data(data));
                }
            }
        }
    }

    /// Reads on. Gives the closing event once the job is final and all of it was sent.
    async fn more(&mut self) -> Result<Option<Event>, Problem> {
        let optimizer = &self.api.ports.optimizer;
        let wait = if self.state == State::LastLook {
            Duration::ZERO
        } else {
            WAIT
        };
        let events = optimizer
            .events(&self.caller, self.job, self.after, BATCH, wait)
            .await?;
        if !events.is_empty() {
            self.read = events.into_iter();
            return Ok(None);
        }
        let job = optimizer.job(&self.caller, self.job).await?;
        if !job.status.is_final() {
            self.state = State::Flowing;
            return Ok(None);
        }
        if self.state == State::Flowing {
            self.state = State::LastLook;
            return Ok(None);
        }
        let data = json!({"status": job.status}).to_string();
        Ok(Some(Event::default().event("end").data(data)))
    }
}
