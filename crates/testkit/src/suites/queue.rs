//! What every [`TaskQueue`] must do. Invoke [`crate::queue_suite!`] for each implementation.
//!
//! The tests wait for conditions with generous deadlines and use short visibilities, so they run against a queue over a
//! network in real time, and in no time at all where time is paused.

mod fairness;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use fapo_domain::model::task::{Lane, Topic};
use fapo_domain::ports::queue::{Delivery, Message, QueueDepth, QueueError, TaskQueue};
use fapo_domain::{JobId, TaskId};
use futures::FutureExt;

pub use fairness::*;

/// Long enough for anything that should happen.
const LONG: Duration = Duration::from_secs(10);
/// A visibility that ends during a test.
const SHORT: Duration = Duration::from_millis(300);
/// A wait that shows that nothing comes.
const BRIEF: Duration = Duration::from_millis(50);
const NOW: Duration = Duration::ZERO;

/// A job by number.
pub fn job(number: u8) -> JobId {
    JobId::at(u64::from(number), [number; 10])
}

/// A task message by job and number.
pub fn task(of: u8, number: u32) -> Message {
    Message::Task {
        task: TaskId::derive(job(of), "suite", &number.to_string()),
        job: job(of),
        lane: Lane(u64::from(of)),
    }
}

const fn tick(job: JobId) -> Message {
    Message::Tick { job }
}

async fn take(queue: &dyn TaskQueue, topic: Topic, max: usize) -> Result<Vec<Delivery>> {
    Ok(queue.receive(topic, "a", max, LONG, LONG).await?)
}

async fn take_one(queue: &dyn TaskQueue, topic: Topic) -> Result<Delivery> {
    let mut taken = take(queue, topic, 1).await?;
    ensure!(
        taken.len() == 1,
        "one message was expected, not {}",
        taken.len()
    );
    Ok(taken.remove(0))
}

async fn nothing_comes(queue: &dyn TaskQueue, topic: Topic) -> Result<()> {
    let taken = queue.receive(topic, "b", 10, BRIEF, LONG).await?;
    ensure!(taken.is_empty(), "nothing was expected, not {taken:?}");
    Ok(())
}

/// A message is delivered with its topic, and not again once acknowledged.
pub async fn an_acknowledged_message_is_gone(queue: &dyn TaskQueue) -> Result<()> {
    queue.push(Topic::Execute, &[task(1, 1)], NOW).await?;
    let delivery = queue
        .receive(Topic::Execute, "a", 1, LONG, SHORT)
        .await?
        .remove(0);
    ensure!(delivery.message == task(1, 1) && delivery.topic == Topic::Execute);
    ensure!(delivery.deliveries == 1);
    queue.acknowledge(&delivery).await?;
    queue.acknowledge(&delivery).await?;
    let later = queue
        .receive(Topic::Execute, "b", 1, SHORT * 2, LONG)
        .await?;
    ensure!(later.is_empty(), "it came again: {later:?}");
    // gone for good, so it may be pushed anew
    queue.push(Topic::Execute, &[task(1, 1)], NOW).await?;
    ensure!(take_one(queue, Topic::Execute).await?.message == task(1, 1));
    Ok(())
}

/// Topics do not see one another's messages.
pub async fn topics_are_apart(queue: &dyn TaskQueue) -> Result<()> {
    queue.push(Topic::Execute, &[task(1, 1)], NOW).await?;
    nothing_comes(queue, Topic::Score).await?;
    ensure!(take_one(queue, Topic::Execute).await?.message == task(1, 1));
    Ok(())
}

/// A delivered message is invisible until its visibility ends, then it comes again with a higher count.
pub async fn an_unacknowledged_message_comes_again(queue: &dyn TaskQueue) -> Result<()> {
    queue.push(Topic::Score, &[task(1, 1)], NOW).await?;
    let first = queue
        .receive(Topic::Score, "a", 1, LONG, SHORT)
        .await?
        .remove(0);
    nothing_comes(queue, Topic::Score).await?;
    let second = take_one(queue, Topic::Score).await?;
    ensure!(second.message == first.message);
    ensure!(second.deliveries > first.deliveries);
    ensure!(second.token != first.token);
    Ok(())
}

/// Renewing keeps a message invisible.
pub async fn a_renewed_delivery_stays_invisible(queue: &dyn TaskQueue) -> Result<()> {
    queue.push(Topic::Score, &[task(1, 1)], NOW).await?;
    let delivery = queue
        .receive(Topic::Score, "a", 1, LONG, SHORT)
        .await?
        .remove(0);
    queue.renew(&delivery, LONG * 6).await?;
    let later = queue.receive(Topic::Score, "b", 1, SHORT * 2, LONG).await?;
    ensure!(later.is_empty(), "it came again: {later:?}");
    queue.renew(&delivery, LONG).await?;
    queue.acknowledge(&delivery).await?;
    Ok(())
}

/// Once another consumer has the message, the first can neither renew it nor give it back.
pub async fn a_lost_delivery_cannot_be_renewed(queue: &dyn TaskQueue) -> Result<()> {
    queue.push(Topic::Score, &[task(1, 1)], NOW).await?;
    let first = queue
        .receive(Topic::Score, "a", 1, LONG, SHORT)
        .await?
        .remove(0);
    let second = queue
        .receive(Topic::Score, "b", 1, LONG, LONG)
        .await?
        .remove(0);
    let renewed = queue.renew(&first, LONG).await;
    ensure!(
        matches!(renewed, Err(QueueError::Lost { .. })),
        "a lost delivery was renewed: {renewed:?}"
    );
    queue.retry_later(&first, NOW).await?;
    nothing_comes(queue, Topic::Score).await?;
    queue.renew(&second, LONG).await?;
    queue.acknowledge(&second).await?;
    Ok(())
}

/// A message that is given back comes again after the delay, and not before.
pub async fn a_message_given_back_comes_after_its_delay(queue: &dyn TaskQueue) -> Result<()> {
    queue.push(Topic::Propose, &[task(1, 1)], NOW).await?;
    let delivery = take_one(queue, Topic::Propose).await?;
    queue.retry_later(&delivery, SHORT).await?;
    queue.retry_later(&delivery, SHORT).await?;
    nothing_comes(queue, Topic::Propose).await?;
    let again = take_one(queue, Topic::Propose).await?;
    ensure!(again.message == delivery.message);
    ensure!(again.deliveries == 2);
    queue.retry_later(&again, NOW).await?;
    ensure!(take_one(queue, Topic::Propose).await?.deliveries == 3);
    Ok(())
}

/// A delayed message comes after its delay, and wakes a consumer that waits already.
pub async fn a_delayed_message_comes_after_its_delay(queue: &dyn TaskQueue) -> Result<()> {
    queue.push(Topic::Review, &[task(1, 1)], SHORT).await?;
    nothing_comes(queue, Topic::Review).await?;
    ensure!(take_one(queue, Topic::Review).await?.message == task(1, 1));
    Ok(())
}

/// A consumer that waits gets a message pushed meanwhile.
pub async fn a_waiting_consumer_is_woken(queue: &dyn TaskQueue) -> Result<()> {
    let pushed = async {
        tokio::time::sleep(BRIEF).await;
        queue.push(Topic::Execute, &[task(1, 1)], NOW).await
    };
    let (taken, pushed) = tokio::join!(take_one(queue, Topic::Execute), pushed);
    pushed?;
    ensure!(taken?.message == task(1, 1));
    Ok(())
}

/// An empty queue answers with nothing once the wait is over.
pub async fn an_empty_topic_answers_after_the_wait(queue: &dyn TaskQueue) -> Result<()> {
    let started = tokio::time::Instant::now();
    let taken = queue.receive(Topic::Execute, "a", 1, SHORT, LONG).await?;
    ensure!(taken.is_empty());
    ensure!(started.elapsed() >= SHORT);
    Ok(())
}

/// `max` bounds what one call takes; the rest stays for others.
pub async fn no_more_than_asked_for_is_taken(queue: &dyn TaskQueue) -> Result<()> {
    let messages: Vec<Message> = (0..5).map(|number| task(1, number)).collect();
    queue.push(Topic::Execute, &messages, NOW).await?;
    let mut seen = BTreeSet::new();
    for expected in [2, 2, 1] {
        let taken = take(queue, Topic::Execute, 2).await?;
        ensure!(
            taken.len() == expected,
            "{} instead of {expected}",
            taken.len()
        );
        seen.extend(taken.into_iter().map(|one| format!("{:?}", one.message)));
    }
    ensure!(seen.len() == 5);
    Ok(())
}

/// A message that is under way is in once: pushed again, it does not come to somebody else.
pub async fn a_message_under_way_is_not_delivered_again(queue: &dyn TaskQueue) -> Result<()> {
    queue.push(Topic::Execute, &[task(1, 1)], NOW).await?;
    let first = take_one(queue, Topic::Execute).await?;
    queue.push(Topic::Execute, &[task(1, 1)], NOW).await?;
    nothing_comes(queue, Topic::Execute).await?;
    queue.acknowledge(&first).await?;
    nothing_comes(queue, Topic::Execute).await?;
    Ok(())
}

/// A delayed message that is pushed again is due at the earlier of the two times.
pub async fn a_delayed_message_pushed_again_is_due_earlier(queue: &dyn TaskQueue) -> Result<()> {
    queue.push(Topic::Execute, &[task(1, 1)], LONG * 6).await?;
    queue.push(Topic::Execute, &[task(1, 1)], LONG * 60).await?;
    nothing_comes(queue, Topic::Execute).await?;
    queue.push(Topic::Execute, &[task(1, 1)], NOW).await?;
    let delivery = take_one(queue, Topic::Execute).await?;
    ensure!(delivery.message == task(1, 1) && delivery.deliveries == 1);
    queue.acknowledge(&delivery).await?;
    nothing_comes(queue, Topic::Execute).await
}

/// A tick pushed under way is due at once, though its delivery is given back for later.
pub async fn a_tick_given_back_is_not_later_than_it_was_pushed(
    queue: &dyn TaskQueue,
) -> Result<()> {
    let message = tick(job(1));
    queue.push(Topic::Job, &[message], NOW).await?;
    let first = take_one(queue, Topic::Job).await?;
    queue.push(Topic::Job, &[message], NOW).await?;
    queue.retry_later(&first, LONG * 60).await?;
    ensure!(take_one(queue, Topic::Job).await?.message == message);
    Ok(())
}

/// A delivery tells how long its message was ready, without the delay that was asked for.
pub async fn a_delivery_tells_how_long_it_waited(queue: &dyn TaskQueue) -> Result<()> {
    queue.push(Topic::Score, &[task(1, 1)], NOW).await?;
    queue.push(Topic::Review, &[task(1, 1)], SHORT * 2).await?;
    tokio::time::sleep(SHORT).await;
    let waited = take_one(queue, Topic::Score).await?.waited;
    ensure!(waited >= SHORT && waited < LONG, "{waited:?}");
    let waited = take_one(queue, Topic::Review).await?.waited;
    ensure!(waited < SHORT, "{waited:?} of a delayed message");
    Ok(())
}

/// What waits, is delayed and is under way is told for each topic.
pub async fn its_depth_tells_where_messages_are<Q: TaskQueue + QueueDepth>(
    queue: &Q,
) -> Result<()> {
    let messages: Vec<Message> = (0..5).map(|number| task(1, number)).collect();
    queue.push(Topic::Execute, &messages, NOW).await?;
    queue.push(Topic::Execute, &[task(2, 1)], LONG).await?;
    ensure!(take(queue, Topic::Execute, 2).await?.len() == 2);
    tokio::time::sleep(SHORT).await;
    let depth = queue.depth().await?;
    ensure!(
        depth.iter().map(|one| one.topic).eq(Topic::ALL),
        "{depth:?}"
    );
    for one in depth {
        let told = (one.waiting, one.delayed, one.delivered);
        if one.topic == Topic::Execute {
            ensure!(told == (3, 1, 2), "{one:?}");
            ensure!(u128::from(one.oldest_ms) >= SHORT.as_millis(), "{one:?}");
        } else {
            ensure!(told == (0, 0, 0) && one.oldest_ms == 0, "{one:?}");
        }
    }
    Ok(())
}

/// Dropping a receive loses nothing, whether it waits or is about to answer.
pub async fn a_dropped_receive_loses_nothing(queue: &dyn TaskQueue) -> Result<()> {
    for number in 0..20 {
        // one that waits
        let waiting = queue.receive(Topic::Execute, "a", 1, LONG, SHORT);
        let stopped = tokio::time::timeout(Duration::from_millis(1), waiting).await;
        ensure!(stopped.is_err(), "nothing was there to be received");
        // one that is dropped around the moment of the push
        let mut racing = queue.receive(Topic::Execute, "a", 1, LONG, SHORT);
        let early = (&mut racing).now_or_never();
        ensure!(early.is_none());
        queue.push(Topic::Execute, &[task(1, number)], NOW).await?;
        drop(racing);
        let delivery = take_one(queue, Topic::Execute).await?;
        ensure!(delivery.message == task(1, number));
        queue.acknowledge(&delivery).await?;
    }
    Ok(())
}

/// A message that waits already may be dropped, but never lost.
pub async fn pushing_twice_delivers_at_least_once(queue: &dyn TaskQueue) -> Result<()> {
    queue
        .push(Topic::Execute, &[task(1, 1), task(1, 1)], NOW)
        .await?;
    queue.push(Topic::Execute, &[task(1, 1)], NOW).await?;
    let mut times = 0;
    loop {
        let taken = queue.receive(Topic::Execute, "a", 10, BRIEF, LONG).await?;
        if taken.is_empty() {
            break;
        }
        for delivery in taken {
            times += 1;
            queue.acknowledge(&delivery).await?;
        }
    }
    ensure!((1..=3).contains(&times), "it came {times} times");
    Ok(())
}

/// A tick that is pushed while one is under way comes once more: what it announces may have been read too early.
pub async fn a_tick_pushed_under_way_comes_once_more(queue: &dyn TaskQueue) -> Result<()> {
    let message = tick(job(1));
    queue.push(Topic::Job, &[message], NOW).await?;
    let first = take_one(queue, Topic::Job).await?;
    queue.push(Topic::Job, &[message], NOW).await?;
    queue.push(Topic::Job, &[message], NOW).await?;
    queue.acknowledge(&first).await?;
    let second = take_one(queue, Topic::Job).await?;
    ensure!(second.message == message);
    queue.acknowledge(&second).await?;
    Ok(())
}

/// Messages that are pushed and taken by many at once all arrive.
pub async fn nothing_is_lost_among_many_consumers(queue: &dyn TaskQueue) -> Result<()> {
    const MESSAGES: u32 = 200;
    let produce = async {
        for number in 0..MESSAGES {
            let message = task((number % 5) as u8, number);
            queue.push(Topic::Execute, &[message], NOW).await?;
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    let consume = |consumer: &'static str| async move {
        let mut seen = Vec::new();
        loop {
            let taken = queue
                .receive(Topic::Execute, consumer, 3, SHORT, LONG)
                .await?;
            if taken.is_empty() {
                return anyhow::Ok(seen);
            }
            for delivery in taken {
                seen.push(format!("{:?}", delivery.message));
                queue.acknowledge(&delivery).await?;
                tokio::task::yield_now().await;
            }
        }
    };
    let (produced, a, b, c) = tokio::join!(produce, consume("a"), consume("b"), consume("c"));
    produced?;
    let all: Vec<String> = [a?, b?, c?].into_iter().flatten().collect();
    let distinct: BTreeSet<&String> = all.iter().collect();
    ensure!(
        distinct.len() == MESSAGES as usize,
        "{} arrived",
        distinct.len()
    );
    ensure!(
        all.len() == distinct.len(),
        "a message was delivered twice at once"
    );
    Ok(())
}

/// The suite for one implementation, as a module of tests.
///
/// `queue_suite!(memory, start_paused, || async { Ok((MemoryQueue::new(), ())) })` for a queue whose time is tokio's;
/// without `start_paused` the tests run in real time. What stands beside the queue lives as long as the test.
#[macro_export]
macro_rules! queue_suite {
    ($module:ident, start_paused, $make:expr) => {
        $crate::queue_suite!(@module $module, [tokio::test(start_paused = true)], $make);
    };
    ($module:ident, $make:expr) => {
        $crate::queue_suite!(@module $module, [tokio::test], $make);
    };
    (@module $module:ident, $attribute:tt, $make:expr) => {
        mod $module {
            use super::*;
            $crate::queue_suite!(@tests $attribute, $make, [
                an_acknowledged_message_is_gone,
                topics_are_apart,
                an_unacknowledged_message_comes_again,
                a_renewed_delivery_stays_invisible,
                a_lost_delivery_cannot_be_renewed,
                a_message_given_back_comes_after_its_delay,
                a_delayed_message_comes_after_its_delay,
                a_waiting_consumer_is_woken,
                an_empty_topic_answers_after_the_wait,
                no_more_than_asked_for_is_taken,
                jobs_take_turns,
                projects_take_turns_and_then_their_jobs,
                a_huge_job_delays_nobodys_first_message,
                a_message_under_way_is_not_delivered_again,
                a_delayed_message_pushed_again_is_due_earlier,
                a_tick_given_back_is_not_later_than_it_was_pushed,
                a_delivery_tells_how_long_it_waited,
                its_depth_tells_where_messages_are,
                a_dropped_receive_loses_nothing,
                pushing_twice_delivers_at_least_once,
                a_tick_pushed_under_way_comes_once_more,
                nothing_is_lost_among_many_consumers,
            ]);
        }
    };
    (@tests $attribute:tt, $make:expr, [$($name:ident),+ $(,)?]) => {
        $($crate::queue_suite!(@test $attribute, $make, $name);)+
    };
    (@test [$($attribute:tt)*], $make:expr, $name:ident) => {
        #[$($attribute)*]
        async fn $name() -> anyhow::Result<()> {
            let (queue, _keep) = ($make)().await?;
            $crate::suites::queue::$name(&queue).await
        }
    };
}
