//! The program inside the sandbox, between bubblewrap and what is held.
//!
//! * `run SOCKET` takes an order from fapo, starts the program, carries its forwarded ports, watches its time and its
//!   processes, and ends the session as a whole. It is PID 1 there: when it exits, the kernel kills what is left before
//!   anybody hears of the exit.
//! * `exec HOLD PROGRAM ARGS...` sets limits and Landlock on itself and becomes the program. A step of its own, because
//!   limits hold for a whole process, and must not hold for the one that watches.
//! * `bridge SOCKET` joins its standard streams to a Unix socket, for programs that speak over those only.
//! * `probe` says how it is held.
//!
//! The program runs as the same user, so `run` makes itself untraceable before it starts one: its memory, its
//! environment and its descriptors are then closed to the program.

mod bridge;
mod forward;
mod hold;
mod run;
mod session;
mod watch;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Exit code where the program could not become what it should; shells use the same.
const CANNOT_EXECUTE: u8 = 126;

/// Does what the arguments say: `run`, `exec`, `bridge` or `probe`, without the program's own name before it. Not for
/// people; what goes wrong is said on standard error.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let verb = args.first().and_then(|verb| verb.to_str());
    let done = match (verb, args.get(1..).unwrap_or_default()) {
        (Some("run"), [socket]) => run::run(socket.as_ref()),
        (Some("exec"), [hold, program, args @ ..]) => hold::exec(hold, program.as_ref(), args),
        (Some("bridge"), [socket]) => bridge::bridge(socket.as_ref()),
        (Some("probe"), []) => hold::probe(),
        _ => Err("this command is fapo's own; it is not for people".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // nobody is left to tell where even this fails
            let _ = writeln!(std::io::stderr(), "fapo sandbox: {why}");
            ExitCode::from(CANNOT_EXECUTE)
        }
    }
}
