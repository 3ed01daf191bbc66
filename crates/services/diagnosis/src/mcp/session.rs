//! A session's state on the server's side, and what several tools ask for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::finding::{Attribution, Finding};
use fapo_domain::model::proposal::LintFinding;
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::traces::StepsOf;
use fapo_domain::ports::work::WorkError;
use fapo_domain::{CaseId, Classified, ContentHash, VariantId};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::files::Checked;
use super::grant::{SessionGrant, ToolPorts};
use super::table::Table;
use super::used::Log;
use crate::lints::service::read_tree;
use crate::lints::tree::normal_hash;
use crate::text::one_line;

/// Cases of `try` under way at once.
const RUNNING: usize = 4;
/// Files may be checked so often, by `check` or before a `try`: that reads every case there is, and says whether a text
/// stands in a held-out one.
const CHECKS: u32 = 60;

/// Why a tool gave no answer.
#[derive(Debug)]
pub(super) enum ToolError {
    /// It is not to be had. Goes on record.
    Refused(String),
    /// It was asked for in the wrong way, or does not exist.
    Wrong(String),
    /// The house failed.
    Broken(WorkError),
    /// The session is over, or the request was taken back.
    Ended,
}

impl From<WorkError> for ToolError {
    fn from(error: WorkError) -> Self {
        Self::Broken(error)
    }
}

/// A port's error as a tool's.
pub(super) fn broken<E>(what: &str) -> impl FnOnce(E) -> ToolError
where
    E: Classified + Send + Sync + 'static,
{
    let what = what.to_owned();
    move |error| ToolError::Broken(WorkError::from_port(what, error))
}

/// The refusal of anything about the test split.
pub(super) fn sealed() -> ToolError {
    ToolError::Refused(
        "the test split is sealed: it is opened once, at the end of the job, and nothing is told of its cases".to_owned(),
    )
}

/// A number of things that is used up, and never more than there are under any interleaving.
#[derive(Debug)]
pub(super) struct Allowance(AtomicU32);

impl Allowance {
    pub(super) const fn new(count: u32) -> Self {
        Self(AtomicU32::new(count))
    }

    /// Takes up to `wanted`; how many were had.
    pub(super) fn take(&self, wanted: u32) -> u32 {
        let mut taken = 0;
        // the closure always answers, so the update always succeeds
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                taken = left.min(wanted);
                Some(left - taken)
            });
        taken
    }

    /// Gives back what was taken and not used.
    pub(super) fn give_back(&self, count: u32) {
        self.0.fetch_add(count, Ordering::AcqRel);
    }

    pub(super) fn left(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

/// A session, shared by its connections and calls.
pub(super) struct Session {
    pub(super) ports: ToolPorts,
    pub(super) grant: SessionGrant,
    /// Cancelled when the session is closed or has expired.
    pub(super) stop: CancellationToken,
    pub(super) log: Log,
    pub(super) tries: Allowance,
    pub(super) analyses: Allowance,
    pub(super) checks: Allowance,
    /// One at a time of what reads whole splits or starts a process.
    pub(super) heavy: Semaphore,
    /// Cases of `try` under way.
    pub(super) running: Arc<Semaphore>,
    /// Connections and cases: what must have ended before the session has.
    pub(super) tasks: TaskTracker,
    pub(super) table: OnceCell<Arc<Table>>,
    /// The files that were checked last, and what was said of them.
    pub(super) checked: Mutex<Option<Arc<Checked>>>,
    findings: OnceCell<Arc<Vec<Finding>>>,
    attribution: OnceCell<Arc<Attribution>>,
    earlier: OnceCell<Vec<ContentHash>>,
    parent: OnceCell<Arc<VariantTree>>,
    baseline: OnceCell<Arc<VariantTree>>,
}

impl Session {
    pub(super) fn new(ports: ToolPorts, grant: SessionGrant) -> Self {
        Self {
            tries: Allowance::new(grant.tries),
            analyses: Allowance::new(grant.analyses),
            checks: Allowance::new(CHECKS),
            ports,
            grant,
            stop: CancellationToken::new(),
            log: Log::default(),
            heavy: Semaphore::new(1),
            running: Arc::new(Semaphore::new(RUNNING)),
            tasks: TaskTracker::new(),
            table: OnceCell::new(),
            checked: Mutex::new(None),
            findings: OnceCell::new(),
            attribution: OnceCell::new(),
            earlier: OnceCell::new(),
            parent: OnceCell::new(),
            baseline: OnceCell::new(),
        }
    }

    /// Whether a score is a failure.
    pub(super) fn fails(&self, score: &CaseScore) -> bool {
        score.status.counts() && score.score < self.grant.spec.project.diagnosis.failure_below
    }

    /// The session's files now, and what the rules for files refuse.
    pub(super) async fn files(&self) -> Result<(VariantTree, Vec<LintFinding>), ToolError> {
        self.grant
            .tree
            .tree()
            .await
            .map_err(broken("cannot read the session's files"))
    }

    pub(super) async fn parent(&self) -> Result<Arc<VariantTree>, ToolError> {
        Self::variant(&self.parent, &self.ports, self.grant.parent).await
    }

    pub(super) async fn baseline(&self) -> Result<Arc<VariantTree>, ToolError> {
        Self::variant(&self.baseline, &self.ports, self.grant.spec.baseline).await
    }

    async fn variant(
        cell: &OnceCell<Arc<VariantTree>>,
        ports: &ToolPorts,
        id: VariantId,
    ) -> Result<Arc<VariantTree>, ToolError> {
        let tree = cell
            .get_or_try_init(async || read_tree(&*ports.variants, id).await.map(Arc::new))
            .await?;
        Ok(tree.clone())
    }

    /// The job's earlier variants, up to white space.
    pub(super) async fn earlier(&self) -> Result<&[ContentHash], ToolError> {
        let hashes = self
            .earlier
            .get_or_try_init(async || {
                let mut hashes = Vec::new();
                for id in &self.grant.earlier {
                    hashes.push(normal_hash(&read_tree(&*self.ports.variants, *id).await?));
                }
                Ok::<_, WorkError>(hashes)
            })
            .await?;
        Ok(hashes)
    }

    /// The parent's findings.
    pub(super) async fn findings(&self) -> Result<Arc<Vec<Finding>>, ToolError> {
        let id = self.grant.evaluation.id();
        let found = self
            .findings
            .get_or_try_init(async || {
                let findings = self.ports.findings.findings(id).await;
                findings
                    .map(Arc::new)
                    .map_err(broken("cannot read the findings"))
            })
            .await?;
        Ok(found.clone())
    }

    /// The parent's attribution.
    pub(super) async fn attribution(&self) -> Result<Arc<Attribution>, ToolError> {
        let id = self.grant.evaluation.id();
        let found = self
            .attribution
            .get_or_try_init(async || {
                let attribution = self.ports.findings.attribution(id).await;
                let attribution = attribution.map_err(broken("cannot read the attribution"))?;
                attribution.map(Arc::new).ok_or_else(|| {
                    ToolError::Wrong("the failures of this variant were not attributed".to_owned())
                })
            })
            .await?;
        Ok(found.clone())
    }

    /// A train case and its ordinal. Any other id, of whichever split or of none, gets one and the same answer.
    pub(super) async fn train_case(&self, id: &str) -> Result<(u64, Case), ToolError> {
        let dataset = self.grant.spec.dataset;
        let found = self
            .ports
            .datasets
            .find_case(dataset, &CaseId::new(id))
            .await
            .map_err(broken("cannot look the case up"))?;
        let Some((Split::Train, ordinal)) = found else {
            return Err(ToolError::Refused(format!(
                "`{}` is not a train case; `clusters` and `analyze` name those there are",
                one_line(id, 80)
            )));
        };
        let mut cases = self.train_cases(&[ordinal]).await?;
        match cases.pop() {
            Some(case) => Ok((ordinal, case)),
            None => Err(ToolError::Wrong("the case is not there".to_owned())),
        }
    }

    /// Train cases by ordinal.
    pub(super) async fn train_cases(&self, ordinals: &[u64]) -> Result<Vec<Case>, ToolError> {
        self.ports
            .datasets
            .cases(self.grant.spec.dataset, Split::Train, ordinals)
            .await
            .map_err(broken("cannot read the case"))
    }

    /// The parent's runs of these cases, with their steps.
    pub(super) async fn runs(&self, ordinals: &[u64]) -> Result<Vec<RunRecord>, ToolError> {
        self.ports
            .traces
            .runs(self.grant.evaluation.id(), ordinals, StepsOf::All)
            .await
            .map_err(broken("cannot read the run"))
    }

    /// The parent's score of a case.
    pub(super) async fn score(&self, ordinal: u64) -> Result<Option<CaseScore>, ToolError> {
        let page = self
            .ports
            .scores
            .scores(self.grant.evaluation.id(), ordinal, 1)
            .await
            .map_err(broken("cannot read the score"))?;
        Ok(page
            .into_iter()
            .map(|row| row.score)
            .find(|score| score.ordinal == ordinal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_never_overdrawn_by_threads_that_take_at_once() {
        let allowance = Allowance::new(1000);
        let taken: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=8)
                .map(|step| {
                    let allowance = &allowance;
                    scope.spawn(move || (0..200).map(|_| allowance.take(step)).sum::<u32>())
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!((taken, allowance.left()), (1000, 0));
        allowance.give_back(2);
        assert_eq!((allowance.take(5), allowance.left()), (2, 0));
    }
}
