//! The processes of a session, without init itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

/// How long it goes on killing what starts others faster than it can be killed; without namespaces only.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where they are found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Session {
    /// All that this namespace has.
    Namespace,
    /// All that descends from this process: as a subreaper, it is given those whose parents end.
    Descendants,
}

impl Session {
    /// Their ids. Once there are more than `most`, not all.
    pub(super) fn processes(self, most: usize) -> Vec<u32> {
        let own = std::process::id();
        match self {
            Self::Namespace => numbers().filter(|pid| *pid != own).take(most + 1).collect(),
            Self::Descendants => descendants(own, most).unwrap_or_else(|| searched(own)),
        }
    }

    /// Kills all where the kernel does not do so at the end of init.
    pub(super) fn kill(self) {
        match self {
            Self::Namespace => {}
            Self::Descendants => kill_descendants(),
        }
    }
}

fn numbers() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// From parent to child, as the kernel lists them; `None` where it does not.
fn descendants(own: u32, most: usize) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    children(own, &mut found)?;
    let mut at = 0;
    while at < found.len() && found.len() <= most {
        children(found[at], &mut found)?;
        at += 1;
    }
    Some(found)
}

fn children(pid: u32, found: &mut Vec<u32>) -> Option<()> {
    // gone meanwhile: its children are somebody else's by now
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Some(());
    };
    for task in tasks.flatten() {
        match std::fs::read_to_string(task.path().join("children")) {
            Ok(text) => found.extend(
                text.split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            ),
            // a kernel without these lists, unless it is the task that is gone
            Err(_) if task.path().exists() => return None,
            Err(_) => {}
        }
    }
    Some(())
}

/// From child to parent, over all processes of the machine.
fn searched(own: u32) -> Vec<u32> {
    let parent = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok())
    };
    let parents: BTreeMap<u32, u32> = numbers()
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let descends = |mut pid: u32| {
        // a chain is never longer than there are processes; one that was read while it changed may be circular
        for _ in 0..parents.len() {
            match parents.get(&pid) {
                Some(parent) if *parent == own => return true,
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    parents
        .keys()
        .copied()
        .filter(|pid| descends(*pid))
        .collect()
}

/// Kills all that descends from this process, and takes it in. Stops them first: who is stopped starts no others.
fn kill_descendants() {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        for signal in [Signal::STOP, Signal::KILL] {
            for pid in Session::Descendants.processes(usize::MAX - 1) {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    // gone meanwhile is as well
                    let _ = rustix::process::kill_process(pid, signal);
                }
            }
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                // none left
                Err(_) => return,
            }
        }
        std::thread::yield_now();
    }
}
