//! What bubblewrap is told: which parts of the host are shown, and that nothing else is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use fapo_domain::ports::sandbox::{Mount, ProcessSpec};

use crate::config::SandboxConfig;
use crate::hidden;
use crate::wire::inside;

/// Folders at the root that hold programs and libraries; on most systems links into `/usr`.
pub(crate) const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
];

/// What of `/etc` a program needs: how libraries are found, which certificates are good, and what time it is. No accounts,
/// no hosts, no keys.
pub(crate) const ETC: &[&str] = &[
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];

/// Files of `/etc` that a program sees instead of the host's.
const WRITTEN: &[(&str, &str)] = &[
    (
        "passwd",
        "fapo:x:1000:1000:fapo:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("group", "fapo:x:1000:\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n"),
    (
        "nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
];

/// Writes the files that stand in for the host's into `folder`.
pub(crate) fn write_files(folder: &Path) -> io::Result<()> {
    for (name, content) in WRITTEN {
        std::fs::write(folder.join(name), content)?;
    }
    Ok(())
}

/// Refuses mounts that are not there, whose places could be misread, or that would show what is hidden.
pub(crate) fn check_mounts(spec: &ProcessSpec, hidden: &[PathBuf]) -> io::Result<()> {
    for mount in spec.read_only.iter().chain(&spec.writable) {
        let plain = |path: &Path| {
            path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
        };
        if !plain(&mount.host) || !plain(&mount.inside) {
            let why = format!("{} is not an absolute path", mount.inside.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        std::fs::metadata(&mount.host).map_err(|error| {
            let why = format!("{} cannot be shown: {error}", mount.host.display());
            io::Error::new(error.kind(), why)
        })?;
        hidden::check(mount, hidden)?;
    }
    Ok(())
}

/// Arguments for bubblewrap, up to the command.
pub(crate) struct Arguments(Vec<OsString>);

impl Arguments {
    /// Everything for `spec`. `folder` holds the socket to fapo and the written files.
    pub(crate) fn new(
        config: &SandboxConfig,
        spec: &ProcessSpec,
        folder: &Path,
        forbid_namespaces: bool,
    ) -> io::Result<Self> {
        let mut all = Self(Vec::new());
        // All namespaces. Init as PID 1, so that the end of the session is seen only when all of it is gone.
        all.add([
            "--unshare-all",
            "--unshare-user",
            "--as-pid-1",
            "--die-with-parent",
        ]);
        all.add(["--new-session", "--hostname", "sandbox"]);
        // Programs that refuse to run as root, or that do more as root, see a plain user.
        all.add(["--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]);
        if forbid_namespaces {
            all.add(["--disable-userns"]);
        }
        all.system(folder);
        // after the system's folders, which they lie within, and before the mounts, some of which may lie within them
        let covered = hidden::covered(&config.hidden)?;
        for place in &covered {
            all.0.push("--tmpfs".into());
            all.0.push(place.into());
        }
        let size = config.tmp_bytes.to_string();
        // Read-only, because root out here is root to the kernel's settings even without any capability in there:
        // `/proc/sys/kernel/core_pattern` alone would be the way out.
        all.add(["--proc", "/proc", "--remount-ro", "/proc"]);
        all.add(["--dev", "/dev", "--perms", "1777", "--size", &size]);
        all.add(["--tmpfs", "/dev/shm", "--remount-ro", "/dev"]);
        all.add(["--perms", "1777", "--size", &size, "--tmpfs", "/tmp"]);
        all.mounts(spec);
        for place in &covered {
            all.0.push("--remount-ro".into());
            all.0.push(place.into());
        }
        all.bind("--ro-bind", &config.init.0, Path::new(inside::INIT));
        all.bind(
            "--ro-bind",
            &folder.join("control"),
            Path::new(inside::CONTROL),
        );
        for (at, forward) in spec.forwards.iter().enumerate() {
            all.bind("--ro-bind", &forward.socket, &socket(at));
        }
        all.add(["--remount-ro", "/", "--chdir", "/", "--"]);
        Ok(all)
    }

    /// The arguments.
    pub(crate) fn into_inner(self) -> Vec<OsString> {
        self.0
    }

    fn add<const N: usize>(&mut self, arguments: [&str; N]) {
        self.0.extend(arguments.map(OsString::from));
    }

    fn bind(&mut self, how: &str, host: &Path, inside: &Path) {
        let parts = [OsStr::new(how), host.as_os_str(), inside.as_os_str()];
        self.0.extend(parts.map(OsStr::to_owned));
    }

    fn system(&mut self, folder: &Path) {
        for path in SYSTEM.iter().map(Path::new) {
            match std::fs::read_link(path) {
                Ok(target) => self.bind("--symlink", &target, path),
                Err(_) if path.is_dir() => self.bind("--ro-bind", path, path),
                Err(_) => {}
            }
        }
        for path in ETC.iter().map(Path::new).filter(|path| path.exists()) {
            self.bind("--ro-bind", path, path);
        }
        for (name, _) in WRITTEN {
            self.bind(
                "--ro-bind",
                &folder.join(name),
                &Path::new("/etc").join(name),
            );
        }
    }

    /// The spec's mounts, outer ones first: an inner one would be hidden otherwise.
    fn mounts(&mut self, spec: &ProcessSpec) {
        let read_only = spec.read_only.iter().map(|mount| ("--ro-bind", mount));
        let writable = spec.writable.iter().map(|mount| ("--bind", mount));
        let mut mounts: Vec<(&str, &Mount)> = read_only.chain(writable).collect();
        mounts.sort_by_key(|(_, mount)| mount.inside.components().count());
        for (how, mount) in mounts {
            self.bind(how, &mount.host, &mount.inside);
        }
    }
}

/// Where the socket of a forward stands inside.
pub(crate) fn socket(at: usize) -> PathBuf {
    Path::new(inside::ROOT).join(format!("forward-{at}"))
}
