//! What can go wrong, and how it is drawn.

use std::fmt;
use std::time::Duration;

use super::Dice;

/// How long a task's lease is held here: short, so that a round sees it run out.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// A connection that is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// To Redis.
    Queue,
    /// To Postgres.
    Store,
}

/// One thing that goes wrong, for a while or at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// A process is killed, and started again after so long.
    Kill(String, Duration),
    /// An executor stands still past its leases, and then goes on as if nothing had happened.
    Freeze(String),
    /// Redis is killed and comes back empty after so long.
    RestartRedis(Duration),
    /// Redis forgets everything.
    Flush,
    /// Everything that the queue holds is delivered once more.
    Redeliver,
    /// Postgres is ended at once and recovers.
    RestartPostgres,
    /// All connections of a link break off.
    Cut(Link),
    /// Each connection of a link breaks off in the middle of what it is used for next.
    BreakMidway(Link),
    /// Everything on a link takes longer.
    Delay(Link, Duration),
    /// Nothing gets through a link, and nobody is told.
    Stall(Link, Duration),
}

/// The kinds of faults, for counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// SIGKILL of a role.
    Kill,
    /// SIGSTOP of an executor past its lease, then SIGCONT.
    Freeze,
    /// Redis killed and started again, empty.
    RestartRedis,
    /// FLUSHALL.
    Flush,
    /// Messages delivered twice.
    Redeliver,
    /// Postgres ended at once and started again.
    RestartPostgres,
    /// Connections cut.
    Cut,
    /// Connections broken off in the middle of their next use.
    BreakMidway,
    /// Connections slowed down.
    Delay,
    /// Connections held up.
    Stall,
}

impl Fault {
    /// The next one. Kills are the most frequent: every role is to meet some.
    pub(super) fn draw(dice: &mut Dice, names: &[String]) -> Self {
        let millis = |dice: &mut Dice, from: u64, to: u64| {
            Duration::from_millis(from + dice.below(to - from))
        };
        let link = |dice: &mut Dice| match dice.below(2) {
            0 => Link::Queue,
            _ => Link::Store,
        };
        let of = |dice: &mut Dice, names: &[String]| dice.pick(names).cloned().unwrap_or_default();
        match dice.below(23) {
            0..8 => Self::Kill(of(dice, names), millis(dice, 0, 1_000)),
            8 => {
                let executors: Vec<String> = names
                    .iter()
                    .filter(|name| name.starts_with("executor"))
                    .cloned()
                    .collect();
                Self::Freeze(of(dice, &executors))
            }
            9 => Self::RestartRedis(millis(dice, 0, 1_000)),
            10 | 11 => Self::Flush,
            12 | 13 => Self::Redeliver,
            14 | 15 => Self::RestartPostgres,
            16 | 17 => Self::Cut(link(dice)),
            18 | 19 => Self::BreakMidway(Link::Store),
            20 => Self::BreakMidway(Link::Queue),
            21 => Self::Delay(link(dice), millis(dice, 10, 80)),
            _ => Self::Stall(link(dice), millis(dice, 500, 2_500)),
        }
    }

    pub(super) fn kind(&self) -> FaultKind {
        match self {
            Self::Kill(..) => FaultKind::Kill,
            Self::Freeze(_) => FaultKind::Freeze,
            Self::RestartRedis(_) => FaultKind::RestartRedis,
            Self::Flush => FaultKind::Flush,
            Self::Redeliver => FaultKind::Redeliver,
            Self::RestartPostgres => FaultKind::RestartPostgres,
            Self::Cut(_) => FaultKind::Cut,
            Self::BreakMidway(_) => FaultKind::BreakMidway,
            Self::Delay(..) => FaultKind::Delay,
            Self::Stall(..) => FaultKind::Stall,
        }
    }

    /// How long it lasts until it is ended.
    pub(super) fn lasts(&self) -> Duration {
        match self {
            Self::Kill(_, down) | Self::RestartRedis(down) => *down,
            Self::Freeze(_) => LEASE + Duration::from_secs(1),
            Self::Delay(..) => Duration::from_millis(1_500),
            // until they were used
            Self::BreakMidway(_) => Duration::from_millis(500),
            Self::Stall(_, time) => *time,
            Self::Flush | Self::Redeliver | Self::RestartPostgres | Self::Cut(_) => Duration::ZERO,
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "Redis",
            Self::Store => "Postgres",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(name, down) => write!(f, "kill {name} for {} ms", down.as_millis()),
            Self::Freeze(name) => write!(f, "freeze {name} past its lease"),
            Self::RestartRedis(down) => write!(f, "restart Redis after {} ms", down.as_millis()),
            Self::Flush => f.write_str("flush Redis"),
            Self::Redeliver => f.write_str("deliver messages twice"),
            Self::RestartPostgres => f.write_str("restart Postgres"),
            Self::Cut(link) => write!(f, "cut connections to {link}"),
            Self::BreakMidway(link) => write!(f, "break connections to {link} midway"),
            Self::Delay(link, by) => write!(f, "delay {link} by {} ms", by.as_millis()),
            Self::Stall(link, time) => write!(f, "stall {link} for {} ms", time.as_millis()),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "roles killed",
            Self::Freeze => "executors frozen past their lease",
            Self::RestartRedis => "Redis restarted, empty",
            Self::Flush => "Redis flushed",
            Self::Redeliver => "messages delivered twice",
            Self::RestartPostgres => "Postgres restarted",
            Self::Cut => "connections cut",
            Self::BreakMidway => "connections broken off midway",
            Self::Delay => "connections slowed down",
            Self::Stall => "connections held up",
        })
    }
}
