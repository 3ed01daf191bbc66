//! Money: no interleaving passes a cap.

use futures::future::join_all;

use super::*;

#[tokio::test]
async fn caps_hold_under_twenty_requests_at_once() {
    // Each may cost `worst`, costs a third of it, and three fit at a time: all wait for each other.
    let asked = body(1000, false);
    let worst = worst(&asked);
    let cost = worst / 3;
    let cap = 7 * worst / 2;
    for (session, job) in [(Some(cap), None), (None, Some(cap)), (Some(cap), Some(cap))] {
        let replies = (0..20).map(|_| Move::text("ok").using(usage(cost, 0)));
        let mut lab = Lab::playing(replies).await;
        lab.config.budget_wait = Duration::from_secs(30);
        lab.cap(job).await;
        let mut grant = lab.grant();
        grant.cost = session.map(MicroUsd);
        let relay = lab.try_open(grant).await.unwrap();
        let replies =
            join_all((0..20).map(|_| async { read(send(relay.socket(), &asked).await).await }))
                .await;
        let paid = replies.iter().filter(|reply| reply.status == 200).count() as u64;
        for reply in replies.iter().filter(|reply| reply.status != 200) {
            assert_eq!(reply.error(), (402, "billing_error".to_owned()));
        }
        let used = relay.close().await.unwrap();
        assert_eq!(used.spend.cost, MicroUsd(paid * cost));
        assert!(used.spend.cost <= MicroUsd(cap));
        assert!(used.out_of_money);
        // none was refused while it would have fitted once the others were settled
        assert!(paid * cost + worst > cap, "{paid} of {session:?} {job:?}");
        assert_eq!(lab.claude.requests().len() as u64, paid);
        nothing_is_reserved(&lab.balance().await);
    }
}

#[tokio::test]
async fn what_cannot_be_paid_is_refused_in_a_way_that_nobody_tries_again() {
    let lab = Lab::playing([]).await;
    lab.cap(Some(1000)).await;
    let relay = lab.open().await;
    let refused = ask(&*relay, 100_000).await;
    assert_eq!(refused.error(), (402, "billing_error".to_owned()));
    assert_eq!(refused.headers["x-should-retry"], "false");
    let used = relay.close().await.unwrap();
    assert!(used.out_of_money);
    assert_eq!((used.requests, used.refused.len()), (0, 1));
    assert!(lab.claude.requests().is_empty());
}

#[tokio::test]
async fn a_session_may_make_so_many_requests() {
    let lab = Lab::playing([Move::text("a"), Move::status(529), Move::text("c")]).await;
    let mut grant = lab.grant();
    grant.requests = Some(2);
    let relay = lab.try_open(grant).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(ask(&*relay, 10).await.status.as_u16());
    }
    assert_eq!(statuses, [200, 529, 402]);
    assert!(relay.close().await.unwrap().out_of_money);
}

#[tokio::test]
async fn another_model_is_paid_at_its_own_price_and_none_without_one() {
    let lab = Lab::playing([
        Move::text("a").using(usage(100, 10)),
        Move::text("b").using(usage(100, 10)),
    ])
    .await;
    let other = |model: &str| {
        let mut asked = body(10, false);
        asked["model"] = model.into();
        asked
    };
    let mut grant = lab.grant();
    grant.cost = Some(MicroUsd(1_000_000));
    let relay = lab.try_open(grant).await.unwrap();
    let known = read(send(relay.socket(), &other("claude-opus-4-5-20251101")).await).await;
    assert_eq!(known.status, 200);
    assert_eq!(relay.used().spend.cost, MicroUsd(100 * 5 + 10 * 25));
    let unknown = read(send(relay.socket(), &other("claude-nobody")).await).await;
    assert_eq!(unknown.error(), (402, "billing_error".to_owned()));
    relay.close().await.unwrap();

    // where nothing is bounded in dollars, its tokens are counted all the same
    let relay = lab.open().await;
    let unknown = read(send(relay.socket(), &other("claude-nobody")).await).await;
    assert_eq!(unknown.status, 200);
    let used = relay.close().await.unwrap();
    assert_eq!(
        (used.spend.cost, used.spend.usage.input_tokens),
        (MicroUsd::ZERO, 100)
    );

    let mut unpriced = lab.grant();
    unpriced.model.model = "claude-unheard-of-9".to_owned();
    unpriced.model.price = None;
    unpriced.cost = Some(MicroUsd(1));
    let refused = lab.try_open(unpriced).await.err().unwrap();
    assert!(matches!(refused, RelayError::Model(_)));
}

#[tokio::test]
async fn a_word_that_only_the_program_knows_is_priced_by_what_it_asks_for() {
    let lab = Lab::playing([Move::text("ok").using(usage(1000, 0))]).await;
    let mut grant = lab.grant();
    grant.model.model = "opus".to_owned();
    grant.model.price = None;
    grant.cost = Some(MicroUsd(1_000_000));
    let relay = lab.try_open(grant).await.unwrap();
    let naming = |model: &str| {
        let mut body = body(100, false);
        body["model"] = json!(model);
        body
    };
    let known = read(send(relay.socket(), &naming("claude-opus-4-5")).await).await;
    assert_eq!(known.status, 200);
    let unknown = read(send(relay.socket(), &naming("claude-unheard-of-9")).await).await;
    assert_eq!(unknown.error(), (402, "billing_error".to_owned()));
    let used = relay.close().await.unwrap();
    // 5 dollars a million
    assert_eq!(used.spend.cost, MicroUsd(5_000));
}
