//! Reading a split's cases page by page: memory stays bounded, and a stop is heeded between two pages.

use std::ops::ControlFlow;

use fapo_domain::DatasetId;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::work::WorkError;
use tokio_util::sync::CancellationToken;

/// Cases read at a time.
const PAGE: u32 = 256;

/// Shows `see` the cases of a split in order, until it breaks or they end. Whole pages are read, so breaking saves only what
/// comes after the current one.
///
/// # Errors
/// The port's; interrupted where `stop` is cancelled.
pub(crate) async fn each_case(
    datasets: &dyn Datasets,
    (dataset, split): (DatasetId, Split),
    stop: &CancellationToken,
    mut see: impl FnMut(&Case) -> ControlFlow<()> + Send,
) -> Result<(), WorkError> {
    let mut from = 0u64;
    loop {
        let page = page_from(datasets, (dataset, split), from, stop).await?;
        if page.is_empty() || page.iter().try_for_each(&mut see).is_break() {
            return Ok(());
        }
        from += page.len() as u64;
    }
}

/// The page of a split that begins at a case; empty where the split has ended.
///
/// # Errors
/// The port's; interrupted where `stop` is cancelled.
pub(crate) async fn page_from(
    datasets: &dyn Datasets,
    (dataset, split): (DatasetId, Split),
    from: u64,
    stop: &CancellationToken,
) -> Result<Vec<Case>, WorkError> {
    if stop.is_cancelled() {
        return Err(WorkError::interrupted());
    }
    datasets
        .page(dataset, split, from, PAGE)
        .await
        .map_err(|error| WorkError::from_port("cannot read cases", error))
}

/// Breaks where `done`.
pub(crate) const fn break_when(done: bool) -> ControlFlow<()> {
    if done {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}
