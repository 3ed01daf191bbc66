//! Task queues, and the worker loop around a task handler.
//!
//! The rows behind [`fapo_domain::ports::tasks::Tasks`] are the truth about work; a queue only says which row to look at
//! next, and may forget. So everything here may deliver twice, late or in any order, and nothing is lost by it.
//!
//! * [`MemoryQueue`] is the queue of a single process.
//! * [`RedisQueue`] is the queue of a team's processes, on a [`RedisServer`].
//! * [`MemoryLimits`] and [`RedisLimits`] hold what a provider allows to all its callers together.
//! * [`Worker`] receives ids, claims tasks, keeps their leases alive while a handler works, and writes down what came of
//!   it. It is the same for every queue.

mod limits;
mod memory;
mod observe;
mod outcome;
mod server;
mod streams;
mod topic;
mod turns;
mod worker;

pub use limits::{MemoryLimits, RedisLimits};
pub use memory::MemoryQueue;
pub use server::{RedisServer, RedisServerError};
pub use streams::{RedisQueue, RedisQueueConfig};
pub use worker::{Worker, WorkerConfig};
