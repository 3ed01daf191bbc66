//! The service under test with what stands behind it, and what a client and an orchestrator do to it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fapo_domain::error::Classified;
use fapo_domain::hash::ContentHash;
use fapo_domain::ids::JobId;
use fapo_domain::model::access::Caller;
use fapo_domain::model::job::{JobEvent, JobGoal, JobStatus};
use fapo_domain::ports::jobs::{Jobs, Tick};
use fapo_domain::ports::optimizer::{
    JobSummary, Manifest, Optimizer, OptimizerError, ReportFormat, Submission,
};
use fapo_domain::ports::tasks::Tasks;
use fapo_domain::ports::variants::Variants;
use serde_json::{Value, json};

use crate::optimizing::SETTINGS;
use crate::sample;
use crate::suites::jobs::tick;

/// A service with an intake like [`crate::optimizing::ScriptedIntake`] and a reporter like
/// [`crate::optimizing::LineReporter`], and what stands behind it.
pub struct Optimizing {
    /// The service, or a client of it.
    pub optimizer: Arc<dyn Optimizer>,
    /// Who calls it.
    pub callers: Callers,
    /// Its job rows.
    pub jobs: Arc<dyn Jobs>,
    /// Its task rows.
    pub tasks: Arc<dyn Tasks>,
    /// Its trees.
    pub variants: Arc<dyn Variants>,
    /// Whatever must live as long.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// One caller of each kind, as the service under test knows them.
#[derive(Debug, Clone)]
pub struct Callers {
    /// A viewer of the project `qa`.
    pub viewer: Caller,
    /// A submitter of the project `qa`.
    pub submitter: Caller,
    /// A submitter of the project `other`.
    pub stranger: Caller,
    /// May do everything in every project.
    pub anyone: Caller,
}

impl Callers {
    /// Callers without credentials, for a service in the same process.
    pub fn local() -> Self {
        use fapo_domain::model::access::Role::{Submitter, Viewer};
        let of = |name: &str, role, project: &str| Caller {
            name: name.into(),
            role,
            project: Some(project.into()),
            credential: None,
        };
        Self {
            viewer: of("viewer", Viewer, "qa"),
            submitter: of("submitter", Submitter, "qa"),
            stranger: of("stranger", Submitter, "other"),
            anyone: Caller::local(),
        }
    }
}

impl Optimizing {
    pub(super) async fn upload(&self, text: &str) -> Result<ContentHash> {
        let contents = vec![Arc::from(text.as_bytes())];
        let hashes = self
            .optimizer
            .upload_blobs(&self.callers.anyone, contents)
            .await?;
        Ok(hashes[0])
    }

    /// A submission of the project `name` whose `fapo.yaml` reads `settings`; its file is there.
    pub(super) async fn submission(
        &self,
        request: &str,
        name: &str,
        settings: &str,
    ) -> Result<Submission> {
        let hash = self.upload(settings).await?;
        Ok(Submission {
            request_id: request.to_owned(),
            project: name.to_owned(),
            files: Manifest(BTreeMap::from([(SETTINGS.to_owned(), hash)])),
            goal: JobGoal::Optimize,
        })
    }

    pub(super) async fn submitted(&self, request: &str, name: &str) -> Result<JobSummary> {
        let submission = self.submission(request, name, name).await?;
        let submit = self
            .optimizer
            .submit(&self.callers.anyone, submission, None);
        Ok(submit.await?)
    }

    /// Plays a tick of the job: what `change` makes of one that changes nothing.
    pub(super) async fn ticked(&self, id: JobId, change: impl FnOnce(&mut Tick)) -> Result<()> {
        let job = self.jobs.get_job(id).await?;
        let mut tick = Tick {
            state: job.state,
            ..tick(id, job.version)
        };
        change(&mut tick);
        self.jobs.commit_tick(tick).await?;
        Ok(())
    }

    pub(super) async fn said(&self, id: JobId, events: Vec<Value>) -> Result<()> {
        self.ticked(id, |tick| tick.events = events).await
    }

    pub(super) async fn ended(&self, id: JobId, status: JobStatus) -> Result<()> {
        self.ticked(id, |tick| {
            tick.status = status;
            tick.events = vec![json!({ "end": true })];
        })
        .await
    }

    pub(super) async fn events(
        &self,
        id: JobId,
        after: u64,
        wait: Duration,
    ) -> Result<Vec<JobEvent>> {
        let caller = &self.callers.viewer;
        Ok(self.optimizer.events(caller, id, after, 100, wait).await?)
    }

    /// Every call about a job, by that caller; reads first.
    pub(super) async fn calls(
        &self,
        caller: &Caller,
        id: JobId,
    ) -> Vec<(&'static str, Option<String>)> {
        fn of<T>(result: Result<T, OptimizerError>) -> Option<String> {
            result.err().map(|error| error.reason().to_owned())
        }
        let service = &self.optimizer;
        let baseline = sample::variant_tree("Answer.").id();
        let events = service.events(caller, id, 0, 1, Duration::ZERO).await;
        let report = service.report(caller, id, ReportFormat::Json).await;
        vec![
            ("job", of(service.job(caller, id).await)),
            ("events", of(events)),
            ("lineage", of(service.lineage(caller, id).await)),
            ("variant", of(service.variant(caller, id, baseline).await)),
            ("report", of(report)),
            ("dead_tasks", of(service.dead_tasks(caller, id).await)),
            ("pause", of(service.set_paused(caller, id, true).await)),
            ("resume", of(service.set_paused(caller, id, false).await)),
            ("retry", of(service.retry_dead_tasks(caller, id).await)),
            ("cancel", of(service.cancel(caller, id).await)),
        ]
    }
}
