//! The ports' suites over the wire: whoever uses a port cannot tell that it is far away.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::model::access::{Caller, Role};
use fapo_domain::model::finding::{Attribution, Finding};
use fapo_domain::model::session::{SessionId, SessionRecord};
use fapo_domain::model::task::Fence;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Findings;
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::{EvaluationId, JobId};
use fapo_rpc::{RemoteDiagnosis, RemoteOptimizer, RemoteTraces};
use fapo_store::SqliteStore;
use fapo_testkit::suites::Ports;
use fapo_testkit::suites::optimizer::{Callers, Optimizing};

use crate::world::{Setup, World};

/// What is read comes over the wire; what diagnosis writes goes to the store beside it, as in life.
struct Diagnosing {
    remote: RemoteDiagnosis,
    store: Arc<SqliteStore>,
}

#[async_trait]
impl Findings for Diagnosing {
    async fn record_attribution(
        &self,
        fence: Option<Fence>,
        evaluation: EvaluationId,
        findings: Vec<Finding>,
        attribution: &Attribution,
    ) -> Result<(), StoreError> {
        self.store
            .record_attribution(fence, evaluation, findings, attribution)
            .await
    }

    async fn attribution(
        &self,
        evaluation: EvaluationId,
    ) -> Result<Option<Attribution>, StoreError> {
        self.remote.attribution(evaluation).await
    }

    async fn findings(&self, evaluation: EvaluationId) -> Result<Vec<Finding>, StoreError> {
        self.remote.findings(evaluation).await
    }
}

#[async_trait]
impl Sessions for Diagnosing {
    async fn record_session(&self, record: SessionRecord) -> Result<(), StoreError> {
        self.store.record_session(record).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.remote.session(id).await
    }

    async fn sessions(&self, job: JobId) -> Result<Vec<SessionRecord>, StoreError> {
        self.remote.sessions(job).await
    }

    async fn find_sessions(
        &self,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        self.store.find_sessions(prefix, limit).await
    }
}

async fn open() -> anyhow::Result<Ports> {
    let world = World::new(Setup::default()).await?;
    let connection = world.connection(None)?;
    let traces = Arc::new(RemoteTraces::new(connection.clone()));
    let diagnosing = Arc::new(Diagnosing {
        remote: RemoteDiagnosis::new(connection),
        store: world.store.clone(),
    });
    let store = world.store.clone();
    Ok(Ports {
        clock: world.clock.clone(),
        blobs: store.clone(),
        datasets: store.clone(),
        variants: store.clone(),
        traces: traces.clone(),
        questions: traces,
        retention: store.clone(),
        scores: store.clone(),
        cache: store.clone(),
        ledger: store.clone(),
        tasks: store.clone(),
        jobs: store.clone(),
        findings: diagnosing.clone(),
        proposals: store.clone(),
        sessions: diagnosing,
        tokens: store.clone(),
        requests: store,
        keep: Box::new(world),
    })
}

fapo_testkit::store_suites!(over_grpc, open, [traces, questions, findings, sessions]);

/// Callers are who their tokens say; what the client's own value says is not believed.
async fn optimizing() -> anyhow::Result<Optimizing> {
    let setup = Setup {
        tokens: true,
        ..Setup::default()
    };
    let world = World::new(setup).await?;
    let caller = async |role, project: Option<&str>| {
        let credential = world.token(role, project, None).await?;
        anyhow::Ok(Caller {
            credential: Some(credential),
            ..Caller::local()
        })
    };
    let callers = Callers {
        viewer: caller(Role::Viewer, Some("qa")).await?,
        submitter: caller(Role::Submitter, Some("qa")).await?,
        stranger: caller(Role::Submitter, Some("other")).await?,
        anyone: caller(Role::Service, None).await?,
    };
    Ok(Optimizing {
        optimizer: Arc::new(RemoteOptimizer::new(world.connection(None)?)),
        callers,
        jobs: world.store.clone(),
        tasks: world.store.clone(),
        variants: world.store.clone(),
        keep: Box::new(world),
    })
}

fapo_testkit::optimizer_suite!(optimizer_over_grpc, optimizing);
