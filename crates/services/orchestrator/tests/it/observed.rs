//! What metrics see of jobs.

use anyhow::Result;
use fapo_domain::model::decision::{DecisionKind, GateOutcome};
use fapo_domain::ports::jobs::Jobs;
use fapo_testkit::observed::Observed;

use crate::bench::{Bench, spec};

#[tokio::test]
async fn decisions_and_the_end_of_a_job_are_counted_once_however_often_it_is_ticked() -> Result<()>
{
    let bench = Bench::new().await?;
    let (observed, _guard) = Observed::on_this_thread(false);
    let job = bench.service.submit(spec()).await?;
    bench.finish(job).await?;
    for _ in 0..3 {
        bench.service.tick(job).await?;
    }
    let decisions = bench.store.decisions(job).await?;
    let promoted = decisions
        .iter()
        .filter(|decision| {
            let promote = GateOutcome::Promote;
            matches!(&decision.what, DecisionKind::Gate { outcome, .. } if *outcome == promote)
        })
        .count();
    assert!(promoted > 0, "{decisions:?}");
    let counted = |verdict| observed.counted("fapo_decisions_total", &[("verdict", verdict)]);
    assert_eq!(counted("promoted"), promoted as f64);
    let done = [("status", "done")];
    assert_eq!(observed.counted("fapo_job_transitions_total", &done), 1.0);
    Ok(())
}
