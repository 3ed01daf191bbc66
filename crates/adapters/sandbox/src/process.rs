//! A process that was started, followed to its end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fapo_domain::measure;
use fapo_domain::ports::sandbox::{ProcessExit, SandboxError, SandboxedProcess, Streams};
use tokio::time::{Instant, timeout, timeout_at};

use crate::control::Control;
use crate::removal::PrivateTmp;
use crate::spawner::Owned;

/// Init keeps the time; when it is this late, it is not trusted to.
const GRACE: Duration = Duration::from_secs(2);
/// How long a kill may take before it is done the hard way: without namespaces, init kills a group that may be large.
const PATIENCE: Duration = Duration::from_secs(12);

pub(crate) struct Running {
    pub(crate) owned: Owned,
    pub(crate) streams: Option<Streams>,
    pub(crate) control: Mutex<Control>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) end: Option<ProcessExit>,
    /// Its `/tmp`, where there are no namespaces that give it one; removed after the rest has ended.
    pub(crate) _tmp: Option<PrivateTmp>,
}

impl Running {
    fn control(&mut self) -> &mut Control {
        self.control
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the end of the group; `otherwise` is how it ended where init did not live to say.
    fn settle(&mut self, otherwise: ProcessExit) -> ProcessExit {
        let exit = self.control().ended().unwrap_or(otherwise);
        self.end = Some(exit);
        measure!(
            monotonic_counter.fapo_sandbox_processes_total = 1_u64,
            outcome = match exit {
                ProcessExit::Code { .. } => "exited",
                ProcessExit::Signal { .. } => "signal",
                ProcessExit::TimedOut => "timed_out",
                ProcessExit::Killed => "killed",
            }
        );
        exit
    }

    /// Kills the group and waits for its end.
    async fn finish(&mut self, exit: ProcessExit) -> ProcessExit {
        if !self.owned.kill_namespaces() {
            self.control().close();
        }
        if timeout(PATIENCE, self.owned.ended()).await.is_err() {
            self.owned.kill();
            self.owned.ended().await;
        }
        self.settle(exit)
    }
}

#[async_trait]
impl SandboxedProcess for Running {
    fn streams(&mut self) -> Option<Streams> {
        self.streams.take()
    }

    async fn wait(&mut self) -> Result<ProcessExit, SandboxError> {
        if let Some(exit) = self.end {
            return Ok(exit);
        }
        if let Some(deadline) = self.deadline {
            if timeout_at(deadline + GRACE, self.owned.ended())
                .await
                .is_err()
            {
                return Ok(self.finish(ProcessExit::TimedOut).await);
            }
        } else {
            self.owned.ended().await;
        }
        // Init says how the program ended, unless the kernel ended init: no memory was left, or somebody killed it.
        Ok(self.settle(ProcessExit::Signal { signal: 9 }))
    }

    async fn kill(&mut self) -> Result<ProcessExit, SandboxError> {
        Ok(match self.end {
            Some(exit) => exit,
            None => self.finish(ProcessExit::Killed).await,
        })
    }

    fn peak_memory(&self) -> Option<u64> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        control.peak()
    }
}
