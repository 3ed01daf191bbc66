//! The process that a session hangs on.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fapo_domain::ports::sandbox::ProcessExit;
use rustix::process::{DumpableBehavior, WaitOptions, WaitStatus};

use super::forward::Forwards;
use super::session::Session;
use super::watch::{Ending, Watch};
use crate::wire::{Order, Report};

/// Takes the order from the socket and follows it to the end.
pub(super) fn run(socket: &Path) -> Result<(), String> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("cannot close itself to others: {error}"))?;
    let control = UnixStream::connect(socket).map_err(|error| format!("fapo is gone: {error}"))?;
    let mut line = String::new();
    BufReader::new(&control)
        .read_line(&mut line)
        .map_err(|error| format!("no order came: {error}"))?;
    let order: Order =
        serde_json::from_str(&line).map_err(|error| format!("the order is not one: {error}"))?;
    let session = if order.namespaces {
        Session::Namespace
    } else {
        Session::Descendants
    };
    let ending = Arc::new(Ending::new(control, session, order.tmp.clone()));
    match start(&order) {
        Ok(child) => {
            ending.say(&Report::Started);
            let watch = Watch::new(&order, &ending);
            std::thread::Builder::new()
                .name("watch".to_owned())
                .spawn(move || watch.until_end())
                .map_err(|error| format!("nothing can watch: {error}"))?;
            let exit = follow(child);
            ending.end(exit)
        }
        Err(why) => {
            ending.say(&Report::Refused { why });
            Ok(())
        }
    }
}

/// Starts the program, and returns its process id.
fn start(order: &Order) -> Result<u32, String> {
    if !crate::config::is_executable(&order.program) {
        return Err("there is no such program, or it may not be executed".to_owned());
    }
    if !order.cwd.is_dir() {
        return Err(format!("its folder {} is not there", order.cwd.display()));
    }
    let forwards = Forwards::bind(&order.forwards)
        .map_err(|error| format!("no port can be forwarded: {error}"))?;
    if !order.namespaces {
        // what a program leaves behind comes to us, where the end of the session finds it
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| format!("its children cannot be held: {error}"))?;
    }
    let mut hold = order.hold.clone();
    hold.connect.clone_from(&forwards.ports);
    let rules = serde_json::to_string(&hold).map_err(|error| error.to_string())?;
    let (init, leading) = &order.init;
    let child = Command::new(init)
        .args(leading)
        .arg("exec")
        .arg(rules)
        .arg(&order.program)
        .args(&order.args)
        .env_clear()
        .envs(order.env.iter().map(|(name, value)| (name, value)))
        .envs(forwards.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&order.cwd)
        .spawn()
        .map_err(|error| error.to_string())?;
    forwards
        .serve()
        .map_err(|error| format!("no port can be forwarded: {error}"))?;
    Ok(child.id())
}

/// Waits for the program, and takes in what others leave behind meanwhile.
fn follow(child: u32) -> ProcessExit {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_pid().cast_unsigned() == child => {
                return exit(status);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // somebody else took it in, which only the end of the session does
            Err(_) => return ProcessExit::Signal { signal: 9 },
        }
    }
}

fn exit(status: WaitStatus) -> ProcessExit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ProcessExit::Code { code },
        (None, signal) => ProcessExit::Signal {
            signal: signal.unwrap_or(9),
        },
    }
}
