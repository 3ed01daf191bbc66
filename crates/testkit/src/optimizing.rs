//! What an `Optimizer` service needs besides a store: an intake that reads a project of one file, and a reporter of one line.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::hash::Hasher;
use fapo_domain::ids::JobId;
use fapo_domain::model::job::{JobGoal, JobSpec};
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::optimizer::{
    Manifest, OptimizerError, ProjectIntake, ReportFormat, Reporter,
};
use fapo_domain::ports::variants::Variants;
use fapo_domain::problem::{Problem, Problems, Severity};

use crate::sample;

/// The one file that [`ScriptedIntake`] reads: the project's name, or what is to go wrong (see [`PROBLEM`] and [`NO_MODELS`]).
pub const SETTINGS: &str = "fapo.yaml";

/// A [`SETTINGS`] that has a problem.
pub const PROBLEM: &str = "!problem";

/// A [`SETTINGS`] whose models cannot be called.
pub const NO_MODELS: &str = "!models";

/// Makes the sample job of whatever project [`SETTINGS`] names, and stores its baseline.
#[derive(Clone)]
pub struct ScriptedIntake {
    /// Where the files are.
    pub blobs: Arc<dyn Blobs>,
    /// Where the baseline goes.
    pub variants: Arc<dyn Variants>,
}

#[async_trait]
impl ProjectIntake for ScriptedIntake {
    async fn import(&self, files: &Manifest, goal: JobGoal) -> Result<JobSpec, OptimizerError> {
        if let Some(path) = files.0.keys().find(|path| path.contains("..")) {
            return Err(OptimizerError::Invalid {
                field: format!("files[{path}]"),
                message: "it leaves the folder".to_owned(),
            });
        }
        let Some(hash) = files.0.get(SETTINGS) else {
            return Err(OptimizerError::Project(problem("there is no fapo.yaml")));
        };
        let bytes = self.blobs.get_blobs(std::slice::from_ref(hash)).await?;
        let name = String::from_utf8_lossy(&bytes[0]).into_owned();
        match name.as_str() {
            PROBLEM => return Err(OptimizerError::Project(problem("it is a problem"))),
            NO_MODELS => {
                return Err(OptimizerError::Models {
                    message: "no key".to_owned(),
                });
            }
            _ => {}
        }
        let mut seal = Hasher::new("scripted-seal/v1");
        for (path, content) in &files.0 {
            seal.part(path.as_bytes()).hash(content);
        }
        let tree = sample::variant_tree("Answer.");
        self.variants.put_variant(&tree).await?;
        Ok(JobSpec {
            goal,
            seal: seal.finish(),
            ..sample::job_spec(&name)
        })
    }
}

fn problem(message: &str) -> Problems {
    let mut problems = Problems::new();
    problems.push(Problem {
        severity: Severity::Error,
        rule: "scripted".into(),
        file: SETTINGS.to_owned(),
        line: Some(1),
        column: None,
        path: None,
        message: message.to_owned(),
        help: None,
    });
    problems
}

/// Writes the job's id and the format.
#[derive(Debug, Clone, Copy, Default)]
pub struct LineReporter;

#[async_trait]
impl Reporter for LineReporter {
    async fn report(&self, id: JobId, format: ReportFormat) -> Result<Vec<u8>, OptimizerError> {
        Ok(format!("{id} {format:?}").into_bytes())
    }
}
