//! The handler of `Topic::Review`, and the same lints over files that are not stored.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::model::case::Split;
use fapo_domain::model::job::{JobSpec, Reviewed};
use fapo_domain::model::level::Level;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Lint, LintReport};
use fapo_domain::model::task::{ClaimedTask, ReviewTask, TaskPayload, Topic};
use fapo_domain::model::variant::{DiffStats, VariantTree};
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::jobs::Jobs;
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_domain::{ContentHash, Spend, VariantId};
use fapo_project::{SemanticDiff, semantic_diff};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{Candidate, Leaks, check, gate, tree::normal_hash};
use crate::attribution::service::{to_value, wrong_payload};
use crate::observe;
use crate::pages::{break_when, each_case, page_from};
use crate::review::Reviewing;

/// Train cases whose input keys are taken for all there are, unless the proposal uses another.
const KEY_SAMPLE: u64 = 256;

/// Lints proposals, then has those that pass reviewed. The lints make no model call; they read every split, and answer about
/// held-out ones without quoting them. The reviewer sees train alone.
pub struct ReviewService {
    /// Job specs.
    pub jobs: Arc<dyn Jobs>,
    /// Parent, candidate, baseline and earlier variants.
    pub variants: Arc<dyn Variants>,
    /// The cases of all splits.
    pub datasets: Arc<dyn Datasets>,
    /// What the reviewer needs.
    pub reviewing: Reviewing,
}

impl ReviewService {
    /// All lints over one proposal, and the size of its change.
    ///
    /// # Errors
    /// The ports' errors; a bad proposal is a report with refusals, no error.
    pub async fn review(
        &self,
        spec: &JobSpec,
        task: &ReviewTask,
        stop: &CancellationToken,
    ) -> Result<(LintReport, DiffStats), WorkError> {
        let variants = &*self.variants;
        let parent = read_tree(variants, task.parent).await?;
        let child = read_tree(variants, task.candidate).await?;
        let baseline = read_tree(variants, spec.baseline).await?;
        let mut earlier = Vec::new();
        for id in task.earlier.iter().filter(|id| **id != task.candidate) {
            earlier.push(normal_hash(&read_tree(variants, *id).await?));
        }
        if task.earlier.contains(&task.candidate) {
            earlier.push(normal_hash(&child));
        }
        let trees = Trees {
            open: task.level,
            parent: &parent,
            child: &child,
            baseline: &baseline,
            earlier: &earlier,
        };
        let (report, diff) = lint_trees(&*self.datasets, spec, &trees, stop).await?;
        Ok((report, diff.stats))
    }
}

/// A variant's files.
pub(crate) async fn read_tree(
    variants: &dyn Variants,
    id: VariantId,
) -> Result<VariantTree, WorkError> {
    variants
        .get_variant(id)
        .await
        .map_err(|error| WorkError::from_port(format!("cannot read variant {}", id.short()), error))
}

/// A proposal's files, stored or not, and what they are held against.
#[derive(Debug, Clone, Copy)]
pub struct Trees<'a> {
    /// The deepest level that is open.
    pub open: Level,
    /// What the proposal started from.
    pub parent: &'a VariantTree,
    /// The proposal.
    pub child: &'a VariantTree,
    /// The job's baseline.
    pub baseline: &'a VariantTree,
    /// [`normal_hash`] of the job's earlier variants.
    pub earlier: &'a [ContentHash],
}

/// All lints over one proposal, and its change. Reads every split, and never quotes a held-out one. What computes runs on
/// threads of its own, so that leases are renewed and other work goes on meanwhile.
///
/// # Errors
/// The port's errors; interrupted where `stop` is cancelled; a bad proposal is a report with refusals, no error.
pub async fn lint_trees(
    datasets: &dyn Datasets,
    spec: &JobSpec,
    trees: &Trees<'_>,
    stop: &CancellationToken,
) -> Result<(LintReport, SemanticDiff), WorkError> {
    // the files themselves are shared, not copied
    let own = Arc::new(Owned {
        project: spec.project.clone(),
        open: trees.open,
        parent: trees.parent.clone(),
        child: trees.child.clone(),
        baseline: trees.baseline.clone(),
        earlier: trees.earlier.to_vec(),
    });
    let at_gate = own.clone();
    let refusals = compute(stop, move || gate(&at_gate.project, &at_gate.child)).await?;
    if !refusals.is_empty() {
        let report = LintReport {
            refusals,
            ..LintReport::default()
        };
        return Ok((report, SemanticDiff::default()));
    }
    let first = input_keys(datasets, spec, KEY_SAMPLE, stop).await?;
    let mut report = own.clone().check(first, stop).await?;
    let unknown = |report: &LintReport| {
        let mut lints = report.refusals.iter().map(|finding| finding.lint);
        lints.any(|lint| lint == Lint::VariableUnknown)
    };
    if unknown(&report) {
        // a key may be first used later in the split
        let all = input_keys(datasets, spec, u64::MAX, stop).await?;
        report = own.clone().check(all, stop).await?;
    }
    let looking = own.clone();
    let mut leaks = compute(stop, move || {
        Leaks::new(&looking.project, &looking.parent, &looking.child)
    })
    .await?;
    if !leaks.is_clean() {
        for split in Split::ALL {
            let mut from = 0u64;
            loop {
                let page = page_from(datasets, (spec.dataset, split), from, stop).await?;
                if page.is_empty() {
                    break;
                }
                from += page.len() as u64;
                leaks = compute(stop, move || {
                    page.iter().for_each(|case| leaks.visit(split, case));
                    leaks
                })
                .await?;
            }
        }
        report
            .refusals
            .extend(compute(stop, move || leaks.finish()).await?);
    }
    // a pipeline that cannot be read was refused above; its change is not known
    let diff = compute(stop, move || semantic_diff(&own.parent, &own.child)).await?;
    Ok((report, diff.unwrap_or_default()))
}

/// [`Trees`] that a thread of its own can hold.
struct Owned {
    project: ProjectSpec,
    open: Level,
    parent: VariantTree,
    child: VariantTree,
    baseline: VariantTree,
    earlier: Vec<ContentHash>,
}

impl Owned {
    async fn check(
        self: Arc<Self>,
        input_keys: Option<BTreeSet<String>>,
        stop: &CancellationToken,
    ) -> Result<LintReport, WorkError> {
        compute(stop, move || {
            check(&Candidate {
                project: &self.project,
                open: self.open,
                parent: &self.parent,
                child: &self.child,
                baseline: Some(&self.baseline),
                earlier: &self.earlier,
                input_keys: input_keys.as_ref(),
            })
        })
        .await
    }
}

/// Runs what computes on a thread of its own, unless the work was stopped. What has begun is waited for: there is never
/// more of it than there are proposals.
async fn compute<T: Send + 'static>(
    stop: &CancellationToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkError> {
    if stop.is_cancelled() {
        return Err(WorkError::interrupted());
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            // a panic is the caller's, as if it had done the work itself
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(WorkError::interrupted()),
        },
    }
}

/// The keys of the inputs of the first `count` train cases.
async fn input_keys(
    datasets: &dyn Datasets,
    spec: &JobSpec,
    count: u64,
    stop: &CancellationToken,
) -> Result<Option<BTreeSet<String>>, WorkError> {
    let mut keys: BTreeSet<String> = BTreeSet::new();
    let mut left = count;
    each_case(datasets, (spec.dataset, Split::Train), stop, |case| {
        let new = case.input.keys().filter(|key| !keys.contains(*key));
        let new: Vec<String> = new.cloned().collect();
        keys.extend(new);
        left = left.saturating_sub(1);
        break_when(left == 0)
    })
    .await?;
    Ok((!keys.is_empty()).then_some(keys))
}

#[async_trait]
impl TaskHandler for ReviewService {
    fn topic(&self) -> Topic {
        Topic::Review
    }

    async fn handle(
        &self,
        task: &ClaimedTask,
        stop: &CancellationToken,
    ) -> Result<Value, WorkError> {
        let TaskPayload::Review(review) = &task.payload else {
            return Err(wrong_payload("review"));
        };
        let span = observe::review(task, review);
        self.handle_review(task, review, stop)
            .instrument(span)
            .await
    }
}

impl ReviewService {
    async fn handle_review(
        &self,
        task: &ClaimedTask,
        review: &ReviewTask,
        stop: &CancellationToken,
    ) -> Result<Value, WorkError> {
        let job = self
            .jobs
            .get_job(task.job)
            .await
            .map_err(|error| WorkError::from_port("cannot read the job", error))?;
        if let Some(reviewed) = self.reviewing.recorded(task).await? {
            return to_value(&reviewed);
        }
        let (lints, diff) = self.review(&job.spec, review, stop).await?;
        let stored = (&*self.variants, &*self.datasets);
        let about = (task, &job.spec, review);
        let said = self.reviewing.review(stored, about, &lints, stop).await?;
        let reviewed = Reviewed {
            candidate: review.candidate,
            level: lints.level,
            lints,
            diff,
            spend: said
                .as_ref()
                .map_or_else(Spend::default, |review| review.spend),
            review: said,
        };
        if reviewed.review.is_some() {
            self.reviewing
                .record(task, review, &job.spec, &reviewed)
                .await?;
        }
        to_value(&reviewed)
    }
}
