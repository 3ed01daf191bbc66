//! Who is served next: projects in turn, and within a project its jobs. Plain data.

use std::collections::{HashMap, VecDeque};

use fapo_domain::JobId;
use fapo_domain::model::task::Lane;
use fapo_domain::ports::queue::Message;

/// Lines of ready messages. No line is empty, and whoever has a line has a turn.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    lanes: HashMap<Option<Lane>, Jobs>,
    /// Projects in the order in which they are served. Ticks share a turn of their own.
    order: VecDeque<Option<Lane>>,
}

#[derive(Debug, Default)]
struct Jobs {
    lines: HashMap<JobId, VecDeque<u64>>,
    /// Jobs in the order in which they are served.
    order: VecDeque<JobId>,
}

impl Turns {
    /// Puts a message at the end of its job's line.
    pub fn join(&mut self, message: &Message, id: u64) {
        let (lane, job) = (message.lane(), message.job());
        let jobs = self.lanes.entry(lane).or_default();
        if jobs.order.is_empty() {
            self.order.push_back(lane);
        }
        let line = jobs.lines.entry(job).or_default();
        if line.is_empty() {
            jobs.order.push_back(job);
        }
        line.push_back(id);
    }

    /// The message whose turn it is.
    pub fn next(&mut self) -> Option<u64> {
        let lane = self.order.pop_front()?;
        let jobs = self.lanes.get_mut(&lane)?;
        let next = jobs.next();
        if jobs.order.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.order.push_back(lane);
        }
        next
    }

    /// Takes a message out of its line.
    pub fn leave(&mut self, message: &Message, id: u64) {
        let (lane, job) = (message.lane(), message.job());
        let Some(jobs) = self.lanes.get_mut(&lane) else {
            return;
        };
        if let Some(line) = jobs.lines.get_mut(&job) {
            line.retain(|one| *one != id);
            if line.is_empty() {
                jobs.lines.remove(&job);
                jobs.order.retain(|one| *one != job);
            }
        }
        if jobs.order.is_empty() {
            self.lanes.remove(&lane);
            self.order.retain(|one| *one != lane);
        }
    }
}

impl Jobs {
    fn next(&mut self) -> Option<u64> {
        let job = self.order.pop_front()?;
        let line = self.lines.get_mut(&job)?;
        let next = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&job);
        } else {
            self.order.push_back(job);
        }
        next
    }
}
