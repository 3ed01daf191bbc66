//! What every [`fapo_domain::ports::ledger::Ledger`] must do.

use anyhow::{Result, bail, ensure};
use fapo_domain::clock::Clock as _;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::ledger::{Amount, Caps, Charge, LedgerError, ReservationId, Room};
use fapo_domain::{JobId, MicroUsd, Spend};
use futures::future::join_all;
use serde_json::json;

use super::Ports;
use super::tasks::{LEASE, claim, with_tasks};
use crate::sample;

fn amount(cost: u64, model_calls: u64) -> Amount {
    Amount {
        cost: MicroUsd(cost),
        model_calls,
    }
}

fn spent(cost: u64) -> Spend {
    Spend {
        cost: MicroUsd(cost),
        model_calls: 1,
        ..Spend::default()
    }
}

const fn caps(cost: u64, model_calls: u64) -> Caps {
    Caps {
        cost: Some(MicroUsd(cost)),
        model_calls: Some(model_calls),
    }
}

/// A reservation of a task that has no row.
fn id(job: JobId, task: u32, epoch: u64) -> ReservationId {
    ReservationId {
        task: sample::task_id(job, task),
        epoch,
    }
}

fn charge(job: JobId, reservation: ReservationId, release: Amount, cost: u64) -> Charge {
    Charge {
        job,
        reservation,
        role: SpendRole::Task,
        release,
        spent: spent(cost),
        lost: Amount::default(),
        keep: false,
    }
}

/// By role, in the roles' order.
pub async fn what_is_reserved_settled_and_lost_adds_up(ports: &Ports) -> Result<()> {
    let job = sample::job_id(1);
    ports.ledger.open_account(job, caps(1000, 100)).await?;
    let task = id(job, 1, 1);
    ports.ledger.reserve(job, task, amount(300, 3)).await?;
    let proposer = Charge {
        role: SpendRole::Proposer,
        ..charge(job, task, amount(100, 1), 60)
    };
    ports.ledger.settle(proposer).await?;
    let task_call = Charge {
        spent: sample::spend(70),
        ..charge(job, task, amount(100, 1), 0)
    };
    ports.ledger.settle(task_call).await?;
    let balance = ports.ledger.balance(job).await?;
    ensure!(balance.caps == caps(1000, 100));
    ensure!(balance.reserved == amount(100, 1));
    let by_role = [
        (SpendRole::Task, sample::spend(70)),
        (SpendRole::Proposer, spent(60)),
    ];
    ensure!(balance.spent == by_role, "{:?}", balance.spent);
    ensure!(ports.ledger.close(job, task).await? == amount(100, 1));
    let balance = ports.ledger.balance(job).await?;
    ensure!((balance.reserved, balance.lost) == (Amount::default(), amount(100, 1)));
    ensure!(balance.total().cost == MicroUsd(230) && balance.total().model_calls == 3);
    Ok(())
}

/// Whatever the cap says: it may have been billed.
pub async fn tries_without_an_answer_count_as_lost(ports: &Ports) -> Result<()> {
    let job = sample::job_id(1);
    ports.ledger.open_account(job, caps(1000, 10)).await?;
    let task = id(job, 1, 1);
    ports.ledger.reserve(job, task, amount(400, 1)).await?;
    let tries = Charge {
        spent: Spend::default(),
        lost: amount(1200, 3),
        ..charge(job, task, amount(400, 1), 0)
    };
    ports.ledger.settle(tries).await?;
    let balance = ports.ledger.balance(job).await?;
    ensure!((balance.reserved, balance.lost) == (Amount::default(), amount(1200, 3)));
    let full = ports.ledger.reserve(job, task, amount(1, 1)).await;
    ensure!(matches!(
        full,
        Err(LedgerError::Exhausted {
            may_fit_later: false,
            ..
        })
    ));
    Ok(())
}

/// Exactly as many succeed as fit.
pub async fn a_cap_is_never_passed_by_concurrent_callers(ports: &Ports) -> Result<()> {
    let job = sample::job_id(1);
    ports.ledger.open_account(job, caps(1_050, 1_000)).await?;
    let reservations =
        (0..40).map(|n| ports.ledger.reserve(job, id(job, n % 7, 1), amount(100, 1)));
    let outcomes = join_all(reservations).await;
    let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    ensure!(made == 10, "{made} reservations were made");
    ensure!(outcomes.iter().all(|outcome| matches!(
        outcome,
        Ok(())
            | Err(LedgerError::Exhausted {
                may_fit_later: true,
                ..
            })
    )));
    ensure!(ports.ledger.balance(job).await?.reserved == amount(1000, 10));
    // the last bit fits exactly
    ports
        .ledger
        .reserve(job, id(job, 1, 1), amount(50, 1))
        .await?;
    Ok(())
}

/// One that asks for too much does not spoil it for the others in its company.
pub async fn an_exhausted_caller_fails_alone_and_hears_whether_to_wait(
    ports: &Ports,
) -> Result<()> {
    let job = sample::job_id(1);
    ports.ledger.open_account(job, caps(1000, 2)).await?;
    let one = id(job, 1, 1);
    let (a, b, c) = futures::join!(
        ports.ledger.reserve(job, one, amount(400, 1)),
        ports.ledger.reserve(job, one, amount(1001, 1)),
        ports.ledger.reserve(job, id(job, 2, 1), amount(500, 1)),
    );
    a?;
    c?;
    // more than the whole cap: no settlement can help
    let Err(LedgerError::Exhausted { may_fit_later, .. }) = b else {
        bail!("{b:?}");
    };
    ensure!(!may_fit_later);
    // the calls are used up for now
    let later = ports.ledger.reserve(job, one, amount(1, 1)).await;
    let Err(LedgerError::Exhausted { may_fit_later, .. }) = later else {
        bail!("{later:?}");
    };
    ensure!(may_fit_later);
    let free = charge(job, one, amount(400, 1), 100);
    ports.ledger.settle(free).await?;
    ports
        .ledger
        .settle(charge(job, id(job, 2, 1), amount(500, 1), 100))
        .await?;
    // and now for good
    let never = ports.ledger.reserve(job, one, amount(1, 1)).await;
    let Err(LedgerError::Exhausted { may_fit_later, .. }) = never else {
        bail!("{never:?}");
    };
    ensure!(!may_fit_later);
    ensure!(ports.ledger.balance(job).await?.reserved == Amount::default());
    Ok(())
}

/// A task with a row spends under its live claim only; one without a row is work by hand.
pub async fn a_stale_claim_cannot_reserve(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    ports.ledger.open_account(job, Caps::default()).await?;
    let stale = claim(ports, job, 0).await?;
    ports
        .ledger
        .reserve(job, stale.into(), amount(5, 1))
        .await?;
    ports.clock.advance(LEASE);
    let live = claim(ports, job, 0).await?;
    let refused = ports.ledger.reserve(job, stale.into(), amount(5, 1)).await;
    ensure!(matches!(
        refused,
        Err(LedgerError::Store(StoreError::StaleLease { .. }))
    ));
    ports.ledger.reserve(job, live.into(), amount(7, 1)).await?;
    // what the dead claim held is lost; the live one's stays
    let balance = ports.ledger.balance(job).await?;
    ensure!((balance.reserved, balance.lost) == (amount(7, 1), amount(5, 1)));
    ports.tasks.complete_task(live, json!(1)).await?;
    let over = ports.ledger.reserve(job, live.into(), amount(7, 1)).await;
    ensure!(matches!(
        over,
        Err(LedgerError::Store(StoreError::StaleLease { .. }))
    ));
    Ok(())
}

/// Kept room is a reservation like any other: under the caps, and for the claim that asks.
pub async fn room_is_kept_within_the_caps(ports: &Ports) -> Result<()> {
    let job = sample::job_id(1);
    ports.ledger.open_account(job, caps(250, 10)).await?;
    let one = id(job, 1, 1);
    ports.ledger.reserve(job, one, amount(100, 1)).await?;
    let keep = Charge {
        keep: true,
        ..charge(job, one, amount(100, 1), 60)
    };
    // 60 are spent and 100 reserved, then 120 and 100
    for spent in [60, 120] {
        ensure!(ports.ledger.settle(keep).await? == Room::Kept);
        let balance = ports.ledger.balance(job).await?;
        ensure!((balance.reserved, balance.total().cost) == (amount(100, 1), MicroUsd(spent)));
    }
    // a third call was made in it; with 180 spent, 100 do not fit any more
    ensure!(ports.ledger.settle(keep).await? == Room::Released);
    let balance = ports.ledger.balance(job).await?;
    ensure!((balance.reserved, balance.total().cost) == (Amount::default(), MicroUsd(180)));
    // nor is anything kept that was not asked for
    ports.ledger.reserve(job, one, amount(50, 1)).await?;
    let plain = charge(job, one, amount(50, 1), 10);
    ensure!(ports.ledger.settle(plain).await? == Room::Released);
    ensure!(ports.ledger.balance(job).await?.reserved == Amount::default());
    Ok(())
}

/// Moving room from one claim to another leaves the account's sum as it was, and must be stored all the same.
pub async fn room_given_back_by_one_claim_serves_another(ports: &Ports) -> Result<()> {
    let job = sample::job_id(1);
    ports.ledger.open_account(job, caps(100, 10)).await?;
    let (one, two) = (id(job, 1, 1), id(job, 2, 1));
    ports.ledger.reserve(job, one, amount(100, 1)).await?;
    let give_back = Charge {
        spent: Spend::default(),
        ..charge(job, one, amount(100, 1), 0)
    };
    let (given, taken) = futures::join!(
        ports.ledger.settle(give_back),
        ports.ledger.reserve(job, two, amount(100, 1)),
    );
    ensure!(given? == Room::Released);
    taken?;
    ensure!(ports.ledger.close(job, one).await? == Amount::default());
    ensure!(ports.ledger.close(job, two).await? == amount(100, 1));
    Ok(())
}

/// Room for a claim that has ended would never be given back.
pub async fn an_ended_claim_keeps_no_room(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 1).await?;
    ports.ledger.open_account(job, Caps::default()).await?;
    let fence = claim(ports, job, 0).await?;
    ports
        .ledger
        .reserve(job, fence.into(), amount(100, 1))
        .await?;
    ports.tasks.complete_task(fence, json!(1)).await?;
    let late = Charge {
        keep: true,
        ..charge(job, fence.into(), amount(100, 1), 60)
    };
    ensure!(ports.ledger.settle(late).await? == Room::Released);
    let balance = ports.ledger.balance(job).await?;
    ensure!((balance.reserved, balance.lost) == (Amount::default(), Amount::default()));
    ensure!(balance.total().cost == MicroUsd(60));
    Ok(())
}

/// However it ends: nobody else would ever give it back.
pub async fn the_end_of_a_claim_counts_what_it_still_holds_as_lost(ports: &Ports) -> Result<()> {
    let job = with_tasks(ports, 1, 3).await?;
    ports.ledger.open_account(job, Caps::default()).await?;
    let now = ports.clock.now();
    for (number, ended) in (0..).zip(["done", "failed", "killed"]) {
        let fence = claim(ports, job, number).await?;
        ports
            .ledger
            .reserve(job, fence.into(), amount(10, 1))
            .await?;
        match ended {
            "done" => ports.tasks.complete_task(fence, json!(1)).await?,
            "failed" => drop(ports.tasks.fail_task(fence, "x", now, 9).await?),
            _ => ports.tasks.kill_task(fence, "x").await?,
        }
        let balance = ports.ledger.balance(job).await?;
        let lost = amount(10 * u64::from(number + 1), u64::from(number + 1));
        ensure!(
            (balance.reserved, balance.lost) == (Amount::default(), lost),
            "{ended}"
        );
    }
    Ok(())
}

/// All epochs up to the one given, and no other task's.
pub async fn closing_counts_the_rest_as_lost_once(ports: &Ports) -> Result<()> {
    let job = sample::job_id(1);
    ports.ledger.open_account(job, caps(100, 100)).await?;
    for (task, epoch, cost) in [(1, 1, 10), (1, 2, 20), (1, 3, 30), (2, 1, 15)] {
        let reservation = id(job, task, epoch);
        ports
            .ledger
            .reserve(job, reservation, amount(cost, 1))
            .await?;
    }
    ensure!(ports.ledger.close(job, id(job, 1, 2)).await? == amount(30, 2));
    ensure!(ports.ledger.close(job, id(job, 1, 2)).await? == Amount::default());
    let balance = ports.ledger.balance(job).await?;
    ensure!((balance.reserved, balance.lost) == (amount(45, 2), amount(30, 2)));
    // what is lost stays under the cap
    let full = ports
        .ledger
        .reserve(job, id(job, 2, 1), amount(26, 1))
        .await;
    ensure!(matches!(full, Err(LedgerError::Exhausted { .. })));
    ports
        .ledger
        .reserve(job, id(job, 2, 1), amount(25, 1))
        .await?;
    Ok(())
}

/// A worker that was thought dead gets its reply after all: nothing is counted twice.
pub async fn a_late_settlement_replaces_the_guess(ports: &Ports) -> Result<()> {
    let job = sample::job_id(1);
    ports.ledger.open_account(job, caps(100, 10)).await?;
    let late = id(job, 1, 1);
    ports.ledger.reserve(job, late, amount(60, 2)).await?;
    ports.ledger.close(job, late).await?;
    ports
        .ledger
        .settle(charge(job, late, amount(30, 1), 10))
        .await?;
    let balance = ports.ledger.balance(job).await?;
    ensure!(balance.lost == amount(30, 1) && balance.reserved == Amount::default());
    ensure!(balance.total().cost == MicroUsd(40));
    ports
        .ledger
        .reserve(job, id(job, 2, 1), amount(60, 1))
        .await?;
    Ok(())
}

/// What was spent is kept.
pub async fn opening_again_replaces_the_caps(ports: &Ports) -> Result<()> {
    let job = sample::job_id(1);
    let one = id(job, 1, 1);
    ports.ledger.open_account(job, caps(100, 10)).await?;
    ports.ledger.reserve(job, one, amount(100, 1)).await?;
    ports
        .ledger
        .settle(charge(job, one, amount(100, 1), 90))
        .await?;
    ensure!(ports.ledger.reserve(job, one, amount(20, 1)).await.is_err());
    ports.ledger.open_account(job, caps(110, 10)).await?;
    ports.ledger.reserve(job, one, amount(20, 1)).await?;
    let none = Caps::default();
    ports.ledger.open_account(job, none).await?;
    ports.ledger.reserve(job, one, amount(1_000_000, 1)).await?;
    let balance = ports.ledger.balance(job).await?;
    ensure!(balance.caps == none && balance.total().cost == MicroUsd(90));
    Ok(())
}

/// Money without an account is a bug, never a free call.
pub async fn an_account_that_was_never_opened_is_not_found(ports: &Ports) -> Result<()> {
    let job = sample::job_id(1);
    let one = id(job, 1, 1);
    let not_found = |error: Option<StoreError>| matches!(error, Some(StoreError::NotFound { .. }));
    ensure!(not_found(ports.ledger.balance(job).await.err()));
    ensure!(not_found(
        ports
            .ledger
            .settle(charge(job, one, amount(1, 1), 1))
            .await
            .err()
    ));
    let refused = ports.ledger.reserve(job, one, amount(1, 1)).await;
    ensure!(matches!(
        refused,
        Err(LedgerError::Store(StoreError::NotFound { .. }))
    ));
    ensure!(ports.ledger.close(job, one).await? == Amount::default());
    Ok(())
}
