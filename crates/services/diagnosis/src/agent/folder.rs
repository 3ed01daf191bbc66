//! A session's folder, and the rules for what is read back from it.
//!
//! ```text
//! <scratch>/<session>/            0700, the owner's only
//! ├── home/                       the agent's HOME: writable, thrown away
//! ├── run/                        sockets: seen, not writable
//! └── work/                       where it starts: seen, not writable
//!     └── pipeline/               the variant's files: writable where the session may write
//! ```
//!
//! What comes back is untrusted. Nothing is followed: each file is opened below `work` without passing any link
//! (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`), so a link that is put in place while the tree is read leads
//! nowhere either. The rules, each with the lint that it is refused by:
//!
//! | found | what becomes of it |
//! |---|---|
//! | a plain file with a plain name | read; binary content, and size within the scope's caps, are the lints' affair |
//! | a file deleted, or renamed | the tree is without it, or has it under the new name: the difference shows it |
//! | a link, a device, a socket, a pipe | `special_file`; not read |
//! | a name that is not UTF-8, or holds control characters | `special_file`; not read |
//! | a file over [`MOST_FILE_BYTES`], files beyond [`MOST_FILES`] or [`MOST_BYTES`] in all | `too_large`; not read |
//! | a folder with more than is left of [`MOST_NAMES`] | `too_large`; nothing in it is read |
//! | anything beside `pipeline/` in `work` | `scope_file`; not read |
//! | modes, owners, times, empty folders | no part of a variant; dropped |

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::model::variant::VariantTree;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat};

use super::removal::remove_all;
use crate::lints::finding;

/// The variant's files in a session's working folder.
pub const PIPELINE: &str = "pipeline";
/// Largest file that is read back; the scope's own cap is far below.
pub const MOST_FILE_BYTES: u64 = 1024 * 1024;
/// Most files that are read back.
pub const MOST_FILES: usize = 2_000;
/// Most that is read back in all.
pub const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// Most names of files and folders that are looked at in all, and so in any one folder.
pub const MOST_NAMES: usize = 4_000;
/// Folders within folders.
const DEEPEST: usize = 16;

/// A session's folder. Dropping it removes everything in it.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes the folder and writes `tree` into it. A folder left there by a process that died is removed first.
    ///
    /// # Errors
    /// When it cannot be written, or a path of the tree leads out of it.
    pub fn lay(scratch: &Path, name: &str, tree: &VariantTree) -> io::Result<Self> {
        own_folder(scratch)?;
        let root = scratch.join(name);
        remove_all(&root)?;
        let mut private = std::fs::DirBuilder::new();
        private.mode(0o700);
        private.create(&root)?;
        let folder = Self { root };
        for part in [folder.home(), folder.run(), folder.work()] {
            private.create(part)?;
        }
        std::fs::create_dir(folder.pipeline())?;
        for (path, content) in tree.iter() {
            let relative = Path::new(path);
            let plain = relative
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            if !plain {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("the variant has a file outside its folder: {path}"),
                ));
            }
            let file = folder.pipeline().join(relative);
            if let Some(above) = file.parent() {
                std::fs::create_dir_all(above)?;
            }
            std::fs::write(file, content)?;
        }
        Ok(folder)
    }

    /// The agent's HOME.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Where sockets go.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Where the agent starts.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The variant's files.
    pub fn pipeline(&self) -> PathBuf {
        self.work().join(PIPELINE)
    }

    /// Reads the files back by the rules of this module.
    ///
    /// # Errors
    /// When the operating system fails; what the agent did wrong is a refusal.
    pub fn gather(work: &Path) -> io::Result<Gathered> {
        let mut gathered = Gathered::default();
        let root = openat2(
            CWD,
            work,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::empty(),
        )?;
        for entry in gathered.entries(&root, Path::new(""))? {
            if entry != PIPELINE {
                gathered.refuse(
                    Lint::ScopeFile,
                    &shown(Path::new(&entry)),
                    "outside pipeline/",
                );
            }
        }
        match below(&root, Path::new(PIPELINE), OFlags::DIRECTORY) {
            Ok(pipeline) => gathered.walk(&root, &pipeline, Path::new(PIPELINE), 0)?,
            Err(error) if is_gone_or_special(error) => gathered.refuse(
                Lint::SpecialFile,
                "pipeline",
                "the folder was removed, or replaced by something that is no folder",
            ),
            Err(error) => return Err(error.into()),
        }
        Ok(gathered)
    }
}

/// Makes the folder, its owner's only; one that is there must be that already. In a place that all may write to, a folder of
/// somebody else's would be theirs to change.
fn own_folder(folder: &Path) -> io::Result<()> {
    let mut private = std::fs::DirBuilder::new();
    match private.recursive(true).mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = std::fs::symlink_metadata(folder)?;
    let is_own = found.is_dir()
        && found.uid() == rustix::process::geteuid().as_raw()
        && found.mode() & 0o077 == 0;
    if is_own {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{} is somebody else's, or open to others", folder.display()),
    ))
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = remove_all(&self.root) {
            tracing::warn!(folder = %self.root.display(), %error, "a session's folder stays");
        }
    }
}

/// What was read back.
#[derive(Debug, Default, PartialEq)]
pub struct Gathered {
    /// The files.
    pub tree: VariantTree,
    /// What is refused, by path.
    pub refusals: Vec<LintFinding>,
    /// Bytes of the files.
    bytes: u64,
    /// Names that were looked at.
    names: usize,
}

impl Gathered {
    fn refuse(&mut self, lint: Lint, place: &str, message: impl Into<String>) {
        // the first hundred say enough
        if self.refusals.len() < 100 {
            self.refusals.push(finding(lint, place, message));
        }
    }

    fn walk(
        &mut self,
        root: &OwnedFd,
        folder: &OwnedFd,
        path: &Path,
        depth: usize,
    ) -> io::Result<()> {
        if depth > DEEPEST {
            self.refuse(Lint::TooLarge, &shown(path), "folders nested too deeply");
            return Ok(());
        }
        for name in self.entries(folder, path)? {
            let at = path.join(&name);
            let place = shown(&at);
            let is_plain_name = name
                .to_str()
                .is_some_and(|name| !name.chars().any(char::is_control));
            if !is_plain_name {
                self.refuse(
                    Lint::SpecialFile,
                    &place,
                    "its name is not UTF-8, or holds control characters",
                );
                continue;
            }
            let kind = match statat(folder, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => FileType::from_raw_mode(found.st_mode),
                // gone since it was listed
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            match kind {
                FileType::Directory => match below(root, &at, OFlags::DIRECTORY) {
                    Ok(inner) => self.walk(root, &inner, &at, depth + 1)?,
                    Err(error) if is_gone_or_special(error) => {}
                    Err(rustix::io::Errno::ACCESS) => {
                        self.refuse(Lint::SpecialFile, &place, "a folder that cannot be read");
                    }
                    Err(error) => return Err(error.into()),
                },
                FileType::RegularFile => self.read(root, &at, &place)?,
                FileType::Symlink => {
                    self.refuse(Lint::SpecialFile, &place, "a symbolic link");
                }
                _ => self.refuse(
                    Lint::SpecialFile,
                    &place,
                    "not a plain file (a device, a socket or a pipe)",
                ),
            }
        }
        Ok(())
    }

    /// The names in a folder; none where they are more than may still be looked at. Which of them would be listed first is
    /// chance, so a part of them says nothing.
    fn entries(&mut self, folder: &OwnedFd, path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
        if let Some(names) = entries(folder, MOST_NAMES - self.names)? {
            self.names += names.len();
            return Ok(names);
        }
        let message = format!("over {MOST_NAMES} files and folders in all");
        self.refuse(Lint::TooLarge, &format!("{}/", shown(path)), message);
        Ok(Vec::new())
    }

    fn read(&mut self, root: &OwnedFd, at: &Path, place: &str) -> io::Result<()> {
        if self.tree.len() >= MOST_FILES {
            self.refuse(Lint::TooLarge, place, format!("over {MOST_FILES} files"));
            return Ok(());
        }
        // NONBLOCK: whatever it is by now, opening it does not wait
        let file = match below(root, at, OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(error) if is_gone_or_special(error) => return Ok(()),
            Err(rustix::io::Errno::ACCESS) => {
                self.refuse(Lint::SpecialFile, place, "a file that cannot be read");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let file = std::fs::File::from(file);
        if !file.metadata()?.is_file() {
            self.refuse(Lint::SpecialFile, place, "not a plain file");
            return Ok(());
        }
        let mut content = Vec::new();
        let left = MOST_BYTES - self.bytes;
        let most = MOST_FILE_BYTES.min(left);
        file.take(most + 1).read_to_end(&mut content)?;
        let size = content.len() as u64;
        if size > most {
            let message = if size > MOST_FILE_BYTES {
                format!("over {MOST_FILE_BYTES} bytes")
            } else {
                format!("over {MOST_BYTES} bytes in all")
            };
            self.refuse(Lint::TooLarge, place, message);
            return Ok(());
        }
        self.bytes += size;
        let Some(relative) = at.strip_prefix(PIPELINE).ok().and_then(Path::to_str) else {
            return Ok(());
        };
        self.tree.insert(relative, content);
        Ok(())
    }
}

/// Opens a path below `root`, without passing a link.
fn below(root: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat2(
        root,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

/// It was removed or replaced while the tree was read; what replaced it is met when it is listed, or the next time.
fn is_gone_or_special(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO | Errno::ISDIR
    )
}

/// The names in a folder, in order; `None` where they are more than `most`.
fn entries(folder: &OwnedFd, most: usize) -> io::Result<Option<Vec<std::ffi::OsString>>> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            if names.len() == most {
                return Ok(None);
            }
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(Some(names))
}

/// A path for a message: nothing in it can play with a terminal.
fn shown(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Puts files into a session's home, each readable by its owner only.
///
/// # Errors
/// When they cannot be written.
pub fn put_home(home: &Path, files: &[(String, String)]) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    // a shell of the agent's may have closed it, or put a folder where a file goes
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700))?;
    for (name, content) in files {
        let path = home.join(name);
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above)?;
        }
        // what the agent may have put there meanwhile is removed, not followed
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
                remove_all(&path)?;
            }
            Err(error) => return Err(error),
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        std::io::Write::write_all(&mut file, content.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    mod bounds;

    use std::os::unix::ffi::OsStringExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::testing::tree;

    /// A place of our own, as the product makes it.
    fn place() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn laid() -> (tempfile::TempDir, Folder) {
        let scratch = place();
        let tree = tree(&[("pipeline.yaml", "steps: []\n"), ("prompts/a.md", "hello")]);
        let folder = Folder::lay(scratch.path(), "s", &tree).unwrap();
        (scratch, folder)
    }

    fn refusals(gathered: &Gathered) -> Vec<(Lint, &str)> {
        gathered
            .refusals
            .iter()
            .map(|finding| (finding.lint, finding.place.as_str()))
            .collect()
    }

    #[test]
    fn what_was_laid_is_gathered() {
        let (_scratch, folder) = laid();
        let gathered = Folder::gather(&folder.work()).unwrap();
        assert_eq!(gathered.refusals, vec![]);
        assert_eq!(gathered.tree.text("prompts/a.md"), Some("hello"));
        assert_eq!(gathered.tree.len(), 2);
    }

    #[test]
    fn files_changed_added_removed_and_renamed_are_the_tree() {
        let (_scratch, folder) = laid();
        let pipeline = folder.pipeline();
        std::fs::rename(pipeline.join("prompts/a.md"), pipeline.join("prompts/b.md")).unwrap();
        std::fs::remove_file(pipeline.join("pipeline.yaml")).unwrap();
        std::fs::create_dir_all(pipeline.join("steps/empty")).unwrap();
        std::fs::write(pipeline.join("steps/x.py"), [0xff, 0xfe]).unwrap();
        std::fs::set_permissions(
            pipeline.join("steps/x.py"),
            std::fs::Permissions::from_mode(0o6777),
        )
        .unwrap();
        let gathered = Folder::gather(&folder.work()).unwrap();
        assert_eq!(gathered.refusals, vec![]);
        let paths: Vec<&str> = gathered.tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, vec!["prompts/b.md", "steps/x.py"]);
    }

    #[test]
    fn links_and_other_special_files_are_refused_and_never_read() {
        let (scratch, folder) = laid();
        let secret = scratch.path().join("secret");
        std::fs::create_dir(&secret).unwrap();
        std::fs::write(secret.join("key"), "sk-secret").unwrap();
        let pipeline = folder.pipeline();
        symlink(secret.join("key"), pipeline.join("prompts/link.md")).unwrap();
        symlink(&secret, pipeline.join("folder")).unwrap();
        symlink("nowhere", pipeline.join("dangling")).unwrap();
        std::fs::remove_file(pipeline.join("prompts/a.md")).unwrap();
        symlink(secret.join("key"), pipeline.join("prompts/a.md")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(pipeline.join("socket")).unwrap();
        rustix::fs::mknodat(
            CWD,
            pipeline.join("pipe"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let gathered = Folder::gather(&folder.work()).unwrap();
        assert_eq!(
            refusals(&gathered),
            vec![
                (Lint::SpecialFile, "pipeline/dangling"),
                (Lint::SpecialFile, "pipeline/folder"),
                (Lint::SpecialFile, "pipeline/pipe"),
                (Lint::SpecialFile, "pipeline/prompts/a.md"),
                (Lint::SpecialFile, "pipeline/prompts/link.md"),
                (Lint::SpecialFile, "pipeline/socket"),
            ]
        );
        let all: Vec<&[u8]> = gathered.tree.iter().map(|(_, c)| c.as_ref()).collect();
        assert!(all.iter().all(|content| !content.starts_with(b"sk-")));
    }

    #[test]
    fn the_pipeline_folder_itself_may_not_become_a_link() {
        let (scratch, folder) = laid();
        let elsewhere = scratch.path().join("elsewhere");
        std::fs::rename(folder.pipeline(), &elsewhere).unwrap();
        symlink(&elsewhere, folder.pipeline()).unwrap();
        let gathered = Folder::gather(&folder.work()).unwrap();
        assert_eq!(refusals(&gathered), vec![(Lint::SpecialFile, "pipeline")]);
        assert!(gathered.tree.is_empty());
    }

    #[test]
    fn files_beside_the_pipeline_are_out_of_scope() {
        let (_scratch, folder) = laid();
        std::fs::write(folder.work().join("fapo.yaml"), "name: mine").unwrap();
        let gathered = Folder::gather(&folder.work()).unwrap();
        assert_eq!(refusals(&gathered), vec![(Lint::ScopeFile, "fapo.yaml")]);
        assert_eq!(gathered.tree.len(), 2);
    }

    #[test]
    fn odd_names_and_large_files_are_refused() {
        let (_scratch, folder) = laid();
        let odd = std::ffi::OsString::from_vec(vec![b'a', 0xff]);
        std::fs::write(folder.pipeline().join(odd), "x").unwrap();
        std::fs::write(folder.pipeline().join("a\u{1b}[2J"), "x").unwrap();
        let large = std::fs::File::create(folder.pipeline().join("large.md")).unwrap();
        large.set_len(MOST_FILE_BYTES + 1).unwrap();
        let gathered = Folder::gather(&folder.work()).unwrap();
        let lints: Vec<Lint> = gathered.refusals.iter().map(|one| one.lint).collect();
        assert_eq!(
            lints,
            vec![Lint::SpecialFile, Lint::SpecialFile, Lint::TooLarge]
        );
        let shown = format!("{:?}", gathered.refusals);
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert_eq!(gathered.tree.len(), 2);
    }

    #[test]
    fn the_folder_goes_with_its_owner_even_where_it_was_locked() {
        let (scratch, folder) = laid();
        let locked = folder.pipeline().join("prompts");
        std::fs::set_permissions(locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        drop(folder);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_place_that_is_open_to_others_is_not_used() {
        let scratch = place();
        let open = scratch.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        symlink(scratch.path(), scratch.path().join("link")).unwrap();
        for place in ["open", "link"] {
            let error = Folder::lay(&scratch.path().join(place), "s", &tree(&[])).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{place}");
        }
    }

    #[test]
    fn a_tree_that_leads_out_of_its_folder_is_not_written() {
        let scratch = place();
        for path in ["../evil", "/etc/evil", "a/../../evil"] {
            let error = Folder::lay(scratch.path(), "s", &tree(&[(path, "x")])).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }
}
