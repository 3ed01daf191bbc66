//! One optimization is one distributed trace: from whoever submits it to the tasks.

use std::sync::{Arc, Mutex};

use anyhow::ensure;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::tasks::{Claim, Tasks};
use fapo_domain::ports::trace_context::TraceContext;

use crate::bench::{Bench, LEASE, spec};

/// Where this process stands, and whose child each span was made.
#[derive(Debug)]
struct Told {
    here: TraceParent,
    parents: Mutex<Vec<TraceParent>>,
}

impl TraceContext for Told {
    fn current(&self) -> Option<TraceParent> {
        Some(self.here.clone())
    }

    fn adopt(&self, _span: &tracing::Span, parent: &TraceParent) {
        self.parents.lock().unwrap().push(parent.clone());
    }
}

fn place(span: char) -> anyhow::Result<TraceParent> {
    let span = span.to_string().repeat(16);
    Ok(format!("00-0af7651916cd43dd8448eb211c80319c-{span}-01").parse()?)
}

#[tokio::test]
async fn ticks_stand_below_the_submission_and_tasks_below_their_tick() -> anyhow::Result<()> {
    let bench = Bench::new().await?;
    let (client, here) = (place('a')?, place('b')?);
    let told = Arc::new(Told {
        here: here.clone(),
        parents: Mutex::default(),
    });
    let service = bench.service.clone().with_traces(told.clone());
    let job = service.submit(spec()).await?;
    ensure!(bench.store.get_job(job).await?.trace == Some(here.clone()));
    let other = fapo_domain::JobId::at(1, [1; 10]);
    service
        .submit_as(other, spec(), Some(client.clone()))
        .await?;
    service.tick(other).await?;
    ensure!(*told.parents.lock().unwrap() == [client]);
    let due = bench.store.due_tasks(1).await?;
    let Claim::Claimed(task) = bench.store.claim_task(due[0].id, "w", LEASE).await? else {
        anyhow::bail!("not claimed")
    };
    ensure!(task.job == other && task.trace == Some(here));
    Ok(())
}
