//! A job's events as a stream.

use std::sync::Arc;
use std::time::Duration;

use fapo_domain::model::access::Caller;
use fapo_domain::ports::optimizer::{Optimizer, OptimizerError};
use fapo_domain::{ErrorCode, JobId, Retry};
use fapo_proto::optimizer::v1::WatchJobResponse;
use futures::stream::{BoxStream, StreamExt, unfold};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::convert;
use crate::fault::{Fault, status};

/// Events of one message.
const EVENTS_AT_ONCE: u32 = 256;
/// How long one look at the store may wait for an event.
const WAIT: Duration = Duration::from_secs(20);

/// Who watches what, and how far they are.
pub(super) struct Watch {
    pub(super) optimizer: Arc<dyn Optimizer>,
    pub(super) caller: Caller,
    pub(super) job: JobId,
    pub(super) after_seq: u64,
    /// Ends the stream, so that it does not keep a server that is to stop.
    pub(super) stop: CancellationToken,
}

impl Watch {
    /// Events as they come; after the last one of a final job the job, and the end.
    pub(super) fn stream(self) -> BoxStream<'static, Result<WatchJobResponse, Status>> {
        unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(message) if message.job.is_some() => Some((Ok(message), None)),
                Ok(message) => Some((Ok(message), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<WatchJobResponse, Status> {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(stopping()),
            message = self.look() => message.map_err(|error| status(&error)),
        }
    }

    async fn look(&mut self) -> Result<WatchJobResponse, OptimizerError> {
        loop {
            if let Some(message) = self.page(WAIT).await? {
                return Ok(message);
            }
            let job = self.optimizer.job(&self.caller, self.job).await?;
            if job.status.is_final() {
                // what was written between the two looks
                if let Some(message) = self.page(Duration::ZERO).await? {
                    return Ok(message);
                }
                return Ok(WatchJobResponse {
                    events: Vec::new(),
                    job: Some(convert::wire_job(job)),
                });
            }
        }
    }

    async fn page(&mut self, wait: Duration) -> Result<Option<WatchJobResponse>, OptimizerError> {
        let (caller, job, after) = (&self.caller, self.job, self.after_seq);
        let events = self
            .optimizer
            .events(caller, job, after, EVENTS_AT_ONCE, wait)
            .await?;
        let Some(last) = events.last() else {
            return Ok(None);
        };
        self.after_seq = last.seq;
        Ok(Some(WatchJobResponse {
            events: events.iter().map(convert::wire_event).collect(),
            job: None,
        }))
    }
}

fn stopping() -> Status {
    let message = "the server is about to stop; watch on with the seq of the last event";
    Fault {
        retry: Retry::Now,
        ..Fault::new(ErrorCode::Unavailable, "SERVER_STOPPING", message)
    }
    .into_status()
}
