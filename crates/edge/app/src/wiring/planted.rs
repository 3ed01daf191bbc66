//! A bug on purpose: runs are acknowledged before they are written.
//!
//! The writer behind this waits a moment for the store, so that nothing shows while all is well, and then answers that the runs are
//! stored, whether they are or not. It is what `make chaos` must be able to find (docs/chaos.md), so it is built in with the feature
//! `planted` only, which no image and no other target has.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::ids::EvaluationId;
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::traces::{StepsOf, Traces};

use crate::ports::Ports;

/// How long the store is waited for.
const PATIENCE: Duration = Duration::from_millis(250);

/// Puts the bug between the roles and the store.
pub fn plant(ports: &mut Ports) {
    let honest = Arc::clone(&ports.traces);
    ports.traces = Arc::new(AckBeforeWrite { honest });
}

/// Says that runs are stored, whatever becomes of them.
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
        let written = tokio::spawn(async move {
            if let Err(error) = honest.record_runs(None, runs).await {
                tracing::debug!(%error, "runs that were acknowledged are lost");
            }
        });
        // the bug: whether it was written in time, or at all, is not looked at
        let _ = tokio::time::timeout(PATIENCE, written).await;
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
