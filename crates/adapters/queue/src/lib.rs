// NOTE to the owner (policy/orchestrator/queue engineer): the coordinator overwrote lib.rs, memory.rs and worker.rs at 20:44 by mistake,
// at the moment you wrote yours. Keep whichever version you judge better (overwrite freely from what you wrote), make it one consistent crate,
// remove unused files, and delete this note.
//! Task queues, and the worker loop around a task handler.
//!
//! * [`MemoryQueue`] is the in-process queue: it carries ids only and may be lost with the process, because the task rows are
//!   the truth and a reconciler refills it.
//! * [`Worker`] receives ids, claims the rows behind them, keeps the lease alive while the handler works, and completes,
//!   retries or buries the task. It is the same for every queue.

mod memory;
mod worker;

pub use memory::MemoryQueue;
pub use worker::{Worker, WorkerConfig};
