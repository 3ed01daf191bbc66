//! A job at one moment, in the words of the progress line.

use std::time::{Duration, Instant};

use fapo_domain::model::job::JobGoal;
use fapo_domain::ports::ledger::Balance;
use fapo_domain::ports::optimizer::JobSummary;
use fapo_policy::Phase;

use super::live::Live;
use crate::output::format;
use crate::output::style::Style;

/// What the progress line shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// What is being done.
    pub doing: String,
    /// Cases done and in all, over the evaluations under way.
    pub cases: (u64, u64),
    /// The running mean of the evaluation under way.
    pub mean: Option<f64>,
    /// The rest of the message, part by part.
    pub facts: Vec<String>,
}

impl Snapshot {
    /// From a job's figures, and what its events tell of the moment.
    pub fn of(job: &JobSummary, live: &Live) -> Self {
        // what matters most first: a narrow terminal cuts the end
        let mut facts = vec![spent(&job.balance)];
        if job.goal == JobGoal::Optimize
            && let Some(best) = job.best_mean
        {
            let baseline = job.baseline_mean.unwrap_or(best);
            facts.push(if job.best == job.baseline {
                format!("baseline {}", format::percent(baseline))
            } else {
                format!(
                    "best {} (baseline {})",
                    format::percent(best),
                    format::percent(baseline)
                )
            });
        }
        let (asked, allowed) = job.proposals;
        if asked > 0 {
            facts.push(format!("proposal {asked} of {allowed}"));
        }
        let doing = if job.paused {
            "paused".to_owned()
        } else {
            live.doing(Phase::of(&job.phase))
        };
        Self {
            doing,
            cases: job.cases,
            mean: live.mean(),
            facts,
        }
    }

    /// The bar with its figures; nothing where no cases are under way.
    pub fn gauge(&self, style: Style) -> String {
        const WIDTH: u64 = 16;
        let (done, all) = self.cases;
        if all == 0 {
            return String::new();
        }
        let filled = done.min(all) * WIDTH / all;
        format!(
            " {}{} {}/{}",
            style.accent(&"━".repeat(filled as usize)),
            style.dim(&"─".repeat((WIDTH - filled) as usize)),
            format::count(done),
            format::count(all)
        )
    }

    /// All of it in one line that never redraws itself.
    pub fn plain(&self, eta: Option<Duration>) -> String {
        let (done, all) = self.cases;
        format!(
            "{}: {} of {}{}",
            self.doing,
            format::count(done),
            format::counted(all, "case"),
            self.message(eta)
        )
    }

    /// Everything after the bar.
    pub fn message(&self, eta: Option<Duration>) -> String {
        let mut parts = Vec::new();
        if let Some(mean) = self.mean {
            parts.push(format!("score {}", format::percent(mean)));
        }
        if let Some(eta) = eta {
            parts.push(format!("{} left", format::duration(eta)));
        }
        parts.extend(self.facts.iter().cloned());
        parts.into_iter().map(|part| format!(" · {part}")).collect()
    }
}

fn spent(balance: &Balance) -> String {
    let total = balance.total();
    match balance.caps.cost {
        Some(cap) => format!("{} of {cap}", total.cost),
        None if total.cost.0 == 0 => format::counted(total.model_calls, "call"),
        None => format!(
            "{}, {}",
            total.cost,
            format::counted(total.model_calls, "call")
        ),
    }
}

/// How fast the evaluations under way go.
#[derive(Debug, Default)]
pub struct Pace {
    seen: Option<(String, u64, u64, Instant)>,
}

impl Pace {
    /// How long what is under way still takes, by its own pace so far; `None` until there is one.
    pub fn eta(&mut self, snapshot: &Snapshot, now: Instant) -> Option<Duration> {
        let (done, all) = snapshot.cases;
        let (first, start) = match &self.seen {
            Some((doing, total, first, start))
                if *doing == snapshot.doing && *total == all && *first <= done =>
            {
                (*first, *start)
            }
            _ => {
                self.seen = Some((snapshot.doing.clone(), all, done, now));
                return None;
            }
        };
        let elapsed = now.saturating_duration_since(start);
        let gained = done - first;
        if gained == 0 || done >= all || elapsed < Duration::from_secs(1) {
            return None;
        }
        Some(elapsed.mul_f64((all - done) as f64 / gained as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: u64) -> Snapshot {
        Snapshot {
            doing: "baseline".to_owned(),
            cases: (done, 100),
            mean: Some(0.5),
            facts: vec!["$0.10, 40 calls".to_owned()],
        }
    }

    #[test]
    fn the_time_left_follows_the_pace_since_the_stage_began() {
        let mut pace = Pace::default();
        let start = Instant::now();
        assert_eq!(pace.eta(&at(20), start), None);
        let later = start + Duration::from_secs(10);
        // 30 cases in 10 s, 50 to go
        let eta = pace.eta(&at(50), later).unwrap();
        assert!((16.0..17.0).contains(&eta.as_secs_f64()), "{eta:?}");
        let mut other = at(10);
        other.doing = "sealed test".to_owned();
        assert_eq!(pace.eta(&other, later), None, "another stage starts anew");
    }

    #[test]
    fn the_gauge_shows_the_share_done_and_nothing_where_nothing_runs() {
        let gauge = at(50).gauge(Style::new(false));
        assert_eq!(gauge.matches('━').count(), 8);
        assert!(gauge.ends_with(" 50/100"), "{gauge}");
        assert_eq!(Snapshot::default().gauge(Style::new(false)), "");
    }

    #[test]
    fn a_message_names_score_time_and_spending() {
        assert_eq!(
            at(50).message(Some(Duration::from_secs(17))),
            " · score 50.0 % · 17 s left · $0.10, 40 calls"
        );
    }
}
