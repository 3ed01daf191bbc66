//! A store in memory with what the handlers ask of it. What they never ask answers with an error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fapo_domain::clock::Timestamp;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::decision::Decision;
use fapo_domain::model::finding::{Attribution, Finding};
use fapo_domain::model::job::{Job, JobEvent, JobSpec, JobStatus};
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::session::{SessionId, SessionRecord};
use fapo_domain::model::task::Fence;
use fapo_domain::model::trace::RunRecord;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::model::variant::{Lineage, VariantTree};
use fapo_domain::money::MicroUsd;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::datasets::{Dataset, Datasets, DuplicateCase, ImportId, IncomingCase};
use fapo_domain::ports::jobs::{Findings, Jobs, Proposals, Tick};
use fapo_domain::ports::scores::{ScoredCase, Scores};
use fapo_domain::ports::sessions::Sessions;
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_domain::ports::variants::Variants;
use fapo_domain::{CaseId, DatasetId, EvaluationId, JobId, TaskId, VariantId};
use serde_json::Value;

type Result<T> = std::result::Result<T, StoreError>;

/// Everything, behind one lock.
#[derive(Default)]
pub struct Store(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    spec: Option<JobSpec>,
    variants: BTreeMap<VariantId, VariantTree>,
    cases: BTreeMap<Split, Vec<Case>>,
    scores: Vec<CaseScore>,
    /// Scores by evaluation; where there are any, an evaluation that is not among them has none.
    evaluations: BTreeMap<EvaluationId, Vec<CaseScore>>,
    runs: Vec<RunRecord>,
    attribution: Option<Attribution>,
    findings: Vec<Finding>,
    proposals: BTreeMap<TaskId, Value>,
    sessions: Vec<SessionRecord>,
    /// Splits that were read, for tests of who may read what.
    read: Vec<Split>,
}

fn absent<T>(kind: &'static str) -> Result<T> {
    Err(StoreError::NotFound {
        kind,
        id: "?".to_owned(),
    })
}

fn unasked<T>() -> Result<T> {
    Err(StoreError::Invalid {
        message: "no handler of this crate asks for this".to_owned(),
    })
}

impl Store {
    pub fn new(spec: JobSpec) -> Arc<Self> {
        let store = Self::default();
        store.0.lock().unwrap().spec = Some(spec);
        Arc::new(store)
    }

    pub fn add_tree(&self, tree: &VariantTree) -> VariantId {
        self.0
            .lock()
            .unwrap()
            .variants
            .insert(tree.id(), tree.clone());
        tree.id()
    }

    pub fn add_case(&self, split: Split, case: Case) {
        self.0
            .lock()
            .unwrap()
            .cases
            .entry(split)
            .or_default()
            .push(case);
    }

    pub fn add_run(&self, run: RunRecord, score: CaseScore) {
        let mut inner = self.0.lock().unwrap();
        inner.runs.push(run);
        inner.scores.push(score);
    }

    /// From here on scores are told by evaluation.
    pub fn add_evaluation(&self, id: EvaluationId, scores: Vec<CaseScore>) {
        self.0.lock().unwrap().evaluations.insert(id, scores);
    }

    /// All scores that were added with runs.
    pub fn all_scores(&self) -> Vec<CaseScore> {
        self.0.lock().unwrap().scores.clone()
    }

    pub fn splits_read(&self) -> Vec<Split> {
        self.0.lock().unwrap().read.clone()
    }
}

#[async_trait]
impl Jobs for Store {
    async fn create_job(
        &self,
        _: JobId,
        _: JobSpec,
        _: Value,
        _: Timestamp,
        _: Option<TraceParent>,
    ) -> Result<()> {
        unasked()
    }
    async fn set_paused(&self, _: JobId, _: bool) -> Result<bool> {
        unasked()
    }
    async fn get_job(&self, id: JobId) -> Result<Job> {
        let Some(spec) = self.0.lock().unwrap().spec.clone() else {
            return absent("job");
        };
        Ok(Job {
            id,
            project: spec.project.name.clone(),
            spec,
            status: JobStatus::Running,
            version: 0,
            state: Value::Null,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            paused: false,
            trace: None,
        })
    }
    async fn list_jobs(&self, _: Option<&str>, _: Option<JobId>, _: u32) -> Result<Vec<Job>> {
        unasked()
    }
    async fn jobs_to_tick(&self, _: u32) -> Result<Vec<JobId>> {
        unasked()
    }
    async fn commit_tick(&self, _: Tick) -> Result<u64> {
        unasked()
    }
    async fn events(&self, _: JobId, _: u64, _: u32) -> Result<Vec<JobEvent>> {
        unasked()
    }
    async fn lineage(&self, _: JobId) -> Result<Vec<Lineage>> {
        unasked()
    }
    async fn decisions(&self, _: JobId) -> Result<Vec<Decision>> {
        unasked()
    }
}

#[async_trait]
impl Variants for Store {
    async fn put_variant(&self, tree: &VariantTree) -> Result<VariantId> {
        Ok(self.add_tree(tree))
    }
    async fn get_variant(&self, id: VariantId) -> Result<VariantTree> {
        match self.0.lock().unwrap().variants.get(&id) {
            Some(tree) => Ok(tree.clone()),
            None => absent("variant"),
        }
    }
}

#[async_trait]
impl Scores for Store {
    async fn record_scores(&self, _: Option<Fence>, _: Vec<CaseScore>) -> Result<()> {
        unasked()
    }
    async fn scores(&self, id: EvaluationId, from: u64, limit: u32) -> Result<Vec<ScoredCase>> {
        // pages of seven, so that every test pages
        let limit = limit.min(7) as usize;
        let inner = self.0.lock().unwrap();
        let scores = match inner.evaluations.get(&id) {
            Some(scores) => scores.as_slice(),
            None if inner.evaluations.is_empty() => inner.scores.as_slice(),
            None => &[],
        };
        Ok(scores
            .iter()
            .filter(|score| score.ordinal >= from)
            .take(limit)
            .map(|score| ScoredCase {
                score: score.clone(),
                full_cost: MicroUsd::ZERO,
                uncached_ms: None,
                full_ms: None,
            })
            .collect())
    }
}

#[async_trait]
impl Traces for Store {
    async fn record_runs(&self, _: Option<Fence>, _: Vec<RunRecord>) -> Result<()> {
        unasked()
    }
    async fn finished_ordinals(&self, _: EvaluationId, _: &[u64]) -> Result<Vec<u64>> {
        unasked()
    }
    async fn runs(&self, _: EvaluationId, ordinals: &[u64], _: StepsOf) -> Result<Vec<RunRecord>> {
        let inner = self.0.lock().unwrap();
        Ok(ordinals
            .iter()
            .filter_map(|ordinal| {
                inner
                    .runs
                    .iter()
                    .find(|run| run.ordinal == *ordinal)
                    .cloned()
            })
            .collect())
    }
}

#[async_trait]
impl Datasets for Store {
    async fn begin_import(&self, _: &str) -> Result<ImportId> {
        unasked()
    }
    async fn import_cases(&self, _: ImportId, _: Vec<IncomingCase>) -> Result<Vec<DuplicateCase>> {
        unasked()
    }
    async fn split_import(&self, _: ImportId, _: f64, _: u64) -> Result<()> {
        unasked()
    }
    async fn commit_import(&self, _: ImportId) -> Result<Dataset> {
        unasked()
    }
    async fn abort_import(&self, _: ImportId) -> Result<()> {
        unasked()
    }
    async fn get_dataset(&self, _: DatasetId) -> Result<Dataset> {
        unasked()
    }
    async fn cases(&self, _: DatasetId, split: Split, ordinals: &[u64]) -> Result<Vec<Case>> {
        let mut inner = self.0.lock().unwrap();
        inner.read.push(split);
        let cases = inner.cases.get(&split).cloned().unwrap_or_default();
        ordinals
            .iter()
            .map(|ordinal| {
                cases
                    .get(*ordinal as usize)
                    .cloned()
                    .map_or_else(|| absent("case"), Ok)
            })
            .collect()
    }
    async fn page(&self, _: DatasetId, split: Split, from: u64, limit: u32) -> Result<Vec<Case>> {
        let mut inner = self.0.lock().unwrap();
        inner.read.push(split);
        let cases = inner
            .cases
            .get(&split)
            .map(Vec::as_slice)
            .unwrap_or_default();
        Ok(cases
            .iter()
            .skip(from as usize)
            .take(limit.min(7) as usize)
            .cloned()
            .collect())
    }
    async fn find_case(&self, _: DatasetId, id: &CaseId) -> Result<Option<(Split, u64)>> {
        let inner = self.0.lock().unwrap();
        Ok(inner.cases.iter().find_map(|(split, cases)| {
            let at = cases.iter().position(|case| case.case_id == *id)?;
            Some((*split, at as u64))
        }))
    }
}

#[async_trait]
impl Findings for Store {
    async fn record_attribution(
        &self,
        _: Option<Fence>,
        _: EvaluationId,
        findings: Vec<Finding>,
        attribution: &Attribution,
    ) -> Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.findings = findings;
        inner.attribution = Some(attribution.clone());
        Ok(())
    }
    async fn attribution(&self, _: EvaluationId) -> Result<Option<Attribution>> {
        Ok(self.0.lock().unwrap().attribution.clone())
    }
    async fn findings(&self, _: EvaluationId) -> Result<Vec<Finding>> {
        Ok(self.0.lock().unwrap().findings.clone())
    }
}

#[async_trait]
impl Proposals for Store {
    async fn record_proposal(&self, fence: Fence, body: Value) -> Result<()> {
        self.0
            .lock()
            .unwrap()
            .proposals
            .entry(fence.task)
            .or_insert(body);
        Ok(())
    }
    async fn proposal(&self, task: TaskId) -> Result<Option<Value>> {
        Ok(self.0.lock().unwrap().proposals.get(&task).cloned())
    }
}

#[async_trait]
impl Sessions for Store {
    async fn record_session(&self, record: SessionRecord) -> Result<()> {
        self.0.lock().unwrap().sessions.push(record);
        Ok(())
    }
    async fn session(&self, _: SessionId) -> Result<Option<SessionRecord>> {
        unasked()
    }
    async fn sessions(&self, job: JobId) -> Result<Vec<SessionRecord>> {
        let all = &self.0.lock().unwrap().sessions;
        Ok(all
            .iter()
            .filter(|record| record.job == job)
            .cloned()
            .collect())
    }
    async fn find_sessions(&self, _: &str, _: u32) -> Result<Vec<SessionRecord>> {
        unasked()
    }
}
