//! Removes a folder that somebody untrusted could write to: the private `/tmp` of a session without namespaces.
//!
//! Coding agents' folders are removed in the same way, by `fapo-diagnosis`. A service depends on no adapter and an adapter on
//! no service, and the domain touches no files, so each has its own.
//!
//! What such a folder holds was chosen by them: nested so deeply that a removal which calls itself for each folder runs out
//! of stack, paths longer than the kernel takes, folders without any rights, links to other places. So each folder within
//! a folder is first moved up, directly below the one that is removed, and emptied there: neither depth nor the length of a
//! path matters, and three folders are open at most.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// How often a folder may be found full again after it was emptied: somebody still writes there.
const PATIENCE: u32 = 1_000;

/// Removes what is at `path` with all that is in it, if anything is. Links are removed, not followed; folders that are
/// closed to their owner are opened.
///
/// # Errors
/// The first thing that cannot be removed.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let root = opened(CWD, path)?;
    let mut fresh = 0;
    let mut patience = PATIENCE;
    loop {
        let before = fresh;
        let (mut found, mut removed) = (false, false);
        for entry in Dir::read_from(&root)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            found = true;
            if !removed_file(&root, name)? {
                empty(&root, name, &mut fresh)?;
                match unlinkat(&root, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::NOTEMPTY | Errno::EXIST) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            removed = true;
        }
        if !found {
            match std::fs::remove_dir(path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        if !removed && fresh == before {
            patience = patience.checked_sub(1).ok_or_else(|| {
                io::Error::other("something still writes to it, faster than it can be removed")
            })?;
        }
    }
}

/// Empties the folder `name` of `root`: files are removed, folders moved into `root` under a fresh name.
fn empty(root: &OwnedFd, name: &CStr, fresh: &mut u64) -> io::Result<()> {
    let folder = match opened(root, name) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let inner = entry.file_name();
        if is_dots(inner) || removed_file(&folder, inner)? {
            continue;
        }
        // to move a folder elsewhere one must be allowed to write to it
        drop(opened(&folder, inner)?);
        loop {
            *fresh += 1;
            match renameat(&folder, inner, root, format!("fapo-{fresh}")) {
                Ok(()) | Err(Errno::NOENT) => break,
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Removes a file, a link, or whatever is no folder; `false` for a folder.
fn removed_file(folder: &OwnedFd, name: &CStr) -> io::Result<bool> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        // POSIX says PERM for a folder, Linux ISDIR; a file that may not be removed fails to be opened as a folder
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        // its own folder was closed again
        Err(error) => Err(error.into()),
    }
}

/// Opens a folder, not through a link; one that is closed to its owner is opened to them first.
fn opened<P: rustix::path::Arg + Copy>(at: impl AsFd, name: P) -> io::Result<OwnedFd> {
    let plain = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(&at, name, OFlags::PATH | plain, Mode::empty())?;
    let held = rustix::fs::fstat(&place)?;
    let place = format!("/proc/self/fd/{}", place.as_raw_fd());
    if held.st_mode & 0o700 != 0o700 {
        // by what was opened, not by its name: that may be a link to elsewhere by now
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(openat(at, name, OFlags::RDONLY | plain, Mode::empty())?)
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// A private folder, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct PrivateTmp(PathBuf);

impl PrivateTmp {
    pub(crate) fn new() -> io::Result<Self> {
        let made = tempfile::Builder::new().prefix("fapo-tmp-").tempdir()?;
        Ok(Self(made.keep()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateTmp {
    fn drop(&mut self) {
        if let Err(error) = remove_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a session's temporary folder stays");
        }
    }
}
