//! Names of tasks. A task's id is derived from its job and such a key; the key says what is to be done and nothing about
//! when it was asked, so that asking twice is one task.

use fapo_domain::model::task::{NewTask, TaskPayload};
use fapo_domain::{JobId, TaskId};

/// The key of what `payload` asks for: `(kind, key)`.
pub fn key(payload: &TaskPayload, block_size: u64) -> (&'static str, String) {
    let number = |start: u64| start / block_size.max(1);
    match payload {
        TaskPayload::Execute {
            evaluation,
            block,
            round,
        } => (
            "execute",
            format!("exec/{}/{}/{round}", evaluation.id(), number(block.start)),
        ),
        TaskPayload::Score { evaluation, block } => (
            "score",
            format!("score/{}/{}", evaluation.id(), number(block.start)),
        ),
        TaskPayload::Compare { a, b, upto, .. } => {
            ("compare", format!("compare/{}/{}/{upto}", a.id(), b.id()))
        }
        TaskPayload::Attribute { evaluation } => {
            ("attribute", format!("attribute/{}", evaluation.id()))
        }
        TaskPayload::Propose(task) => (
            "propose",
            format!(
                "propose/{}/{}{}",
                task.iteration,
                task.slot,
                revised(u32::from(task.revise.is_some()))
            ),
        ),
        TaskPayload::Review(task) => (
            "review",
            format!(
                "review/{}/{}{}",
                task.iteration,
                task.slot,
                revised(task.revision)
            ),
        ),
    }
}

/// What tells a revision from the proposal: nothing for the proposal, so that its key stays what it always was.
fn revised(revision: u32) -> String {
    if revision == 0 {
        String::new()
    } else {
        format!("/revision-{revision}")
    }
}

/// The task of `job` that does `payload`.
pub fn new_task(job: JobId, payload: TaskPayload, block_size: u64) -> NewTask {
    let (kind, key) = key(&payload, block_size);
    NewTask {
        id: TaskId::derive(job, kind, &key),
        job,
        payload,
    }
}
