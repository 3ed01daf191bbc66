//! The handler of `Topic::Diagnose`.

use std::sync::Arc;

use async_trait::async_trait;
use fapo_domain::JobId;
use fapo_domain::model::case::{Case, Split};
use fapo_domain::model::evaluation::EvaluationSpec;
use fapo_domain::model::finding::{Attribution, Finding, ReaderSummary};
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::project::ReaderBackend;
use fapo_domain::model::score::CaseScore;
use fapo_domain::model::task::{ClaimedTask, Fence, TaskPayload, Topic};
use fapo_domain::model::trace::RunRecord;
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::datasets::Datasets;
use fapo_domain::ports::jobs::{Findings, Jobs};
use fapo_domain::ports::models::MeteredModels;
use fapo_domain::ports::scores::Scores;
use fapo_domain::ports::traces::{StepsOf, Traces};
use fapo_domain::ports::variants::Variants;
use fapo_domain::ports::work::{TaskHandler, WorkError};
use fapo_project::{PipelineContext, read_pipeline};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::clusters::is_unclear;
use super::reader::{Choice, FailureReader, ModelReader, Read, Unread, apply};
use super::{Attributor, CaseView, Flow, attribute};
use crate::agentic::AgentReaders;
use crate::asking::{SESSION_DRAIN, unless_stopped};
use crate::observe;

/// Scores read at a time.
const PAGE: u32 = 256;
/// Failing runs held at a time; a run can be large.
const RUNS: usize = 32;

/// Attributes train evaluations. Memory: one page of scores, a few runs, and at most
/// [`clusters::MAX_FINDINGS`](super::clusters::MAX_FINDINGS) findings.
pub struct DiagnosisService {
    /// Job specs.
    pub jobs: Arc<dyn Jobs>,
    /// The evaluated variant.
    pub variants: Arc<dyn Variants>,
    /// The scores.
    pub scores: Arc<dyn Scores>,
    /// The runs of failures.
    pub traces: Arc<dyn Traces>,
    /// The cases of failures.
    pub datasets: Arc<dyn Datasets>,
    /// Where the result goes.
    pub findings: Arc<dyn Findings>,
    /// The model that reads what the rules leave unclear, where the project wants that.
    pub models: Arc<dyn MeteredModels>,
    /// The coding agents that do, where the project wants that.
    pub agents: AgentReaders,
}

/// In pieces of at most `size`.
fn in_chunks(mut all: Vec<Finding>, size: usize) -> Vec<Vec<Finding>> {
    let mut chunks = Vec::new();
    while all.len() > size {
        let rest = all.split_off(size);
        chunks.push(std::mem::replace(&mut all, rest));
    }
    chunks.push(all);
    chunks
}

/// Refuses any split but train: case by case, only train may be looked at.
pub(crate) fn only_train(evaluation: &EvaluationSpec) -> Result<(), WorkError> {
    if evaluation.split == Split::Train {
        return Ok(());
    }
    Err(WorkError::permanent(
        "NOT_TRAIN",
        format!(
            "only train evaluations may be looked at case by case, this one is of {}",
            evaluation.split
        ),
    ))
}

impl DiagnosisService {
    /// Attributes one evaluation and stores the result. Repeating replaces it with an equal one.
    ///
    /// # Errors
    /// Permanent for another split than train and for a variant that is no valid pipeline; else the ports' errors.
    pub async fn attribute_evaluation(
        &self,
        task: &ClaimedTask,
        evaluation: &EvaluationSpec,
        stop: &CancellationToken,
    ) -> Result<Attribution, WorkError> {
        only_train(evaluation)?;
        let job = self
            .jobs
            .get_job(task.job)
            .await
            .map_err(|error| WorkError::from_port("cannot read the job", error))?;
        let project = &job.spec.project;
        let tree = self
            .variants
            .get_variant(evaluation.variant)
            .await
            .map_err(|error| WorkError::from_port("cannot read the variant", error))?;
        let context = PipelineContext {
            project,
            input_keys: None,
        };
        let (pipeline, problems) = read_pipeline(&tree, &context);
        let flow = pipeline
            .as_ref()
            .and_then(|pipeline| Flow::of(pipeline, project))
            .ok_or_else(|| {
                WorkError::permanent(
                    "PIPELINE_INVALID",
                    format!("the evaluated variant is no valid pipeline: {problems}"),
                )
            })?;

        let payer = (task.job, task.fence());
        let reader = self.reader(&job.spec, (&flow, &tree), payer)?;
        let id = evaluation.id();
        let mut attributor = Attributor::new();
        let most = project.diagnosis.reader.cases as usize;
        let mut choice = Choice::new(most, project.seed, evaluation.variant);
        let mut from = 0u64;
        loop {
            if stop.is_cancelled() {
                return Err(WorkError::interrupted());
            }
            let page = self
                .scores
                .scores(id, from, PAGE)
                .await
                .map_err(|error| WorkError::from_port("cannot read scores", error))?;
            let Some(last) = page.last() else { break };
            from = last.score.ordinal.saturating_add(1);
            let mut failed: Vec<CaseScore> = Vec::new();
            for scored in page {
                attributor.count(&scored.score, project.diagnosis.failure_below);
                if scored.score.status.counts()
                    && scored.score.score < project.diagnosis.failure_below
                {
                    failed.push(scored.score);
                }
            }
            for chunk in failed.chunks(RUNS) {
                if stop.is_cancelled() {
                    return Err(WorkError::interrupted());
                }
                let ordinals: Vec<u64> = chunk.iter().map(|score| score.ordinal).collect();
                let (cases, runs) = self.load(evaluation, &ordinals).await?;
                for score in chunk {
                    let case = cases.iter().find(|case| case.case_id == score.case_id);
                    let run = runs.iter().find(|run| run.ordinal == score.ordinal);
                    let (Some(case), Some(run)) = (case, run) else {
                        tracing::warn!(
                            evaluation = %id.short(),
                            ordinal = score.ordinal,
                            "a score without its run or case cannot be attributed"
                        );
                        continue;
                    };
                    let view = CaseView {
                        case,
                        run,
                        score,
                        flow: &flow,
                        project,
                    };
                    let found = attribute(&view).and_then(|finding| {
                        if reader.is_some() && is_unclear(&finding) {
                            choice.offer(finding)
                        } else {
                            Some(finding)
                        }
                    });
                    if let Some(finding) = found {
                        attributor.add(finding);
                    }
                }
            }
        }
        let summary = match reader {
            None => None,
            Some(reader) => Some(
                self.read(evaluation, reader, choice, &mut attributor, stop)
                    .await?,
            ),
        };
        let (findings, attribution) = attributor.finish(summary);
        observe::attributed(&findings);
        self.findings
            .record_attribution(Some(task.fence()), id, findings, &attribution)
            .await
            .map_err(|error| WorkError::from_port("cannot store the attribution", error))?;
        Ok(attribution)
    }

    /// The project's reader; `None` where it has none.
    fn reader<'a>(
        &'a self,
        spec: &'a JobSpec,
        over: (&Flow, &VariantTree),
        payer: (JobId, Fence),
    ) -> Result<Option<Box<dyn FailureReader + 'a>>, WorkError> {
        let backend = spec.project.diagnosis.reader.backend;
        if let Some(agent) = backend.agent() {
            let reader = self.agents.of(agent, spec, over, payer)?;
            return Ok(Some(Box::new(reader)));
        }
        if backend == ReaderBackend::None {
            return Ok(None);
        }
        let reader = ModelReader::of(&*self.models, spec, over.0, payer)?;
        Ok(Some(Box::new(reader)))
    }

    /// Has the chosen failures read, and adds them all to the attribution, with a reading or without.
    async fn read(
        &self,
        evaluation: &EvaluationSpec,
        mut reader: Box<dyn FailureReader + '_>,
        choice: Choice,
        attributor: &mut Attributor,
        stop: &CancellationToken,
    ) -> Result<ReaderSummary, WorkError> {
        let mut summary = ReaderSummary {
            unclear: choice.seen,
            prompt_hash: Some(reader.prompt_hash()),
            ..ReaderSummary::default()
        };
        let into = (&mut *attributor, &mut summary);
        let reading = async {
            let read = self.read_all(evaluation, &mut *reader, choice, into, stop);
            let read = read.await;
            // ended whatever became of it: what was paid can be read
            let session = reader.close().await;
            read.and(session)
        };
        let session = unless_stopped(reading, stop, SESSION_DRAIN).await??;
        if let Some(session) = session {
            summary.session = Some(session.id);
            summary.spend = session.spend;
        }
        if let Some(note) = &summary.note {
            tracing::warn!(
                evaluation = %evaluation.id().short(),
                asked = summary.asked,
                "failures are left unread: {note}"
            );
        }
        Ok(summary)
    }

    async fn read_all(
        &self,
        evaluation: &EvaluationSpec,
        reader: &mut dyn FailureReader,
        choice: Choice,
        (attributor, summary): (&mut Attributor, &mut ReaderSummary),
        stop: &CancellationToken,
    ) -> Result<(), WorkError> {
        for chunk in in_chunks(choice.finish(), reader.at_once()) {
            if summary.note.is_some() {
                chunk
                    .into_iter()
                    .for_each(|finding| attributor.add(finding));
                continue;
            }
            let ordinals: Vec<u64> = chunk.iter().map(|finding| finding.ordinal).collect();
            let (cases, runs) = self.load(evaluation, &ordinals).await?;
            let mut unread = Vec::with_capacity(chunk.len());
            for finding in chunk {
                let case = cases.iter().find(|case| case.case_id == finding.case_id);
                let run = runs.iter().find(|run| run.ordinal == finding.ordinal);
                match (case.cloned(), run.cloned()) {
                    (Some(case), Some(run)) => unread.push(Unread { finding, case, run }),
                    // it was found with both; should they be gone meanwhile, it stays unread
                    _ => attributor.add(finding),
                }
            }
            if unread.is_empty() {
                continue;
            }
            let batch = reader.read(&unread, stop).await?;
            summary.spend += batch.spend;
            summary.note = batch.note;
            let mut reads = batch.reads.into_iter();
            for Unread { mut finding, .. } in unread {
                let read = reads.next().flatten();
                summary.asked += u64::from(read.is_some());
                match read {
                    Some(Read::Kept(reading)) => {
                        summary.kept += 1;
                        apply(&mut finding, reading);
                    }
                    Some(Read::Discarded) => summary.discarded += 1,
                    Some(Read::Unusable) => summary.unusable += 1,
                    None => {}
                }
                attributor.add(finding);
            }
        }
        Ok(())
    }

    async fn load(
        &self,
        evaluation: &EvaluationSpec,
        ordinals: &[u64],
    ) -> Result<(Vec<Case>, Vec<RunRecord>), WorkError> {
        let cases = self
            .datasets
            .cases(evaluation.dataset, evaluation.split, ordinals)
            .await
            .map_err(|error| WorkError::from_port("cannot read cases", error))?;
        let runs = self
            .traces
            .runs(evaluation.id(), ordinals, StepsOf::All)
            .await
            .map_err(|error| WorkError::from_port("cannot read runs", error))?;
        Ok((cases, runs))
    }
}

#[async_trait]
impl TaskHandler for DiagnosisService {
    fn topic(&self) -> Topic {
        Topic::Diagnose
    }

    async fn handle(
        &self,
        task: &ClaimedTask,
        stop: &CancellationToken,
    ) -> Result<Value, WorkError> {
        let TaskPayload::Attribute { evaluation } = &task.payload else {
            return Err(wrong_payload("attribute"));
        };
        let span = observe::attribute(task, evaluation);
        let attribution = self
            .attribute_evaluation(task, evaluation, stop)
            .instrument(span)
            .await?;
        to_value(&attribution)
    }
}

/// The task's payload is another topic's.
pub(crate) fn wrong_payload(wanted: &str) -> WorkError {
    WorkError::permanent(
        "WRONG_TASK",
        format!("this handler does `{wanted}` tasks only"),
    )
}

/// A result as JSON.
pub(crate) fn to_value<T: serde::Serialize>(result: &T) -> Result<Value, WorkError> {
    serde_json::to_value(result)
        .map_err(|error| WorkError::permanent("RESULT_UNWRITABLE", error.to_string()))
}
