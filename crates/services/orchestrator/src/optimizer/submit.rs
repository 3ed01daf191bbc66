//! Blobs, and a project becoming a job.

use std::collections::BTreeSet;
use std::sync::Arc;

use fapo_domain::hash::{ContentHash, Hasher, canonical_json};
use fapo_domain::ids::JobId;
use fapo_domain::model::access::Caller;
use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::optimizer::{OptimizerError, Submission};

use super::OptimizerService;
use super::access::{invalid, not_found};

/// Hashes or contents in one call.
const BLOBS: usize = 10_000;
/// Files of a project.
const FILES: usize = 10_000;
/// Characters of a request id.
const REQUEST_ID: usize = 64;

impl OptimizerService {
    /// Which of `hashes` are not stored yet.
    pub(super) async fn absent(
        &self,
        hashes: &[ContentHash],
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        at_most("hashes", hashes.len(), BLOBS)?;
        Ok(self.ports.blobs.absent_blobs(hashes).await?)
    }

    /// Stores contents.
    pub(super) async fn store(
        &self,
        contents: Vec<Arc<[u8]>>,
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        at_most("contents", contents.len(), BLOBS)?;
        Ok(self.ports.blobs.put_blobs(contents).await?)
    }

    /// Makes a job of a submission, or finds the one that it became before.
    ///
    /// The request is bound to a job id first, and the job made under that id: a process that dies in between leaves a bound id
    /// without a job, and the client's repetition makes it. A repetition of one that became a job reads nothing again, so it
    /// gives the same job whatever has changed on the server since.
    pub(super) async fn accept(
        &self,
        caller: &Caller,
        submission: Submission,
        trace: Option<TraceParent>,
    ) -> Result<JobId, OptimizerError> {
        check(&submission)?;
        if !caller.sees(&submission.project) {
            return Err(not_found("project", &submission.project));
        }
        let missing = self.missing_of(&submission).await?;
        if !missing.is_empty() {
            return Err(OptimizerError::MissingBlobs { missing });
        }
        let id = self.bind(&submission).await?;
        match self.orchestrator.jobs.get_job(id).await {
            Ok(_) => return Ok(id),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let goal = submission.goal.clone();
        let spec = self.ports.intake.import(&submission.files, goal).await?;
        // the caller was held against the name in the request, so nothing else may come out of the files
        if spec.project.name != submission.project {
            return Err(invalid(
                "project",
                format!(
                    "it says {:?}, and fapo.yaml says {:?}: they must be the same",
                    submission.project, spec.project.name
                ),
            ));
        }
        self.orchestrator.submit_as(id, spec, trace).await?;
        Ok(id)
    }

    async fn missing_of(
        &self,
        submission: &Submission,
    ) -> Result<Vec<ContentHash>, OptimizerError> {
        // files with equal content are one blob
        let wanted: BTreeSet<ContentHash> = submission.files.0.values().copied().collect();
        let wanted: Vec<ContentHash> = wanted.into_iter().collect();
        Ok(self.ports.blobs.absent_blobs(&wanted).await?)
    }

    /// The job id that the request stands for: a new one, or the one it was bound to.
    async fn bind(&self, submission: &Submission) -> Result<JobId, OptimizerError> {
        let bound = self.ports.requests.bind_request(
            &submission.project,
            &submission.request_id,
            fingerprint(submission),
            self.orchestrator.new_id(),
            self.orchestrator.clock.now(),
        );
        match bound.await {
            Ok(id) => Ok(id),
            Err(StoreError::AlreadyExists { .. }) => Err(OptimizerError::RequestReused {
                request_id: submission.request_id.clone(),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

/// The hash of what is asked.
fn fingerprint(submission: &Submission) -> ContentHash {
    let goal = serde_json::to_value(&submission.goal).expect("a goal is plain data");
    let mut hasher = Hasher::new("submission/v1");
    hasher
        .part(submission.project.as_bytes())
        .part(canonical_json(&goal).as_bytes())
        .number(submission.files.0.len() as u64);
    for (path, content) in &submission.files.0 {
        hasher.part(path.as_bytes()).hash(content);
    }
    hasher.finish()
}

/// Refuses what no look at the store could mend.
fn check(submission: &Submission) -> Result<(), OptimizerError> {
    let id = &submission.request_id;
    if id.is_empty() || id.chars().count() > REQUEST_ID || id.chars().any(char::is_control) {
        return Err(invalid(
            "request_id",
            format!("give 1 to {REQUEST_ID} characters, none of them a control character"),
        ));
    }
    if submission.project.is_empty() {
        return Err(invalid("project", "give the `name` of fapo.yaml"));
    }
    if submission.files.0.is_empty() {
        return Err(invalid(
            "files",
            "give the project's files, fapo.yaml first",
        ));
    }
    at_most("files", submission.files.0.len(), FILES)
}

fn at_most(field: &str, given: usize, most: usize) -> Result<(), OptimizerError> {
    if given > most {
        return Err(invalid(
            field,
            format!("there are {given}; a call takes at most {most}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fapo_domain::model::job::JobGoal;
    use fapo_domain::ports::optimizer::Manifest;

    use super::*;

    fn submission() -> Submission {
        let files = BTreeMap::from([("fapo.yaml".to_owned(), ContentHash::of(b"name: qa"))]);
        Submission {
            request_id: "r-1".to_owned(),
            project: "qa".to_owned(),
            files: Manifest(files),
            goal: JobGoal::Optimize,
        }
    }

    #[test]
    fn a_fingerprint_is_of_what_is_asked_and_not_of_who_asks() {
        let one = submission();
        let again = Submission {
            request_id: "r-2".to_owned(),
            ..submission()
        };
        assert_eq!(fingerprint(&one), fingerprint(&again));
        let mut other = submission();
        other.files.0.insert("x".to_owned(), ContentHash::of(b"x"));
        assert_ne!(fingerprint(&one), fingerprint(&other));
    }

    #[test]
    fn a_request_id_is_a_short_printable_text() {
        for bad in [String::new(), "x".repeat(65), "a\nb".to_owned()] {
            let refused = Submission {
                request_id: bad.clone(),
                ..submission()
            };
            let said = check(&refused).expect_err(&bad).to_string();
            assert!(said.starts_with("`request_id`: "), "{said}");
        }
        assert!(check(&submission()).is_ok());
    }
}
