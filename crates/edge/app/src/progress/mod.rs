//! Live progress on standard error: what is being tried, how far it is, the score so far, what was spent.
//!
//! It is driven by reading the job's row and its events a few times a second, and by nothing else, so it shows the same
//! for a job that this process runs and for one that runs elsewhere. On a terminal the last line redraws itself;
//! elsewhere facts are written, one a line, and now and then how far it is.

mod follow;
mod lines;
mod live;
mod snapshot;

use std::time::{Duration, Instant};

use fapo_domain::JobId;
use fapo_domain::model::job::JobEvent;
use fapo_domain::ports::optimizer::JobSummary;
use fapo_orchestrator::read_summary;
use fapo_policy::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::sync::CancellationToken;

pub use self::follow::{Followed, follow};
pub use self::lines::event_line;
use self::live::Live;
use self::snapshot::{Pace, Snapshot};
use crate::output::Output;
use crate::ports::Ports;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(200);

/// Time between two plain lines about how far it is, where no line can redraw itself.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Events read at once.
const PAGE: u32 = 500;

/// Shows the progress of a job that this process runs until `done` is cancelled, then says what is new and clears the line. What
/// the job did up to `after_seq` is not said again.
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
    let mut view = View::new(&output, after_seq);
    loop {
        let last = done.is_cancelled();
        // progress is a courtesy: what cannot be read now is read at the next look
        while let Ok(events) = ports.jobs.events(job, view.seq, PAGE).await {
            if events.is_empty() {
                break;
            }
            view.say(&events);
        }
        if last {
            view.clear();
            return;
        }
        if let Ok(row) = ports.jobs.get_job(job).await
            && let Ok(summary) = read_summary(&*ports.jobs, &*ports.ledger, &row).await
        {
            view.show(&summary);
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
    plain: Plain,
    /// The last event that was taken in.
    seq: u64,
    /// The last one that is not said.
    known: u64,
    live: Live,
}

impl View {
    /// Nothing yet; events up to `known` are taken in, and not said.
    fn new(output: &Output, known: u64) -> Self {
        let bar = if output.live && !output.quiet {
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
            plain: Plain::new(Instant::now()),
            seq: 0,
            known,
            live: Live::default(),
        }
    }

    /// Takes in the next events, and writes the facts among them; one that is said several times in a row is written once.
    fn say(&mut self, events: &[JobEvent]) {
        for event in events {
            self.seq = event.seq;
            self.live.take(event);
            if event.seq <= self.known {
                continue;
            }
            let Ok(event) = serde_json::from_value::<Event>(event.body.clone()) else {
                continue;
            };
            if let Some(line) = event_line(&event, self.output.notes) {
                if line == self.said {
                    continue;
                }
                self.said.clone_from(&line);
                if self.output.live && !self.output.quiet {
                    self.bar.println(line);
                } else {
                    self.output.note(&line);
                }
            }
        }
    }

    fn show(&mut self, job: &JobSummary) {
        let snapshot = &Snapshot::of(job, &self.live);
        let now = Instant::now();
        let eta = self.pace.eta(snapshot, now);
        if !self.output.live {
            if let Some(line) = self.plain.line(snapshot, eta, now) {
                self.output.note(&line);
            }
            return;
        }
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

/// Lines about how far it is for a file or a pipe: few, and none that repeats the last.
struct Plain {
    last: Instant,
    line: String,
}

impl Plain {
    const fn new(now: Instant) -> Self {
        Self {
            last: now,
            line: String::new(),
        }
    }

    /// The line to write now; `None` where it is too early, no cases are under way or nothing has changed.
    fn line(&mut self, snapshot: &Snapshot, eta: Option<Duration>, now: Instant) -> Option<String> {
        let early = now.saturating_duration_since(self.last) < PLAIN_EVERY;
        if early || snapshot.cases.1 == 0 {
            return None;
        }
        let line = snapshot.plain(eta);
        if line == self.line {
            return None;
        }
        self.last = now;
        self.line.clone_from(&line);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: u64) -> Snapshot {
        Snapshot {
            doing: "baseline".to_owned(),
            cases: (done, 1200),
            mean: Some(0.5),
            facts: vec!["$0.10, 40 calls".to_owned()],
        }
    }

    #[test]
    fn without_a_terminal_a_line_comes_every_ten_seconds_and_only_with_news() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut plain = Plain::new(start);
        assert_eq!(plain.line(&at(5), None, after(9)), None, "too early");
        let eta = Some(Duration::from_secs(90));
        let line = plain.line(&at(60), eta, after(10)).unwrap();
        let words =
            "baseline: 60 of 1\u{202f}200 cases · score 50.0 % · 1 min 30 s left · $0.10, 40 calls";
        assert_eq!(line, words);
        assert_eq!(plain.line(&at(70), eta, after(19)), None, "too early again");
        assert_eq!(plain.line(&at(60), eta, after(21)), None, "nothing new");
        assert!(plain.line(&at(70), eta, after(22)).is_some());
        let idle = Snapshot::default();
        assert_eq!(plain.line(&idle, None, after(60)), None, "no cases run");
    }
}
