//! The thread that starts processes, and takes in their end.
//!
//! bubblewrap asks the kernel to be killed when its parent dies (PR_SET_PDEATHSIG), and for the kernel the parent is the
//! *thread* that started it. A thread of a pool, or of a test's runtime, may end long before the process does, and would
//! take its sessions with it. So one thread starts them all: it lives until the last of them has ended and nobody can
//! start another.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::{oneshot, watch};

/// How long a process that nobody wants any more may take to end by itself before it is killed the hard way.
const PATIENCE: Duration = Duration::from_secs(15);

enum Ask {
    Start {
        command: Box<Command>,
        spawner: Arc<Spawner>,
        answer: oneshot::Sender<io::Result<Owned>>,
    },
    /// Kill the group that this process leads.
    Kill(Pid),
    /// See to it that this process ends.
    GiveUp(Pid),
}

/// Starts processes on its own thread.
pub(crate) struct Spawner {
    asks: mpsc::Sender<Ask>,
    wake: UnixStream,
}

impl Spawner {
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let (asks, asked) = mpsc::channel();
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let keeper = Keeper {
            asked,
            woken,
            children: Vec::new(),
        };
        std::thread::Builder::new()
            .name("fapo-spawner".to_owned())
            .spawn(move || keeper.serve())?;
        Ok(Arc::new(Self { asks, wake }))
    }

    /// Starts a process as the leader of its own group.
    pub(crate) async fn spawn(self: &Arc<Self>, mut command: Command) -> io::Result<Owned> {
        command.process_group(0);
        let (answer, answered) = oneshot::channel();
        self.ask(Ask::Start {
            command: Box::new(command),
            spawner: Arc::clone(self),
            answer,
        });
        let gone = |_| io::Error::other("the thread that starts processes is gone");
        answered.await.map_err(gone)?
    }

    fn ask(&self, ask: Ask) {
        // The thread lives as long as this does. A full pipe wakes it as well as one more byte.
        let _ = self.asks.send(ask);
        let _ = (&self.wake).write(&[1]);
    }
}

struct Kept {
    child: Child,
    handle: OwnedFd,
    ended: watch::Sender<bool>,
    /// When it is killed the hard way.
    given_up: Option<Instant>,
}

impl Kept {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its number is its own until its end is taken in, which only this thread does.
    fn kill_group(&self) {
        let _ = rustix::process::kill_process_group(self.pid(), Signal::KILL);
    }
}

/// The thread's side.
struct Keeper {
    asked: mpsc::Receiver<Ask>,
    woken: UnixStream,
    children: Vec<Kept>,
}

impl Keeper {
    fn serve(mut self) {
        let mut wanted = true;
        while wanted || !self.children.is_empty() {
            wanted = self.answer();
            self.take_in();
            if wanted || !self.children.is_empty() {
                self.sleep(wanted);
            }
        }
    }

    /// Does what was asked; `false` when nobody can ask any more.
    fn answer(&mut self) -> bool {
        // before the asks are read: one that comes later wakes again
        let mut bytes = [0; 64];
        while matches!((&self.woken).read(&mut bytes), Ok(read) if read > 0) {}
        loop {
            match self.asked.try_recv() {
                Ok(Ask::Start {
                    command,
                    spawner,
                    answer,
                }) => {
                    // who is not there any more drops what it is given, which gives it up
                    let _ = answer.send(self.start(*command, spawner));
                }
                Ok(Ask::Kill(pid)) => {
                    if let Some(kept) = self.children.iter().find(|kept| kept.pid() == pid) {
                        kept.kill_group();
                    }
                }
                Ok(Ask::GiveUp(pid)) => {
                    let found = self.children.iter_mut().find(|kept| kept.pid() == pid);
                    if let Some(kept) = found {
                        kept.given_up = Some(Instant::now() + PATIENCE);
                    }
                }
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn start(&mut self, mut command: Command, spawner: Arc<Spawner>) -> io::Result<Owned> {
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let handle = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error.into());
            }
        };
        let (ended, ends) = watch::channel(false);
        let streams = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Some((stdin, stdout, stderr)),
            _ => None,
        };
        self.children.push(Kept {
            child,
            handle,
            ended,
            given_up: None,
        });
        Ok(Owned {
            pid,
            streams,
            ends,
            init: None,
            spawner,
        })
    }

    /// Takes in those that have ended, and kills those whose patience is over.
    fn take_in(&mut self) {
        let now = Instant::now();
        self.children.retain_mut(|kept| {
            if kept.given_up.is_some_and(|deadline| deadline <= now) {
                kept.kill_group();
            }
            let ended = !matches!(kept.child.try_wait(), Ok(None));
            if ended {
                kept.ended.send_replace(true);
            }
            !ended
        });
    }

    /// Until somebody asks or something ends.
    fn sleep(&self, wanted: bool) {
        let handles = self.children.iter().map(|kept| kept.handle.as_fd());
        let wake = wanted.then(|| self.woken.as_fd());
        let mut fds: Vec<PollFd<'_>> = handles
            .chain(wake)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let deadlines = self.children.iter().filter_map(|kept| kept.given_up);
        let timeout = deadlines.min().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // one whose time is over was killed, and its end wakes; this is for the case that it cannot die
            let left = left.max(Duration::from_millis(100));
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        // interrupted is as good as woken
        let _ = rustix::event::poll(&mut fds, timeout.as_ref());
    }
}

/// A started process. Dropping it ends it, and what descends from it.
pub(crate) struct Owned {
    pid: Pid,
    /// To be taken once.
    pub(crate) streams: Option<(ChildStdin, ChildStdout, ChildStderr)>,
    ends: watch::Receiver<bool>,
    /// PID 1 of its namespaces, once that is known.
    init: Option<OwnedFd>,
    spawner: Arc<Spawner>,
}

impl Owned {
    /// Remembers PID 1 of its namespaces, given by its number out here.
    pub(crate) fn found_init(&mut self, pid: i32) -> io::Result<()> {
        let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("init has no number here"))?;
        self.init = Some(rustix::process::pidfd_open(pid, PidfdFlags::empty())?);
        Ok(())
    }

    /// Kills PID 1 of its namespaces, and with it all that is in them. `false` where there are none.
    pub(crate) fn kill_namespaces(&self) -> bool {
        if let Some(init) = &self.init {
            let _ = rustix::process::pidfd_send_signal(init, Signal::KILL);
        }
        self.init.is_some()
    }

    /// Kills the process and its group.
    pub(crate) fn kill(&self) {
        self.kill_namespaces();
        self.spawner.ask(Ask::Kill(self.pid));
    }

    /// Waits until it has ended; cancelling this loses nothing.
    pub(crate) async fn ended(&self) {
        let mut ends = self.ends.clone();
        // an error means that the thread is gone, which it is only when all has ended
        let _ = ends.wait_for(|ended| *ended).await;
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Without namespaces init hears that we are gone, and ends what descends from it; killed, it could not. With them,
        // bubblewrap ends after init.
        self.kill_namespaces();
        self.spawner.ask(Ask::GiveUp(self.pid));
    }
}
