//! Files written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Writes a file through a temporary sibling, so that its name never stands for a part of `content`.
///
/// # Errors
/// What the system says; the file is then as it was.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    // a pipe or a device is written to, not replaced
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return fs::write(path, content);
    }
    let mut made = Made::default();
    let done = stage(path, content, &mut made).and_then(|staged| made.settle(&staged));
    made.end(done)
}

/// Writes files and the folders they need. All contents are on the disk before the first file gets its name.
///
/// # Errors
/// What the system says; new files and folders are then taken away again.
pub fn write_all(files: &[(PathBuf, &[u8])]) -> io::Result<()> {
    let mut made = Made::default();
    let done = put(files, &mut made);
    made.end(done)
}

fn put(files: &[(PathBuf, &[u8])], made: &mut Made) -> io::Result<()> {
    let mut all = Vec::with_capacity(files.len());
    for (path, content) in files {
        if let Some(parent) = path.parent() {
            made.folders(parent)?;
        }
        all.push(stage(path, content, made)?);
    }
    all.iter().try_for_each(|staged| made.settle(staged))
}

/// A content on the disk that does not have its name yet.
struct Staged {
    from: PathBuf,
    to: PathBuf,
}

fn stage(path: &Path, content: &[u8], made: &mut Made) -> io::Result<Staged> {
    // what a link points to is replaced, not the link
    let to = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = std::ffi::OsString::from(".");
    name.push(to.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
    name.push(format!(".{}.tmp", std::process::id()));
    let from = to.with_file_name(name);
    let mut file = File::create(&from)?;
    made.0.push(from.clone());
    file.write_all(content)?;
    if let Ok(found) = fs::metadata(&to) {
        file.set_permissions(found.permissions())?;
    }
    file.sync_all()?;
    Ok(Staged { from, to })
}

/// Files and folders that were not there before, in the order of their making.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a folder and those above it that are missing.
    fn folders(&mut self, folder: &Path) -> io::Result<()> {
        let mut missing: Vec<&Path> = folder
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.is_dir())
            .collect();
        while let Some(path) = missing.pop() {
            fs::create_dir(path)?;
            self.0.push(path.to_owned());
        }
        Ok(())
    }

    fn settle(&mut self, staged: &Staged) -> io::Result<()> {
        let new = !staged.to.exists();
        fs::rename(&staged.from, &staged.to)?;
        if new {
            self.0.push(staged.to.clone());
        }
        Ok(())
    }

    /// Takes everything away where `done` is an error; the first error is the one to tell.
    fn end(self, done: io::Result<()>) -> io::Result<()> {
        if done.is_err() {
            for path in self.0.iter().rev() {
                // a folder goes only if it is empty: what others put there stays
                let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_and_no_sibling_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.patch");
        write(&file, b"one").unwrap();
        write(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["a.patch"]);
    }

    #[test]
    fn a_failure_leaves_nothing_new_and_what_was_there_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::write(at("kept"), "mine").unwrap();
        // a folder has the name that the last file wants
        fs::create_dir(at("taken")).unwrap();
        let blocked: [(PathBuf, &[u8]); 3] = [
            (at("deep/er/new"), b"x"),
            (at("other"), b"x"),
            (at("taken"), b"x"),
        ];
        assert!(write_all(&blocked).is_err());
        assert_eq!(names(dir.path()), ["kept", "taken"]);

        // a file stands where a folder is needed: found before any file gets its name
        let blocked: [(PathBuf, &[u8]); 2] = [(at("kept"), b"x"), (at("kept/under"), b"x")];
        assert!(write_all(&blocked).is_err());
        assert_eq!(names(dir.path()), ["kept", "taken"]);
        assert_eq!(fs::read(at("kept")).unwrap(), b"mine");
    }
}
