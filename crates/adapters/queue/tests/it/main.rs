//! The queues and limits against the ports' suites, Redis when it is lost, and the worker loop against scripted handlers.

use fapo_queue::{MemoryLimits, MemoryQueue};

fapo_testkit::queue_suite!(memory, start_paused, || async {
    anyhow::Ok((MemoryQueue::new(), ()))
});

fapo_testkit::queue_suite!(redis_streams, || async {
    let deployment = server::Deployment::new().await?;
    anyhow::Ok((deployment.queue(), deployment))
});

fapo_testkit::limits_suite!(memory_limits, start_paused, || async {
    anyhow::Ok((MemoryLimits::new(), ()))
});

fapo_testkit::limits_suite!(redis_limits, || async {
    let deployment = server::Deployment::new().await?;
    anyhow::Ok((deployment.limits(), deployment))
});

#[cfg(test)]
mod fencing;
#[cfg(test)]
mod lost;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tampered;
#[cfg(test)]
mod worker;
