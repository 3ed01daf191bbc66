//! When a fault is played: by the server's request counter, by hash, or by what the prompt says.

use regex::Regex;

use crate::file::{FaultFile, FaultKind};
use crate::text::{falls_into, hash_of};
use crate::world::Checker;

/// A validated fault.
pub(crate) struct Fault {
    schedule: Schedule,
    pub(crate) kind: FaultKind,
}

enum Schedule {
    Every(u64),
    At(Vec<u64>),
    First(u64),
    Share {
        index: usize,
        share: f64,
        tries: u64,
    },
    When {
        pattern: Regex,
        tries: u64,
    },
}

/// What a schedule looks at.
pub(crate) struct Moment<'a> {
    /// The request's number on this server, from 1.
    pub(crate) number: u64,
    /// How often this very request has been made, this time included.
    pub(crate) attempt: u64,
    /// The request's hash.
    pub(crate) hash: u64,
    /// The world's seed.
    pub(crate) seed: u64,
    /// The whole prompt.
    pub(crate) prompt: &'a str,
}

impl Fault {
    pub(crate) fn read(index: usize, file: FaultFile, check: &mut Checker) -> Option<Self> {
        let place = format!("faults[{index}]");
        let given = [
            file.every.is_some(),
            file.at.is_some(),
            file.first.is_some(),
            file.share.is_some(),
            file.when.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            check.problem(&place, "needs exactly one of every, at, first, share, when");
            return None;
        }
        if file.tries.is_some() && file.share.is_none() && file.when.is_none() {
            check.problem(&place, "`tries` goes with share and when only");
        }
        if let FaultKind::Status { status, .. } = file.fault
            && !(300..=599).contains(&status)
        {
            check.problem(&place, format_args!("{status} is not an error status"));
        }
        let schedule = if let Some(every) = file.every {
            if every == 0 {
                check.problem(&place, "`every` must be at least 1");
                return None;
            }
            Schedule::Every(every)
        } else if let Some(at) = file.at {
            Schedule::At(at)
        } else if let Some(first) = file.first {
            Schedule::First(first)
        } else if let Some(share) = file.share {
            check.share(&place, share);
            Schedule::Share {
                index,
                share,
                tries: file.tries.unwrap_or(1),
            }
        } else {
            Schedule::When {
                pattern: check.regex(&place, file.when.as_deref().unwrap_or_default())?,
                tries: file.tries.unwrap_or(0),
            }
        };
        Some(Self {
            schedule,
            kind: file.fault,
        })
    }

    pub(crate) fn is_due(&self, moment: &Moment<'_>) -> bool {
        match &self.schedule {
            Schedule::Every(every) => moment.number.is_multiple_of(*every),
            Schedule::At(at) => at.contains(&moment.number),
            Schedule::First(first) => moment.number <= *first,
            Schedule::Share {
                index,
                share,
                tries,
            } => {
                (*tries == 0 || moment.attempt <= *tries)
                    && falls_into(
                        hash_of(&[
                            b"fault",
                            &moment.seed.to_le_bytes(),
                            &(*index as u64).to_le_bytes(),
                            &moment.hash.to_le_bytes(),
                        ]),
                        *share,
                    )
            }
            Schedule::When { pattern, tries } => {
                (*tries == 0 || moment.attempt <= *tries) && pattern.is_match(moment.prompt)
            }
        }
    }
}
