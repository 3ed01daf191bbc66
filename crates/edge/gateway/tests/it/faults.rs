//! An Optimizer that hangs, panics or fails, and what clients hear of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::hash::ContentHash;
use fapo_domain::ids::{JobId, VariantId};
use fapo_domain::model::access::Caller;
use fapo_domain::model::job::JobEvent;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::optimizer::{
    JobFilter, JobLineage, JobSummary, Optimizer, OptimizerError, ReportFormat, Submission,
};
use fapo_domain::ports::tasks::DeadTask;
use fapo_gateway::{GatewayConfig, GatewayLimits};
use tokio::sync::Semaphore;

use crate::client::Ask;
use crate::world::{Setup, World};

/// Has a permit for each listing of the project `slow` that began.
pub static SLOW_BEGAN: Semaphore = Semaphore::const_new(0);

/// Listing jobs goes wrong in the way that the filter's project names; everything else is refused.
pub struct Faulty;

fn secret() -> Box<dyn std::error::Error + Send + Sync> {
    "connection to postgres://fapo:hunter2@db refused".into()
}

fn refused<T>() -> Result<T, OptimizerError> {
    Err(OptimizerError::State {
        message: "this double only lists".to_owned(),
    })
}

#[async_trait]
impl Optimizer for Faulty {
    async fn jobs(
        &self,
        _: &Caller,
        filter: &JobFilter,
    ) -> Result<Vec<JobSummary>, OptimizerError> {
        match filter.project.as_deref() {
            Some("hang") => std::future::pending().await,
            Some("slow") => {
                SLOW_BEGAN.add_permits(1);
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(Vec::new())
            }
            Some("panic") => panic!("hunter2"),
            Some("corrupt") => Err(OptimizerError::Store(StoreError::Corrupt {
                operation: "list jobs",
                source: secret(),
            })),
            Some("full") => Err(OptimizerError::Store(StoreError::Unwritable {
                place: "/var/lib/hunter2".to_owned(),
                source: secret(),
            })),
            Some("away") => Err(OptimizerError::Store(StoreError::Unavailable {
                operation: "list jobs",
                source: secret(),
            })),
            _ => Ok(Vec::new()),
        }
    }

    async fn missing_blobs(
        &self,
        _: &Caller,
        _: &[ContentHash],
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        refused()
    }

    async fn upload_blobs(
        &self,
        _: &Caller,
        _: Vec<Arc<[u8]>>,
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        refused()
    }

    async fn submit(
        &self,
        _: &Caller,
        _: Submission,
        _: Option<TraceParent>,
    ) -> Result<JobSummary, OptimizerError> {
        refused()
    }

    async fn job(&self, _: &Caller, _: JobId) -> Result<JobSummary, OptimizerError> {
        refused()
    }

    async fn cancel(&self, _: &Caller, _: JobId) -> Result<JobSummary, OptimizerError> {
        refused()
    }

    async fn set_paused(
        &self,
        _: &Caller,
        _: JobId,
        _: bool,
    ) -> Result<JobSummary, OptimizerError> {
        refused()
    }

    async fn events(
        &self,
        _: &Caller,
        _: JobId,
        _: u64,
        _: u32,
        _: Duration,
    ) -> Result<Vec<JobEvent>, OptimizerError> {
        refused()
    }

    async fn lineage(&self, _: &Caller, _: JobId) -> Result<JobLineage, OptimizerError> {
        refused()
    }

    async fn variant(
        &self,
        _: &Caller,
        _: JobId,
        _: VariantId,
    ) -> Result<VariantTree, OptimizerError> {
        refused()
    }

    async fn report(
        &self,
        _: &Caller,
        _: JobId,
        _: ReportFormat,
    ) -> Result<Vec<u8>, OptimizerError> {
        refused()
    }

    async fn dead_tasks(&self, _: &Caller, _: JobId) -> Result<Vec<DeadTask>, OptimizerError> {
        refused()
    }

    async fn retry_dead_tasks(&self, _: &Caller, _: JobId) -> Result<u64, OptimizerError> {
        refused()
    }
}

/// A world with the faulty Optimizer.
pub async fn world(limits: GatewayLimits) -> anyhow::Result<World> {
    World::with(Setup {
        config: GatewayConfig {
            limits,
            ..GatewayConfig::default()
        },
        wrap: Some(|_| Arc::new(Faulty)),
        ..Setup::default()
    })
    .await
}

/// Lists jobs so that `fault` happens.
pub fn ask(world: &World, fault: &str) -> Ask {
    Ask::get(format!("/api/v1/jobs?project={fault}")).with(world, "root")
}

#[tokio::test]
async fn a_fault_of_the_server_says_an_id_and_nothing_of_its_cause() -> anyhow::Result<()> {
    let world = world(GatewayLimits::default()).await?;
    for fault in ["panic", "corrupt", "full"] {
        let reply = ask(&world, fault).send(&world).await?;
        assert_eq!(
            (reply.status, reply.reason()),
            (500, "INTERNAL".to_owned()),
            "{fault}"
        );
        let id = reply.json()["error_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(id.len(), 16, "{fault}");
        assert!(
            !String::from_utf8(reply.bytes)?.contains("hunter2"),
            "{fault}"
        );
    }
    // and the server goes on
    assert_eq!(ask(&world, "none").send(&world).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_away_is_told_with_when_to_come_again() -> anyhow::Result<()> {
    let world = world(GatewayLimits::default()).await?;
    let reply = ask(&world, "away").send(&world).await?;
    assert_eq!(
        (reply.status, reply.reason()),
        (503, "STORE_UNAVAILABLE".to_owned())
    );
    assert_eq!(
        (reply.header("retry-after"), &reply.json()["retry_after_ms"]),
        ("1", &200.into())
    );
    assert!(!String::from_utf8(reply.bytes)?.contains("hunter2"));
    Ok(())
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() -> anyhow::Result<()> {
    let world = world(GatewayLimits {
        request_time: Duration::from_millis(50),
        ..GatewayLimits::default()
    })
    .await?;
    let reply = ask(&world, "hang").send(&world).await?;
    assert_eq!(
        (reply.status, reply.reason()),
        (504, "REQUEST_TIMED_OUT".to_owned())
    );
    Ok(())
}
