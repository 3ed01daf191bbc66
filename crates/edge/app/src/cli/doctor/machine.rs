//! The folder and the disk.

use std::io::Write as _;
use std::path::Path;

use super::finding::Finding;
use crate::output::format;

/// Free bytes below which a person is warned: a long job with long texts may need that much.
const LITTLE_SPACE: u64 = 500 * 1024 * 1024;

/// Tries what every job does: make files in the project's `.fapo`. Nothing is left behind.
pub fn writable(dir: &Path) -> Finding {
    let store = dir.join(".fapo");
    let place = if store.is_dir() {
        store
    } else {
        dir.to_owned()
    };
    let tried = tempfile::NamedTempFile::new_in(&place).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.as_file().sync_all()
    });
    match tried {
        Ok(()) => Finding::fine("folder", format!("{} can be written", place.display())),
        Err(error) => Finding::missing(
            "folder",
            format!("{} cannot be written: {error}", place.display()),
            format!(
                "chown or chmod it, or free some space: ls -ld {0}; df -h {0}",
                place.display()
            ),
        ),
    }
}

/// How much room there is.
#[cfg(unix)]
pub fn space(dir: &Path) -> Option<Finding> {
    let system = rustix::fs::statvfs(dir).ok()?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let text = format!("{} MB free", format::count(free / 1024 / 1024));
    Some(if free < LITTLE_SPACE {
        Finding::note("disk", text, format!("make room: df -h {}", dir.display()))
    } else {
        Finding::fine("disk", text)
    })
}

/// How much room there is: not told here.
#[cfg(not(unix))]
pub fn space(_dir: &Path) -> Option<Finding> {
    None
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(writable(dir.path()).level, Level::Ok);
        assert_eq!(writable(&dir.path().join("absent")).level, Level::Missing);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "nothing is left behind"
        );
    }
}
