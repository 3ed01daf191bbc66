//! How a topic is shared: projects in turn, and within a project its jobs.

use anyhow::{Result, ensure};
use fapo_domain::TaskId;
use fapo_domain::model::task::{Lane, Topic};
use fapo_domain::ports::queue::{Message, TaskQueue};

use super::{NOW, job, take, take_one, task};

/// A task message of a project's job.
fn task_of(project: &str, job_number: u8, number: u32) -> Message {
    Message::Task {
        task: TaskId::derive(job(job_number), "suite", &number.to_string()),
        job: job(job_number),
        lane: Lane::of(project),
    }
}

/// A job with many messages does not keep another's waiting.
pub async fn jobs_take_turns(queue: &dyn TaskQueue) -> Result<()> {
    let many: Vec<Message> = (0..100).map(|number| task(1, number)).collect();
    queue.push(Topic::Execute, &many, NOW).await?;
    queue
        .push(Topic::Execute, &[task(2, 1), task(2, 2)], NOW)
        .await?;
    queue.push(Topic::Execute, &[task(3, 1)], NOW).await?;
    let mut small = 0;
    for _ in 0..6 {
        let delivery = take_one(queue, Topic::Execute).await?;
        small += usize::from(delivery.message.job() != job(1));
    }
    ensure!(
        small == 3,
        "{small} of 3 messages of small jobs came among the first 6"
    );
    Ok(())
}

/// Projects are served alike, however many jobs each has, and the jobs of one project alike.
pub async fn projects_take_turns_and_then_their_jobs(queue: &dyn TaskQueue) -> Result<()> {
    for one in 1..=4 {
        let many: Vec<Message> = (0..30)
            .map(|number| task_of("large", one, number))
            .collect();
        queue.push(Topic::Execute, &many, NOW).await?;
    }
    let few: Vec<Message> = (0..10).map(|number| task_of("small", 5, number)).collect();
    queue.push(Topic::Execute, &few, NOW).await?;
    let mut by_job = [0; 6];
    for _ in 0..10 {
        for delivery in take(queue, Topic::Execute, 2).await? {
            let number = (1..=5).find(|number| job(*number) == delivery.message.job());
            by_job[usize::from(number.unwrap_or(0))] += 1;
        }
    }
    ensure!(
        by_job[5] == 10,
        "{by_job:?}: ten of the first twenty are the small project's"
    );
    ensure!(
        by_job[1..5].iter().all(|served| (2..=3).contains(served)),
        "{by_job:?}: the large project's jobs share its half"
    );
    Ok(())
}

/// A job's first message is not kept waiting by a huge one of its own project, nor by another project's.
pub async fn a_huge_job_delays_nobodys_first_message(queue: &dyn TaskQueue) -> Result<()> {
    let huge: Vec<Message> = (0..20_000).map(|number| task(1, number)).collect();
    queue.push(Topic::Execute, &huge, NOW).await?;
    // some are under way already
    ensure!(take(queue, Topic::Execute, 16).await?.len() == 16);
    let lane = Lane(1);
    let sibling = Message::Task {
        task: TaskId::derive(job(2), "suite", "1"),
        job: job(2),
        lane,
    };
    queue.push(Topic::Execute, &[sibling], NOW).await?;
    queue.push(Topic::Execute, &[task(3, 1)], NOW).await?;
    let next = take(queue, Topic::Execute, 4).await?;
    for wanted in [job(2), job(3)] {
        ensure!(
            next.iter().any(|delivery| delivery.message.job() == wanted),
            "the first message of {wanted} was not among the next four"
        );
    }
    Ok(())
}
