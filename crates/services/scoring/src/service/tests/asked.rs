//! Comparisons that somebody asks for.

use async_trait::async_trait;
use fapo_domain::error::Classified;
use fapo_domain::ids::EvaluationId;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::questions::Comparer;
use fapo_domain::ports::traces::{EvaluationAggregate, RunFilter, RunSummary, TraceQueries};

use super::*;
use crate::questions::ComparisonService;

/// Knows these evaluations, and answers no other question.
struct Known(Vec<EvaluationSpec>);

#[async_trait]
impl TraceQueries for Known {
    async fn evaluations(&self, _: JobId) -> Result<Vec<EvaluationSpec>, StoreError> {
        Ok(self.0.clone())
    }

    async fn evaluation(&self, id: EvaluationId) -> Result<Option<EvaluationSpec>, StoreError> {
        Ok(self.0.iter().find(|known| known.id() == id).cloned())
    }

    async fn search(
        &self,
        _: EvaluationId,
        _: &RunFilter,
        _: u64,
        _: u32,
    ) -> Result<Vec<RunSummary>, StoreError> {
        Ok(Vec::new())
    }

    async fn aggregate(&self, _: EvaluationId) -> Result<EvaluationAggregate, StoreError> {
        Ok(EvaluationAggregate::default())
    }
}

#[tokio::test]
async fn a_comparison_on_request_is_that_of_a_task() -> anyhow::Result<()> {
    let world = World::new().await?;
    let (a, b) = (world.evaluation(b"a", None), world.evaluation(b"b", None));
    let says = |better: bool| move |at: u64| Some(if better || at > 9 { "yes" } else { "no" });
    world.record(&a, says(false), 0..CASES).await?;
    world.record(&b, says(true), 0..CASES).await?;
    world.score(&a, "a").await?;
    world.score(&b, "b").await?;
    let told = world.compare(&a, &b, CASES).await?;
    let job = world.job;
    let foreign = EvaluationSpec {
        job: JobId::at(1, [8; 10]),
        ..a.clone()
    };
    let known = vec![a.clone(), b.clone(), foreign.clone()];
    let service = ComparisonService::new(Arc::new(world.service), Arc::new(Known(known)));
    let ask = |a: &EvaluationSpec, upto, confidence| {
        let a = a.id();
        service.compare(job, a, b.id(), upto, confidence, 5)
    };
    assert_eq!(ask(&a, CASES, 0.9).await?, told);
    assert_eq!(told.wins, 10);
    let absent = unknown_like(&a);
    for unknown in [&foreign, &absent] {
        let refused = ask(unknown, CASES, 0.9).await.unwrap_err();
        assert_eq!(refused.reason(), "NOT_FOUND");
    }
    for (upto, confidence) in [(0, 0.9), (1, 0.0), (1, 1.0), (1, f64::NAN)] {
        let refused = ask(&a, upto, confidence).await.unwrap_err();
        assert_eq!(refused.reason(), "COMPARISON_INVALID");
    }
    Ok(())
}

/// An evaluation that nobody knows.
fn unknown_like(like: &EvaluationSpec) -> EvaluationSpec {
    EvaluationSpec {
        sample: 7,
        ..like.clone()
    }
}
