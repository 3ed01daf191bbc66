//! Removes a folder that somebody untrusted could write to.
//!
//! What such a folder holds was chosen by them: nested so deeply that a removal which calls itself for each folder runs out
//! of stack, paths longer than the kernel takes, folders without any rights, links to other places. So each folder within
//! a folder is first moved up, directly below the one that is removed, and emptied there: neither depth nor the length of a
//! path matters, and three folders are open at most.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// How often a folder may be found full again after it was emptied: somebody still writes there.
const PATIENCE: u32 = 1_000;

/// Removes what is at `path` with all that is in it, if anything is. Links are removed, not followed; folders that are
/// closed to their owner are opened.
///
/// # Errors
/// The first thing that cannot be removed.
pub fn remove_all(path: &Path) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders within folders, far beyond what a path can say.
    fn nest(folder: &Path, depth: usize) {
        let plain = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = openat(CWD, folder, plain, Mode::empty()).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o700)).unwrap();
            at = openat(&at, "d", plain, Mode::empty()).unwrap();
        }
        let file = openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        drop(file);
    }

    fn closed(folder: &Path) {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o000)).unwrap();
    }

    #[test]
    fn folders_nested_without_end_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        std::fs::create_dir(&root).unwrap();
        nest(&root, 15_000);
        // names that it would take itself, for a file and for folders
        std::fs::write(root.join("fapo-2"), "x").unwrap();
        std::fs::create_dir_all(root.join("fapo-3/full")).unwrap();
        remove_all(&root).unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn closed_folders_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        std::fs::write(root.join("a/b/c/file"), "x").unwrap();
        for folder in ["a/b/c", "a/b", "a", ""] {
            closed(&root.join(folder));
        }
        remove_all(&root).unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_removed_and_what_they_lead_to_stays() {
        let place = tempfile::tempdir().unwrap();
        let (root, kept) = (place.path().join("root"), place.path().join("kept"));
        std::fs::create_dir_all(root.join("inner")).unwrap();
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "x").unwrap();
        for link in [root.join("link"), root.join("inner/link")] {
            std::os::unix::fs::symlink(&kept, link).unwrap();
        }
        remove_all(&root).unwrap();
        std::os::unix::fs::symlink(&kept, &root).unwrap();
        remove_all(&root).unwrap();
        assert!(!root.is_symlink());
        assert!(kept.join("file").exists());
    }

    #[test]
    fn what_is_not_there_is_removed_already() {
        let place = tempfile::tempdir().unwrap();
        assert!(remove_all(&place.path().join("nothing")).is_ok());
    }
}
