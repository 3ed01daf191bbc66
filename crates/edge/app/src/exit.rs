//! Exit codes: few, conventional, and documented in `fapo --help` and `docs/exit-codes.md`.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked. A finished optimization that found nothing better is one of these: that is an answer.
    Ok,
    /// It failed; the message on standard error says why.
    Failed,
    /// The command line cannot be understood.
    Usage,
    /// The project, its data, a configuration or the machine has problems; each is listed with what to do.
    Problems,
    /// The work is not complete: a task died, the job was cancelled, or results are missing. The same command goes on.
    Incomplete,
    /// Interrupted by a person; nothing is lost, and the same command goes on.
    Interrupted,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Problems => 3,
            Self::Incomplete => 4,
            Self::Interrupted => 130,
        }
    }

    /// What `--help` says about all of them.
    pub const HELP: &'static str = "Exit codes:
  0    done (an optimization that found nothing better is done, too)
  1    the command failed
  2    the command line cannot be understood
  3    the project, its data, a configuration or the machine has problems
  4    the work is not complete: a task died, or results are missing; the same command goes on
  130  interrupted; nothing is lost, the same command goes on";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_code() {
        for exit in [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Problems,
            Exit::Incomplete,
            Exit::Interrupted,
        ] {
            let line = format!("  {:<5}", exit.code());
            assert!(Exit::HELP.contains(&line), "no line for {}", exit.code());
        }
    }

    #[test]
    fn the_document_names_every_code() {
        let text = include_str!("../../../../docs/exit-codes.md");
        for code in [0, 1, 2, 3, 4, 130] {
            assert!(text.contains(&format!("| {code} |")), "no row for {code}");
        }
    }
}
