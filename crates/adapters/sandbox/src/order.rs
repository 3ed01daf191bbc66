//! What init is told about a spec.

use std::path::{Path, PathBuf};

use fapo_domain::ports::sandbox::{Mount, ProcessSpec};

use crate::bubblewrap::{ETC, SYSTEM, socket};
use crate::wire::{ForwardOrder, Hold, Order};

/// Processes of init's own, which the kernel counts with the program's.
const INIT_THREADS: u64 = 8;

/// The order for `spec`; `init` is how init is called inside.
///
/// `tmp` is what stands for `/tmp` where there are no namespaces.
pub(crate) fn order(
    init: (PathBuf, Vec<String>),
    namespaces: bool,
    spec: &ProcessSpec,
    tmp: Option<&Path>,
) -> Order {
    let limits = &spec.limits;
    let forwards = spec
        .forwards
        .iter()
        .enumerate()
        .map(|(at, forward)| ForwardOrder {
            socket: if namespaces {
                socket(at)
            } else {
                forward.socket.clone()
            },
            variable: forward.variable.clone(),
            address: forward.address.clone(),
        });
    let place = |mount: &Mount| place(mount, namespaces);
    let mut write: Vec<PathBuf> = spec.writable.iter().map(place).collect();
    write.push(tmp.map_or_else(|| "/tmp".into(), Path::to_owned));
    write.push("/dev".into());
    let read = if namespaces {
        // what is mounted is the rule; this one holds who comes out of the mounts
        vec![PathBuf::from("/")]
    } else {
        let system = SYSTEM
            .iter()
            .chain(ETC)
            .chain(&["/proc", "/etc/passwd", "/etc/group"]);
        let mut read: Vec<PathBuf> = system.map(PathBuf::from).collect();
        read.extend(spec.read_only.iter().map(place));
        read.push(init.0.clone());
        read
    };
    let counted = namespaces && kernel_counts_per_session();
    Order {
        init,
        program: spec.program.clone(),
        args: spec.args.clone(),
        env: match tmp.and_then(Path::to_str) {
            Some(tmp) => {
                let env = spec.env.iter().cloned();
                env.map(|(name, value)| {
                    (
                        name,
                        if value == "/tmp" {
                            tmp.to_owned()
                        } else {
                            value
                        },
                    )
                })
                .collect()
            }
            None => spec.env.clone(),
        },
        cwd: match tmp {
            Some(tmp) if spec.cwd == Path::new("/tmp") => tmp.to_owned(),
            Some(_) | None => spec.cwd.clone(),
        },
        forwards: forwards.collect(),
        wall_ms: limits
            .wall
            .map(|wall| u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        processes: limits.processes,
        namespaces,
        tmp: tmp.map(Path::to_owned),
        hold: Hold {
            cpu_seconds: limits.cpu_seconds,
            memory_bytes: limits.memory_bytes,
            file_bytes: limits.file_bytes,
            open_files: limits.open_files,
            processes: limits
                .processes
                .filter(|_| counted)
                .map(|most| most + INIT_THREADS),
            read,
            write,
            connect: Vec::new(),
            listen: namespaces,
            die_with_parent: !namespaces,
        },
    }
}

/// Where a process sees a mount.
fn place(mount: &Mount, namespaces: bool) -> PathBuf {
    if namespaces {
        &mount.inside
    } else {
        &mount.host
    }
    .clone()
}

/// Whether RLIMIT_NPROC counts the processes of a user namespace apart from the user's others (Linux 5.14), and is
/// enforced at all, which it never is for root.
fn kernel_counts_per_session() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || {
        numbers
            .next()
            .and_then(|text| text.parse::<u32>().ok())
            .unwrap_or(0)
    };
    let version = (number(), number());
    version >= (5, 14) && !rustix::process::geteuid().is_root()
}
