//! The in-process queue against the port's suite, and the worker loop against scripted handlers.

use fapo_queue::MemoryQueue;

fapo_testkit::queue_suite!(memory, start_paused, || async {
    anyhow::Ok(MemoryQueue::new())
});

#[cfg(test)]
mod rows;
#[cfg(test)]
mod worker;
