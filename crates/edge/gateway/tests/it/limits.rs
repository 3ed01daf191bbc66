//! Rates, and requests at once.

use std::time::Duration;

use fapo_gateway::{GatewayConfig, GatewayLimits};

use crate::client::{Ask, client};
use crate::faults;
use crate::world::{Setup, World};

async fn world(trust_proxy: bool) -> anyhow::Result<World> {
    let limits = GatewayLimits {
        rate: 1.0,
        burst: 3,
        ..GatewayLimits::default()
    };
    World::with(Setup {
        config: GatewayConfig {
            limits,
            trust_proxy,
            ..GatewayConfig::default()
        },
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn each_token_has_a_rate_of_its_own_and_hears_when_to_come_again() -> anyhow::Result<()> {
    let world = world(false).await?;
    let ask = |holder: &str| Ask::get("/api/v1/jobs").with(&world, holder);
    for _ in 0..3 {
        assert_eq!(ask("viewer").send(&world).await?.status, 200);
    }
    let refused = ask("viewer").send(&world).await?;
    assert_eq!(
        (refused.status, refused.reason()),
        (429, "RATE_LIMITED".to_owned())
    );
    assert_eq!(
        (
            refused.header("retry-after"),
            &refused.json()["retry_after_ms"]
        ),
        ("1", &1000.into())
    );
    assert_eq!(ask("submitter").send(&world).await?.status, 200);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(ask("viewer").send(&world).await?.status, 200);
    assert_eq!(ask("viewer").send(&world).await?.status, 429);
    Ok(())
}

#[tokio::test]
async fn who_shows_no_good_token_is_counted_by_address() -> anyhow::Result<()> {
    let world = world(false).await?;
    let guess = |n: usize| {
        let mut ask = Ask::get("/api/v1/jobs").header("x-forwarded-for", &format!("10.0.0.{n}"));
        ask.token = Some(format!("fapo_{n:016x}_{}", "A".repeat(43)));
        ask
    };
    for n in 0..3 {
        assert_eq!(guess(n).send(&world).await?.status, 401);
    }
    assert_eq!(guess(3).send(&world).await?.status, 429);
    let known = Ask::get("/api/v1/jobs").with(&world, "viewer");
    assert_eq!(
        known.send(&world).await?.status,
        200,
        "guesses cost a known token nothing"
    );
    Ok(())
}

#[tokio::test]
async fn behind_a_trusted_proxy_its_clients_are_told_apart() -> anyhow::Result<()> {
    let world = world(true).await?;
    let ask = |address: &str| Ask::get("/api/v1/jobs").header("x-forwarded-for", address);
    for _ in 0..3 {
        assert_eq!(ask("10.0.0.1").send(&world).await?.status, 401);
    }
    assert_eq!(ask("10.0.0.1").send(&world).await?.status, 429);
    assert_eq!(ask("10.0.0.1, 10.0.0.2").send(&world).await?.status, 401);
    Ok(())
}

#[tokio::test]
async fn a_full_server_says_so_at_once_and_is_still_alive() -> anyhow::Result<()> {
    let world = faults::world(GatewayLimits {
        requests: 1,
        ..GatewayLimits::default()
    })
    .await?;
    let hanging = client()
        .get(world.url("/api/v1/jobs?project=hang"))
        .bearer_auth(&world.tokens["root"])
        .send();
    let hanging = tokio::spawn(hanging);
    let busy = async {
        loop {
            let reply = faults::ask(&world, "none").send(&world).await?;
            if reply.status == 503 {
                return anyhow::Ok(reply);
            }
        }
    };
    let reply = tokio::time::timeout(Duration::from_secs(20), busy).await??;
    assert_eq!(
        (reply.reason(), reply.header("retry-after")),
        ("SERVER_BUSY".to_owned(), "1")
    );
    assert_eq!(Ask::get("/healthz").send(&world).await?.status, 200);
    hanging.abort();
    let free = async {
        while faults::ask(&world, "none").send(&world).await?.status != 200 {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(20), free).await??;
    Ok(())
}
