//! Live progress on standard error: what is being tried, how far it is, the score so far, what was spent.
//!
//! It is driven by reading the job's row and its events a few times a second, and by nothing else, so it shows the same
//! for a job that this process runs and for one that runs elsewhere. On a terminal the last line redraws itself;
//! elsewhere only facts are written, one a line.

mod lines;
mod snapshot;

use std::time::{Duration, Instant};

use fapo_domain::JobId;
use fapo_domain::model::job::JobEvent;
use fapo_policy::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::sync::CancellationToken;

pub use self::lines::event_line;
use self::snapshot::{Pace, Snapshot};
use crate::output::Output;
use crate::ports::Ports;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(200);

/// Events read at once.
const PAGE: u32 = 500;

/// Shows a job's progress until `done` is cancelled, then says what is new and clears the line.
pub async fn watch(
    ports: Ports,
    job: JobId,
    after_seq: u64,
    output: Output,
    done: CancellationToken,
) {
    if output.quiet {
        return;
    }
    let mut view = View::new(&output);
    let mut seq = after_seq;
    loop {
        let last = done.is_cancelled();
        // progress is a courtesy: what cannot be read now is read at the next look
        while let Ok(events) = ports.jobs.events(job, seq, PAGE).await {
            let Some(newest) = events.last() else { break };
            seq = newest.seq;
            view.say(&events);
        }
        if last {
            view.clear();
            return;
        }
        let (row, balance) = tokio::join!(ports.jobs.get_job(job), ports.ledger.balance(job));
        if let (Ok(row), Ok(balance)) = (row, balance) {
            view.show(&Snapshot::of(&row, &balance));
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = done.cancelled() => {}
        }
    }
}

/// The lines at the bottom of a terminal, or nothing.
struct View {
    output: Output,
    bar: ProgressBar,
    pace: Pace,
    said: String,
}

impl View {
    fn new(output: &Output) -> Self {
        let bar = if output.live {
            ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        // one text for the whole line: parts that are set one by one would be drawn one by one
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        Self {
            output: output.clone(),
            bar,
            pace: Pace::default(),
            said: String::new(),
        }
    }

    /// Writes the facts among `events`; one that is said several times in a row is written once.
    fn say(&mut self, events: &[JobEvent]) {
        for event in events {
            let Ok(event) = serde_json::from_value::<Event>(event.body.clone()) else {
                continue;
            };
            if let Some(line) = event_line(&event, self.output.notes) {
                if line == self.said {
                    continue;
                }
                self.said.clone_from(&line);
                if self.output.live {
                    self.bar.println(line);
                } else {
                    self.output.note(&line);
                }
            }
        }
    }

    fn show(&mut self, snapshot: &Snapshot) {
        if !self.output.live {
            return;
        }
        let eta = self.pace.eta(snapshot, Instant::now());
        let style = self.output.notes;
        self.bar.set_message(format!(
            "{}{}{}",
            snapshot.doing,
            snapshot.gauge(style),
            style.dim(&snapshot.message(eta))
        ));
        self.bar.tick();
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
