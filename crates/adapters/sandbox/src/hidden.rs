//! Folders that are kept from every process although they lie within what every process is shown.

use std::io;
use std::path::{Path, PathBuf};

use fapo_domain::ports::sandbox::Mount;

use crate::bubblewrap::{ETC, SYSTEM};

/// Where the hidden folders would be seen inside, because they lie within a folder of the system's.
///
/// # Errors
/// A hidden folder is a folder of the system's itself: no program would be left.
pub(crate) fn covered(hidden: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut places = Vec::new();
    for shown in SYSTEM.iter().chain(ETC).map(Path::new) {
        // where it really is; one that leads elsewhere shows the same files
        let Ok(real) = std::fs::canonicalize(shown) else {
            continue;
        };
        for folder in hidden {
            let Ok(rest) = folder.strip_prefix(&real) else {
                continue;
            };
            if rest.as_os_str().is_empty() {
                return Err(refused(format!(
                    "the project is the folder {}, which holds the system's programs and is shown to every session; \
                     move it to a folder of its own",
                    folder.display()
                )));
            }
            let is_link =
                shown.is_symlink() && SYSTEM.iter().any(|system| shown == Path::new(system));
            // inside, too, such a folder is a link: to one that has its own turn
            if !is_link {
                places.push(shown.join(rest));
            }
        }
    }
    Ok(places)
}

/// Why a process cannot be kept from the hidden folders without namespaces; `None` where it can: there is only Landlock
/// then, which takes nothing out of a folder that may be read.
pub(crate) fn open_without_namespaces(hidden: &[PathBuf]) -> Option<String> {
    let systems = SYSTEM.iter().chain(ETC);
    let real: Vec<PathBuf> = systems
        .filter_map(|path| std::fs::canonicalize(path).ok())
        .collect();
    let open = hidden
        .iter()
        .find(|folder| real.iter().any(|system| folder.starts_with(system)))?;
    Some(format!(
        "the project {} lies within a folder of the system's, which every session may read, and without namespaces it \
         cannot be hidden; move the project elsewhere, say below /srv or /home",
        open.display()
    ))
}

/// Refuses a mount that would show a hidden folder.
pub(crate) fn check(mount: &Mount, hidden: &[PathBuf]) -> io::Result<()> {
    let Some(folder) = within(&mount.host, hidden) else {
        return Ok(());
    };
    Err(refused(shows(&mount.host, folder)))
}

/// The hidden folder that `host` would show.
pub(crate) fn within<'a>(host: &Path, hidden: &'a [PathBuf]) -> Option<&'a Path> {
    let real = std::fs::canonicalize(host).ok()?;
    let found = hidden.iter().find(|folder| folder.starts_with(&real));
    found.map(PathBuf::as_path)
}

/// That `host` would show `folder`, and what to do.
pub(crate) fn shows(host: &Path, folder: &Path) -> String {
    format!(
        "{} would be shown to the session, and the project {} lies within it; move the project out of it, or install the \
         program (the agent, or Python and its packages) elsewhere",
        host.display(),
        folder.display()
    )
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(path: &str) -> PathBuf {
        std::fs::canonicalize(path).unwrap()
    }

    #[test]
    fn only_what_lies_within_the_systems_folders_is_covered() {
        let elsewhere = tempfile::tempdir().unwrap();
        let within = real("/usr").join("src/app");
        let hidden = [real(elsewhere.path().to_str().unwrap()), within.clone()];
        assert_eq!(covered(&hidden).unwrap(), [within]);
        assert_eq!(open_without_namespaces(&hidden[..1]), None);
        let why = open_without_namespaces(&hidden).unwrap();
        assert!(
            why.contains("/usr/src/app") && why.contains("move"),
            "{why}"
        );
    }

    #[test]
    fn a_folder_of_the_systems_itself_cannot_be_hidden() {
        let error = covered(&[real("/usr")]).unwrap_err().to_string();
        assert!(error.contains("move it"), "{error}");
    }

    #[test]
    fn a_mount_may_lie_within_a_hidden_folder_and_not_around_it() {
        let outer = tempfile::tempdir().unwrap();
        let project = real(outer.path().to_str().unwrap()).join("project");
        let inner = project.join(".venv");
        std::fs::create_dir_all(&inner).unwrap();
        let link = outer.path().join("link");
        std::os::unix::fs::symlink(outer.path(), &link).unwrap();
        let hidden = [project.clone()];
        assert!(check(&Mount::same(inner), &hidden).is_ok());
        for around in [outer.path(), &link, &project, Path::new("/")] {
            let error = check(&Mount::same(around), &hidden).unwrap_err();
            assert!(error.to_string().contains("move the project"), "{error}");
        }
    }
}
