//! Watches a session: its time, its processes, its memory, and whether fapo is still there.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fapo_domain::ports::sandbox::ProcessExit;

use super::session::Session;
use crate::wire::{Order, Report};

/// How often it looks. A process that starts others as fast as it can is met with some hundreds of them.
const PERIOD: Duration = Duration::from_millis(50);
/// More processes than are ever asked how much memory they have.
const MANY: usize = 4096;

/// The end of a session, which happens once, from whichever thread comes first.
pub(super) struct Ending {
    control: Mutex<UnixStream>,
    ended: Mutex<()>,
    session: Session,
    tmp: Option<PathBuf>,
    peak: AtomicU64,
}

impl Ending {
    pub(super) fn new(control: UnixStream, session: Session, tmp: Option<PathBuf>) -> Self {
        Self {
            control: Mutex::new(control),
            ended: Mutex::new(()),
            session,
            tmp,
            peak: AtomicU64::new(0),
        }
    }

    /// Tells fapo. That it cannot be told means that it is gone, which the watch meets.
    pub(super) fn say(&self, report: &Report) {
        if let Ok(mut line) = serde_json::to_vec(report) {
            line.push(b'\n');
            let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = control.write_all(&line);
        }
    }

    /// Ends everything and this process. Who comes second waits for the end.
    pub(super) fn end(&self, exit: ProcessExit) -> ! {
        // held for ever: the process ends with it
        let _ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.session.kill();
        if let Some(tmp) = &self.tmp {
            // fapo does the same, where it lives
            let _ = crate::removal::remove_all(tmp);
        }
        self.say(&Report::Ended {
            exit,
            peak: self.peak.load(Ordering::Relaxed),
        });
        // As PID 1 of the session: the kernel kills all others before the exit is seen outside.
        std::process::exit(0)
    }
}

pub(super) struct Watch {
    ending: Arc<Ending>,
    control: Option<UnixStream>,
    deadline: Option<Instant>,
    processes: Option<u64>,
    session: Session,
    told: u64,
}

impl Watch {
    pub(super) fn new(order: &Order, ending: &Arc<Ending>) -> Self {
        let control = ending
            .control
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Self {
            control: control.try_clone().ok(),
            ending: Arc::clone(ending),
            deadline: order
                .wall_ms
                .and_then(|wall| Instant::now().checked_add(Duration::from_millis(wall))),
            processes: order.processes,
            session: ending.session,
            told: 0,
        }
    }

    /// Looks until something is over.
    pub(super) fn until_end(mut self) {
        loop {
            let left = self
                .deadline
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                self.ending.end(ProcessExit::TimedOut);
            }
            if let Err(count) = self.look() {
                let most = self.processes.unwrap_or_default();
                // the program's own standard error: where its owner looks for why it ended
                let _ = writeln!(
                    std::io::stderr(),
                    "fapo sandbox: killed, {count} processes and threads where {most} are allowed"
                );
                self.ending.end(ProcessExit::Signal { signal: 9 });
            }
            let pause = left.map_or(PERIOD, |left| left.min(PERIOD));
            if !self.fapo_is_there(pause) {
                self.ending.end(ProcessExit::Killed);
            }
        }
    }

    /// Waits for word from fapo. There is none: it only ever closes.
    fn fapo_is_there(&mut self, pause: Duration) -> bool {
        let Some(control) = &mut self.control else {
            return false;
        };
        let pause = pause.max(Duration::from_millis(1));
        if control.set_read_timeout(Some(pause)).is_err() {
            return false;
        }
        match control.read(&mut [0; 16]) {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock
                    | std::io::ErrorKind::TimedOut
                    | std::io::ErrorKind::Interrupted
            ),
        }
    }

    /// Counts processes and memory; an error says how many there are where those are too many.
    fn look(&mut self) -> Result<(), usize> {
        let most = self
            .processes
            .map_or(MANY, |most| usize::try_from(most).unwrap_or(usize::MAX - 1));
        // Names first: they are quickly counted, and who starts thousands must not gain time by what each is asked.
        let pids = self.session.processes(most);
        if self.processes.is_some() && pids.len() > most {
            return Err(pids.len());
        }
        let held: Vec<Held> = pids.into_iter().take(MANY).filter_map(Held::read).collect();
        let threads: usize = held.iter().map(|process| process.threads).sum();
        let resident: u64 = held.iter().map(|process| process.resident).sum();
        let highest = held.iter().map(|process| process.highest).max();
        let peak = resident.max(highest.unwrap_or(0));
        self.ending.peak.fetch_max(peak, Ordering::Relaxed);
        // in steps, so that the socket never fills
        if peak > self.told + self.told / 8 {
            self.told = peak;
            self.ending.say(&Report::Peak { bytes: peak });
        }
        if self.processes.is_some() && threads > most {
            return Err(threads);
        }
        Ok(())
    }
}

/// What is known of a process.
struct Held {
    threads: usize,
    /// Bytes.
    resident: u64,
    /// The most it ever was, in bytes.
    highest: u64,
}

impl Held {
    /// `None` when it is gone.
    fn read(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value
                .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        Some(Self {
            threads: usize::try_from(field("Threads")).unwrap_or(MANY),
            resident: field("VmRSS") * 1024,
            highest: field("VmHWM") * 1024,
        })
    }
}
