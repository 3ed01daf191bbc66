//! Makes a job of an uploaded project, as `fapo check` and `fapo optimize` do of a folder: its files are written into a private
//! folder, read from there by the same code, and the folder is removed. So the same project gives the same job on either way.
//!
//! Uploaded paths are text from outside: each is held against [`check_paths`] before anything is written. So are the paths in
//! `fapo.yaml`: one that leaves the folder would be a file of the server.

use std::path::{Component, Path};
use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::ContentHash;
use fapo_domain::model::job::{JobGoal, JobSpec};
use fapo_domain::model::project::ProposerBackend;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::optimizer::{Manifest, OptimizerError, ProjectIntake};
use fapo_domain::problem::Problems;
use fapo_llm::EnvLookup;
use tempfile::TempDir;

use crate::cli::advice::explain;
use crate::ports::Ports;
use crate::project::{
    ImportError, LoadError, LoadedProject, files_outside, import_project, load_project,
};
use crate::wiring::Callable;

/// Files of a project.
const MOST_FILES: usize = 10_000;
/// Bytes of a path.
const LONGEST_PATH: usize = 512;
/// The price table of a project, which counts in its own folder only: a server has one for all.
const PRICES: &str = "prices.toml";

/// Reads uploaded projects.
pub struct Intake {
    ports: Ports,
    lookup: EnvLookup,
    callable: Arc<Callable>,
    most_bytes: u64,
}

impl Intake {
    /// The bytes of all files that a project may have, unless told otherwise.
    pub const MOST_BYTES: u64 = 1 << 30;

    /// An intake that stores through `ports`, and takes a project only where `callable` can call what it names. Of the server's
    /// variables a project sees those that `lookup` gives, and no others.
    pub fn new(ports: Ports, lookup: EnvLookup, callable: Arc<Callable>) -> Self {
        Self {
            ports,
            lookup,
            callable,
            most_bytes: Self::MOST_BYTES,
        }
    }

    /// With another bound on the bytes of all files.
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// Writes the files of a manifest into a folder that only this process's user may enter.
    async fn unpack(&self, files: &Manifest) -> Result<TempDir, OptimizerError> {
        let folder = tempfile::Builder::new()
            .prefix("fapo-intake-")
            .tempdir()
            .map_err(unwritable)?;
        let mut left = self.most_bytes;
        // one at a time: a data file is long, and memory holds one of them
        for (path, hash) in &files.0 {
            if path == PRICES {
                continue;
            }
            let content = fetch(&*self.ports.blobs, *hash).await?;
            left = left
                .checked_sub(content.len() as u64)
                .ok_or_else(|| self.too_large())?;
            let target = folder.path().join(path);
            if let Some(parent) = target.parent() {
                tokio::fs::create_dir_all(parent)
                    .await
                    .map_err(unwritable)?;
            }
            tokio::fs::write(&target, &content)
                .await
                .map_err(unwritable)?;
        }
        Ok(folder)
    }

    fn too_large(&self) -> OptimizerError {
        invalid(
            "files",
            format!(
                "the project's files are more than {} MB together, which is what this server takes",
                self.most_bytes / 1_000_000
            ),
        )
    }

    async fn load(&self, folder: &Path) -> Result<LoadedProject, OptimizerError> {
        let (folder, lookup) = (folder.to_owned(), Arc::clone(&self.lookup));
        let loaded = tokio::task::spawn_blocking(move || {
            // before any file is opened by the name that fapo.yaml has for it
            let outside = outside(&folder);
            if outside.has_errors() {
                return Err(LoadError::Problems(outside));
            }
            load_project(&folder, &|name| lookup(name))
        });
        match loaded.await {
            Ok(Ok(project)) => Ok(project),
            Ok(Err(LoadError::Problems(problems))) => Err(OptimizerError::Project(problems)),
            Ok(Err(LoadError::NoProject { .. })) => {
                Err(invalid("files", "there is no fapo.yaml among them"))
            }
            Ok(Err(error @ LoadError::Read { .. })) => {
                Err(internal("an uploaded file cannot be read back", error))
            }
            Err(error) => Err(internal("reading the project broke off", error)),
        }
    }
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake")
            .field("most_bytes", &self.most_bytes)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ProjectIntake for Intake {
    async fn import(&self, files: &Manifest, goal: JobGoal) -> Result<JobSpec, OptimizerError> {
        check_paths(files)?;
        let folder = self.unpack(files).await?;
        let project = self.load(folder.path()).await?;
        if project.spec.proposer.backend == ProposerBackend::Replay {
            // what was recorded is no part of a job, so only the process that holds the folder can replay it
            return Err(OptimizerError::Models {
                message: "`proposer.backend: replay` works with `fapo optimize` only".to_owned(),
            });
        }
        // before anything is stored
        let called = self.callable.check(&project.spec, &goal, &project.pipeline);
        called.await.map_err(|error| OptimizerError::Models {
            message: explain(&error),
        })?;
        let imported = import_project(&project, &self.ports, goal).await;
        remove(folder).await;
        match imported {
            Ok(imported) => Ok(imported.spec),
            Err(ImportError::Problems(problems)) => Err(OptimizerError::Project(problems)),
            Err(ImportError::Store(error)) => Err(error.into()),
        }
    }
}

/// Refuses a manifest that could write anywhere but into its folder, or is too large to be a project.
///
/// # Errors
/// [`OptimizerError::Invalid`], with the path as its field.
pub fn check_paths(files: &Manifest) -> Result<(), OptimizerError> {
    if files.0.len() > MOST_FILES {
        let given = files.0.len();
        return Err(invalid(
            "files",
            format!("there are {given}; a project has at most {MOST_FILES}"),
        ));
    }
    for path in files.0.keys() {
        if let Some(message) = fault(path) {
            return Err(invalid(&format!("files[{path:?}]"), message));
        }
        let mut parent = path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            if files.0.contains_key(above) {
                let message = format!("{above:?} is a file already, and cannot be a folder too");
                return Err(invalid(&format!("files[{path:?}]"), message));
            }
            parent = above;
        }
    }
    Ok(())
}

/// What is wrong with a path; `None` where it names a file inside the folder and nothing else.
fn fault(path: &str) -> Option<&'static str> {
    if path.is_empty() || path.len() > LONGEST_PATH {
        return Some("a path has 1 to 512 bytes");
    }
    if path.contains('\\') || path.chars().any(char::is_control) {
        return Some("write `/` between the parts, and no control characters");
    }
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    // what this system reads as a root or a drive is not plain, whatever it looks like
    let is_normal = |part: Component<'_>| matches!(part, Component::Normal(_));
    if !path.split('/').all(is_plain) || !Path::new(path).components().all(is_normal) {
        return Some("a path is relative to the project folder, and stays in it");
    }
    if path.split('/').next() == Some(".fapo") {
        return Some("`.fapo` holds what fapo stores, and is no part of a project");
    }
    None
}

/// What fapo.yaml names and was not uploaded with it, because it lies elsewhere. Without a fapo.yaml that can be read it names
/// nothing, and who reads the project says so.
fn outside(folder: &Path) -> Problems {
    std::fs::read_to_string(folder.join("fapo.yaml"))
        .map_or_else(|_| Problems::new(), |text| files_outside(&text))
}

async fn fetch(blobs: &dyn Blobs, hash: ContentHash) -> Result<Arc<[u8]>, OptimizerError> {
    match blobs.get_blobs(&[hash]).await {
        Ok(mut contents) => contents.pop().ok_or(OptimizerError::Internal {
            message: "the store gave no content for a hash".to_owned(),
            source: None,
        }),
        Err(StoreError::NotFound { .. }) => Err(OptimizerError::MissingBlobs {
            missing: vec![hash],
        }),
        Err(error) => Err(error.into()),
    }
}

/// Removes the folder off the runtime's threads: it may hold many files. What cannot be removed is warned of.
async fn remove(folder: TempDir) {
    let path = folder.path().to_owned();
    let removed = tokio::task::spawn_blocking(move || folder.close()).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(folder = %path.display(), %error, "an uploaded project's folder stays");
    }
}

fn invalid(field: &str, message: impl Into<String>) -> OptimizerError {
    OptimizerError::Invalid {
        field: field.to_owned(),
        message: message.into(),
    }
}

fn unwritable(source: std::io::Error) -> OptimizerError {
    internal(
        "an uploaded project cannot be written down to be read",
        source,
    )
}

fn internal<E>(message: &str, source: E) -> OptimizerError
where
    E: std::error::Error + Send + Sync + 'static,
{
    OptimizerError::Internal {
        message: message.to_owned(),
        source: Some(Box::new(source)),
    }
}

#[cfg(test)]
mod tests;
