//! The reader that is a model: one structured call for each failure, several at a time.

use async_trait::async_trait;
use fapo_domain::error::chain;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::project::ModelSpec;
use fapo_domain::model::session::SessionRecord;
use fapo_domain::model::task::Fence;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::ledger::LedgerError;
use fapo_domain::ports::models::{ChatRole, MeteredError, MeteredModels};
use fapo_domain::ports::work::WorkError;
use fapo_domain::{ContentHash, JobId, Spend};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::brief::{Briefs, closed, told};
use super::{Batch, FailureReader, Read, Unread};
use crate::asking::{Asker, DRAIN, message, model_of, objects_with, unfinished, unless_stopped};
use crate::attribution::flow::Flow;

/// Most bytes of a case and its trace that the reader sees.
const CASE_BYTES: usize = 24_000;
/// A reading is short.
const LEAST_REPLY: u32 = 1024;
/// Failures asked about at once.
const AT_ONCE: usize = 4;
/// The prompts of the reader.
const PROMPTS: [&str; 2] = ["reader_system", "reader_user"];

/// A reader that is set up.
pub struct ModelReader<'a> {
    models: &'a dyn MeteredModels,
    briefs: Briefs<'a>,
    entry: &'a str,
    model: ModelSpec,
    job: JobId,
    fence: Fence,
}

impl<'a> ModelReader<'a> {
    /// The project's reader.
    ///
    /// # Errors
    /// Permanent where its model is not an entry of `models:`.
    pub fn of(
        models: &'a dyn MeteredModels,
        spec: &'a JobSpec,
        flow: &Flow,
        (job, fence): (JobId, Fence),
    ) -> Result<Self, WorkError> {
        let entry = spec.project.reading_model();
        let model = model_of(&spec.project, entry, "reader")
            .map_err(|message| WorkError::permanent("READER_CONFIG", message))?;
        Ok(Self {
            models,
            briefs: Briefs::of(spec, flow),
            entry,
            model,
            job,
            fence,
        })
    }

    /// Reads one failure, and says what that cost.
    async fn read_one(&self, failure: &Unread) -> Result<(Read, Spend), ReadError> {
        let told = told(failure, CASE_BYTES);
        let user = self.briefs.task(failure, &told, &[])?;
        let messages = vec![
            message(ChatRole::System, self.briefs.system()),
            message(ChatRole::User, user),
        ];
        let asker = Asker {
            purpose: "reader",
            role: SpendRole::Diagnosis,
            job: self.job,
            fence: self.fence,
            about: &[],
            least_reply: LEAST_REPLY,
        };
        let schema = closed(self.briefs.fields());
        let call = asker.call(self.entry, self.model.clone(), messages, schema);
        let reply = asker.ask(self.models, &call).await?;
        let answers = match unfinished(&reply, &call) {
            Some(_) => Vec::new(),
            None => objects_with(&reply.text, "kind"),
        };
        let read = self.briefs.judge(answers.first(), &failure.run);
        Ok((read, reply.spend))
    }
}

#[async_trait]
impl FailureReader for ModelReader<'_> {
    fn at_once(&self) -> usize {
        AT_ONCE
    }

    fn prompt_hash(&self) -> ContentHash {
        self.briefs.hash(&PROMPTS)
    }

    async fn read(
        &mut self,
        failures: &[Unread],
        stop: &CancellationToken,
    ) -> Result<Batch, WorkError> {
        let asked = join_all(failures.iter().map(|failure| self.read_one(failure)));
        let mut batch = Batch::default();
        for reply in unless_stopped(asked, stop, DRAIN).await? {
            match reply {
                Ok((read, spend)) => {
                    batch.reads.push(Some(read));
                    batch.spend += spend;
                }
                Err(error) => {
                    let note = hinders(error)?;
                    batch.reads.push(None);
                    batch.note.get_or_insert(note);
                }
            }
        }
        Ok(batch)
    }

    async fn close(self: Box<Self>) -> Result<Option<SessionRecord>, WorkError> {
        Ok(None)
    }
}

/// Why a failure could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    /// The model, the budget or the store.
    #[error("the reader's model could not be called")]
    Metered(#[from] MeteredError),
    /// What nobody can go on with.
    #[error(transparent)]
    Work(#[from] WorkError),
}

/// Sorts an error: what merely hinders reading, in words for people, or what the task fails of.
fn hinders(error: ReadError) -> Result<String, WorkError> {
    match error {
        ReadError::Work(error) => Err(error),
        ReadError::Metered(MeteredError::Budget(error @ LedgerError::Exhausted { .. })) => {
            Ok(error.to_string())
        }
        ReadError::Metered(MeteredError::Model(error)) if !error.is_configuration() => Ok(format!(
            "the reader's model cannot be reached: {}",
            chain(&error)
        )),
        ReadError::Metered(error) => Err(WorkError::from_port(
            "the reader's model could not be called",
            error,
        )),
    }
}
