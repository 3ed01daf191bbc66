//! What is known of a job while its blocks run: its spec, its compiled variants, its bound on cases under way.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};

use fapo_domain::model::job::JobSpec;
use fapo_domain::model::task::Fence;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::work::WorkError;
use fapo_domain::{EvaluationId, JobId, Retry, VariantId};
use futures::future::try_join_all;
use tokio::sync::{OnceCell, Semaphore};

use crate::key::own_fingerprint;
use crate::plan::Plan;
use crate::recent::Recent;
use crate::retrieval::{Corpora, CorpusError};
use crate::run::{CallSite, Session};
use crate::service::Ports;

/// A job's spec and what was made of it.
pub(crate) struct JobContext {
    pub(crate) id: JobId,
    pub(crate) spec: JobSpec,
    /// One permit for each case that may be under way.
    pub(crate) permits: Semaphore,
    plans: Mutex<Recent<VariantId, Arc<OnceCell<Arc<Plan>>>>>,
}

/// Which runs a session is for.
pub(crate) struct SessionOf {
    pub(crate) fence: Fence,
    pub(crate) evaluation: EvaluationId,
    pub(crate) sample: u32,
    pub(crate) own: Option<EvaluationId>,
    /// Whether the step cache is read at all.
    pub(crate) read_cache: bool,
    /// Whether it is a block, whose calls follow each other under one claim.
    pub(crate) block: bool,
}

impl JobContext {
    pub(crate) fn new(id: JobId, spec: JobSpec) -> Self {
        let concurrency = spec.project.execution.concurrency.max(1) as usize;
        Self {
            id,
            spec,
            permits: Semaphore::new(concurrency),
            plans: Mutex::new(Recent::default()),
        }
    }

    /// A variant's plan, compiled once; `tree` fetches it where need be.
    pub(crate) async fn plan(
        &self,
        variant: VariantId,
        tree: impl AsyncFnOnce() -> Result<VariantTree, WorkError>,
    ) -> Result<Arc<Plan>, WorkError> {
        let cell = self
            .plans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(variant, || Arc::new(OnceCell::new()));
        cell.get_or_try_init(async || Ok(Arc::new(Plan::compile(&tree().await?, &self.spec)?)))
            .await
            .map(Arc::clone)
    }

    /// Makes ready what the runs of a block share: indices, and what is known of the step cache.
    pub(crate) async fn session<'a>(
        &'a self,
        ports: &'a Ports,
        corpora: &Corpora,
        plan: &'a Plan,
        of: SessionOf,
    ) -> Result<Session<'a>, WorkError> {
        let indices = try_join_all(
            plan.searches
                .iter()
                .map(|(corpus, fields)| corpora.index(corpus, *fields)),
        )
        .await
        .map_err(corpus_error)?;
        let calls = try_join_all(plan.fingerprints.iter().map(async |shared| {
            let fingerprint = match of.own {
                Some(own) => own_fingerprint(*shared, own),
                None => *shared,
            };
            let look_up = of.read_cache && ports.cache.has_any(fingerprint).await?;
            Ok(CallSite {
                fingerprint,
                look_up,
            })
        }))
        .await
        .map_err(|error: StoreError| {
            WorkError::from_port("the step cache cannot be read", error)
        })?;
        let project = &self.spec.project;
        Ok(Session {
            plan,
            indices,
            models: &*ports.models,
            code: &*ports.code,
            clock: &*ports.clock,
            limits: &project.limits,
            probe_depth: project.diagnosis.probe_depth as usize,
            job: self.id,
            fence: of.fence,
            waiting: of.block.then(AtomicUsize::default),
            evaluation: of.evaluation,
            sample: of.sample,
            calls,
            asked: of.read_cache.then(Mutex::default),
            stopping: AtomicBool::new(false),
            observer: None,
        })
    }
}

fn corpus_error(error: CorpusError) -> WorkError {
    match error {
        CorpusError::Store { hash, source } => {
            let message = format!("the corpus {} cannot be loaded", hash.short());
            WorkError::from_port(message, source)
        }
        CorpusError::Interrupted { .. } => WorkError::interrupted(),
        CorpusError::Unreadable { .. } | CorpusError::Count { .. } => WorkError {
            message: fapo_domain::error::chain(&error),
            code: fapo_domain::ErrorCode::Internal,
            retry: Retry::Never,
            reason: "CORPUS_DAMAGED",
            source: None,
        },
    }
}
