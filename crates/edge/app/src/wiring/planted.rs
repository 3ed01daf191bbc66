//! A bug on purpose: runs are acknowledged before they are written.
//!
//! It is what `make chaos` must be able to find (docs/chaos.md), so it is built in with the feature `planted` only, which no image and
//! no other target has.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::ids::EvaluationId;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::traces::{StepsOf, Traces};

use crate::ports::Ports;

/// How long runs are held in memory: too short to be noticed while nothing goes wrong.
const HELD: Duration = Duration::from_millis(5);

/// Puts the bug between the roles and the store.
pub fn plant(ports: &mut Ports) {
    let honest = Arc::clone(&ports.traces);
    ports.traces = Arc::new(AckBeforeWrite { honest });
}

/// Says that runs are stored, and stores them a little later, if the process and the store live on.
struct AckBeforeWrite {
    honest: Arc<dyn Traces>,
}

#[async_trait]
impl Traces for AckBeforeWrite {
    async fn record_runs(
        &self,
        _fence: Option<Fence>,
        runs: Vec<RunRecord>,
    ) -> Result<(), StoreError> {
        let honest = Arc::clone(&self.honest);
        tokio::spawn(async move {
            tokio::time::sleep(HELD).await;
            if let Err(error) = honest.record_runs(None, runs).await {
                tracing::debug!(%error, "runs that were acknowledged are lost");
            }
        });
        Ok(())
    }

    async fn finished_ordinals(
        &self,
        evaluation: EvaluationId,
        ordinals: &[u64],
    ) -> Result<Vec<u64>, StoreError> {
        self.honest.finished_ordinals(evaluation, ordinals).await
    }

    async fn runs(
        &self,
        evaluation: EvaluationId,
        ordinals: &[u64],
        steps: StepsOf,
    ) -> Result<Vec<RunRecord>, StoreError> {
        self.honest.runs(evaluation, ordinals, steps).await
    }
}
