//! Follows a program from its start to its end, and says how that was.

use std::time::{Duration, Instant};

use fapo_domain::model::session::SessionEnd;
use fapo_domain::ports::agents::AgentError;
use fapo_domain::ports::relay::{Relay, RelayUse};
use fapo_domain::ports::sandbox::{ProcessExit, SandboxedProcess, Streams};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use super::cli::{Outcome, Reader, Report};
use super::lines::{LONGEST_LINE, Line, Lines};
use super::transcript::Transcript;

/// Most bytes a program may write to its standard output and error in a session.
const MOST_OUTPUT: u64 = 64 * 1024 * 1024;
/// What is kept of the last lines on standard error, for messages.
const ERROR_TAIL: usize = 1_000;
/// How often a program that does not count its turns is looked at while it writes nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the streams of a program that has ended are read on. Behind namespaces they end with it; without, a process that it
/// left behind may hold them open for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a program is followed with.
pub(super) struct Watch<'a> {
    /// What the program is called in the transcript.
    pub name: &'static str,
    /// When the session was opened.
    pub opened: Instant,
    /// Where each line goes.
    pub transcript: &'a mut Transcript,
    /// Bytes that the session's programs wrote so far.
    pub written: &'a mut u64,
    /// Where its replies are counted.
    pub relay: &'a dyn Relay,
    /// Most replies settled at the relay, for a program that does not count its turns.
    pub most_replies: Option<u64>,
    /// Ends it.
    pub stop: &'a CancellationToken,
}

impl Watch<'_> {
    fn note(&mut self, from: &str, bytes: &[u8]) {
        let at = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.transcript.add(at, from, bytes);
    }

    fn is_out_of_replies(&self) -> bool {
        self.most_replies
            .is_some_and(|most| self.relay.used().spend.model_calls > most)
    }

    /// Follows a program to its end: feeds it, reads its lines, ends it where a bound or `stop` says so.
    pub async fn follow(
        &mut self,
        process: &mut dyn SandboxedProcess,
        streams: Streams,
        stdin: String,
        reader: &mut dyn Reader,
    ) -> Result<Followed, AgentError> {
        let Streams {
            stdin: mut input,
            stdout,
            stderr,
        } = streams;
        // on its own: a program that does not read must not keep its output from being read
        let feeding = tokio::spawn(async move {
            // a program that ended without reading is told by its lines
            let _ = input.write_all(stdin.as_bytes()).await;
            let _ = input.shutdown().await;
        });
        let _fed = AbortOnDrop(feeding);
        let mut output = Lines::new(stdout, LONGEST_LINE);
        let mut errors = Lines::new(stderr, LONGEST_LINE);
        let (mut output_open, mut errors_open) = (true, true);
        let mut followed = Followed::default();
        // a program may go on without writing a line
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut left_at = None;
        while output_open || errors_open {
            if self.is_out_of_replies() {
                followed.cut = Some(SessionEnd::OutOfTurns);
                break;
            }
            let (line, from) = tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    followed.cut = Some(SessionEnd::Cancelled);
                    break;
                }
                () = until(left_at) => break,
                line = output.next(), if output_open => (line, Source::Output),
                line = errors.next(), if errors_open => (line, Source::Errors),
                exit = process.wait(), if followed.exit.is_none() => {
                    followed.exit = Some(exit?);
                    left_at = Some(tokio::time::Instant::now() + LAST_WORDS);
                    continue;
                }
                _ = look.tick(), if self.most_replies.is_some() => continue,
            };
            // a pipe that fails has nothing more to say, like one that ended
            let line = line.ok().flatten();
            let Some(line) = line else {
                match from {
                    Source::Output => output_open = false,
                    Source::Errors => errors_open = false,
                }
                continue;
            };
            *self.written += line.size();
            if *self.written > MOST_OUTPUT {
                followed.cut = Some(SessionEnd::Flooded);
                break;
            }
            let (Line::Whole { bytes, .. } | Line::TooLong { start: bytes, .. }) = &line;
            match from {
                Source::Output => {
                    self.note(self.name, bytes);
                    // half a line is no event
                    if matches!(line, Line::Whole { ended: true, .. }) && reader.read(bytes) {
                        break;
                    }
                }
                Source::Errors => {
                    self.note("stderr", bytes);
                    followed.say(bytes);
                }
            }
        }
        if followed.exit.is_none() {
            let asked_for = followed.cut.is_some() || output_open;
            let exit = if asked_for {
                process.kill().await?
            } else {
                process.wait().await?
            };
            followed.exit = Some(exit);
        }
        Ok(followed)
    }
}

/// Waits until then; for ever where there is no such time.
async fn until(then: Option<tokio::time::Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

#[derive(Clone, Copy)]
enum Source {
    Output,
    Errors,
}

/// How a program was followed to its end.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub exit: Option<ProcessExit>,
    /// Why it was cut off from here, where it was.
    pub cut: Option<SessionEnd>,
    /// The end of its standard error.
    pub errors: String,
}

impl Followed {
    fn say(&mut self, bytes: &[u8]) {
        if !self.errors.is_empty() {
            self.errors.push(' ');
        }
        self.errors.push_str(String::from_utf8_lossy(bytes).trim());
        if self.errors.len() > ERROR_TAIL {
            let mut at = self.errors.len() - ERROR_TAIL;
            while !self.errors.is_char_boundary(at) {
                at += 1;
            }
            self.errors.drain(..at);
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The provider's fault in a session that came to no end of its own: its last request failed, or nobody answers it. What a
/// candidate could do nothing about is not held against it: the task is tried again.
fn provider_at_fault(used: &RelayUse) -> Result<(), AgentError> {
    let message = match &used.failure {
        Some(failure) => failure.clone(),
        None if used.waiting > 0 => "it did not answer the last request".to_owned(),
        None => return Ok(()),
    };
    Err(AgentError::Provider {
        message,
        configuration: false,
    })
}

/// What a prompt's end was, from what was seen from outside first and from the program's own words last.
pub(super) fn ended_with(
    report: &Report,
    followed: &Followed,
    used: &RelayUse,
) -> Result<SessionEnd, AgentError> {
    if let Some(cut) = &followed.cut {
        if *cut == SessionEnd::OutOfTime {
            provider_at_fault(used)?;
        }
        return Ok(cut.clone());
    }
    if matches!(followed.exit, Some(ProcessExit::TimedOut)) {
        provider_at_fault(used)?;
        return Ok(SessionEnd::OutOfTime);
    }
    Ok(match &report.outcome {
        Outcome::Done if report.answer.is_some() => SessionEnd::Answered,
        _ if used.out_of_money => SessionEnd::OutOfMoney,
        Outcome::Done => SessionEnd::NoAnswer,
        Outcome::OutOfTurns => SessionEnd::OutOfTurns,
        Outcome::OutOfMoney => SessionEnd::OutOfMoney,
        Outcome::Provider { status, message } => match status {
            // its own request was wrong: the same again would be, too
            Some(400 | 413 | 422) => SessionEnd::Failed {
                message: message.clone(),
            },
            _ => {
                return Err(AgentError::Provider {
                    message: message.clone(),
                    configuration: matches!(status, Some(401..=404)),
                });
            }
        },
        Outcome::Failed { message } => SessionEnd::Failed {
            message: message.clone(),
        },
        Outcome::BrokenOff => {
            provider_at_fault(used)?;
            let how = match followed.exit {
                Some(ProcessExit::Code { code }) => format!("exit code {code}"),
                Some(ProcessExit::Signal { signal }) => format!("signal {signal}"),
                Some(ProcessExit::TimedOut | ProcessExit::Killed) | None => "killed".to_owned(),
            };
            let said = if followed.errors.is_empty() {
                "nothing on standard error"
            } else {
                followed.errors.as_str()
            };
            SessionEnd::Failed {
                message: format!("it ended without a last word ({how}; {said})"),
            }
        }
    })
}
