//! Limits and Landlock, set by a process on itself right before it becomes the program.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::wire::Hold;

/// The newest rules that are asked for; older kernels enforce those they know. Later ones would take away Unix sockets,
/// which are how a session reaches fapo.
const RULES: ABI = ABI::V7;

/// Becomes `program`, held.
pub(super) fn exec(hold: &OsStr, program: &Path, args: &[OsString]) -> Result<(), String> {
    let hold: Hold = hold
        .to_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or("the rules cannot be read")?;
    if hold.die_with_parent {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| format!("cannot be tied to its parent: {error}"))?;
    }
    // A session of its own: the scheduler shares time between sessions, so a program that starts thousands of others does
    // not take it from who watches. It fails only for who leads one already.
    let _ = rustix::process::setsid();
    rustix::thread::set_no_new_privs(true)
        .and_then(|()| drop_capabilities())
        .map_err(|error| format!("privileges cannot be given up: {error}"))?;
    // First, because it opens files and takes memory, which the limits may not leave.
    landlock(&hold)?;
    let mut command = Command::new(program);
    command.args(args);
    limit(&hold).map_err(|error| format!("limits cannot be set: {error}"))?;
    // What fapo was itself started with and did not open, such as a shell's or a build's, is inherited all the way.
    close_fds::set_fds_cloexec(3, &[]);
    let error = command.exec();
    Err(format!(
        "{} could not be started: {error}",
        program.display()
    ))
}

/// Gives up what root may do beyond its own files. Bubblewrap did so already, where it is there.
fn drop_capabilities() -> rustix::io::Result<()> {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // unknown to this kernel, or not ours to drop: then it cannot come back with the program either
        let _ = rustix::thread::remove_capability_from_bounding_set(one);
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    rustix::thread::set_capabilities(None, sets)
}

fn limit(hold: &Hold) -> std::io::Result<()> {
    let bounds = [
        // a core file would be written where a writable mount is, with all that the process knew
        (Resource::Core, Some(0)),
        (Resource::Cpu, hold.cpu_seconds),
        (Resource::Fsize, hold.file_bytes),
        (Resource::Nofile, hold.open_files),
        (Resource::Nproc, hold.processes),
        (Resource::As, hold.memory_bytes),
    ];
    for (resource, bound) in bounds {
        let Some(bound) = bound else { continue };
        // only root may raise a hard limit
        let most = rustix::process::getrlimit(resource).maximum;
        let bound = most.map_or(bound, |most| most.min(bound));
        let over = match resource {
            // SIGXCPU at the limit says why; SIGKILL a second later does not ask
            Resource::Cpu => bound.saturating_add(1),
            _ => bound,
        };
        let limit = Rlimit {
            current: Some(bound),
            maximum: Some(most.map_or(over, |most| most.min(over))),
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}

/// Forbids everything but what `hold` lists, as far as the kernel can: without Landlock, nothing.
fn landlock(hold: &Hold) -> Result<(), String> {
    let said = |error: landlock::RulesetError| format!("Landlock refused: {error}");
    let mut net = BitFlags::from(AccessNet::ConnectTcp);
    if !hold.listen {
        net |= AccessNet::BindTcp;
    }
    let ports = hold.connect.iter();
    Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))
        .and_then(|rules| rules.handle_access(net))
        .and_then(|rules| rules.scope(Scope::AbstractUnixSocket | Scope::Signal))
        .and_then(Ruleset::create)
        .and_then(|rules| {
            rules.add_rules(path_beneath_rules(&hold.read, AccessFs::from_read(RULES)))
        })
        .and_then(|rules| {
            rules.add_rules(path_beneath_rules(&hold.write, AccessFs::from_all(RULES)))
        })
        .and_then(|rules| {
            rules.add_rules(ports.map(|port| {
                Ok::<_, landlock::RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp))
            }))
        })
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(said)?;
    Ok(())
}

/// Says which Landlock there is, by using it.
pub(super) fn probe() -> Result<(), String> {
    let status = Ruleset::default()
        .handle_access(AccessFs::Execute)
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(["/"], AccessFs::Execute)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| error.to_string())?;
    let abi = match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } if status.ruleset != RulesetStatus::NotEnforced => {
            kernel_abi.unwrap_or(effective_abi as i32)
        }
        LandlockStatus::Available { .. }
        | LandlockStatus::NotEnabled
        | LandlockStatus::NotImplemented => 0,
    };
    writeln!(std::io::stdout(), "{abi}").map_err(|error| error.to_string())
}
