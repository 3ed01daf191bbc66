//! Task queues, and the worker loop around a task handler.
//!
//! The rows behind [`fapo_domain::ports::tasks::Tasks`] are the truth about work; a queue only says which row to look at
//! next, and may forget. So everything here may deliver twice, late or in any order, and nothing is lost by it.
//!
//! * [`MemoryQueue`] is the queue of a single process.
//! * [`Worker`] receives ids, claims tasks, keeps their leases alive while a handler works, and writes down what came of
//!   it. It is the same for every queue.

mod memory;
mod outcome;
mod topic;
mod worker;

pub use memory::MemoryQueue;
pub use worker::{Worker, WorkerConfig};
