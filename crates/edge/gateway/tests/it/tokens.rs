//! Making and revoking tokens.

use fapo_domain::hash::ContentHash;
use fapo_domain::model::access::Role;
use fapo_domain::ports::access::Tokens as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Ask, Reply};
use crate::world::World;

async fn make(world: &World, holder: &str, body: Value) -> anyhow::Result<Reply> {
    Ask::post("/api/v1/tokens")
        .json(&body)
        .with(world, holder)
        .send(world)
        .await
}

#[tokio::test]
async fn a_token_is_shown_once_serves_until_its_end_and_is_kept_as_a_hash() -> anyhow::Result<()> {
    let world = World::new().await?;
    let body = json!({"name": "ci", "role": "submitter", "expires_in_seconds": 60.0});
    let made = make(&world, "admin", body).await?;
    assert_eq!(made.status, 201);
    let text = made.json()["token"].as_str().unwrap_or_default().to_owned();
    let id = made.json()["record"]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        text.starts_with(&format!("fapo_{id}_")) && text.len() == 65,
        "{text}"
    );
    assert_eq!(made.json()["record"]["project"], "qa");

    let row = world
        .store
        .find_token(ContentHash::of(text.as_bytes()))
        .await?;
    let row = row.expect("the token is stored under the hash of its text");
    assert_eq!((row.id.as_str(), row.role), (id.as_str(), Role::Submitter));

    let mut ask = Ask::get("/api/v1/jobs");
    ask.token = Some(text.clone());
    assert_eq!(ask.clone().send(&world).await?.status, 200);
    let list = Ask::get("/api/v1/tokens")
        .with(&world, "admin")
        .send(&world)
        .await?;
    let list = String::from_utf8(list.bytes)?;
    assert!(list.contains(&id) && !list.contains(&text[22..]));

    world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(ask.send(&world).await?.reason(), "TOKEN_EXPIRED");
    Ok(())
}

#[tokio::test]
async fn an_administrator_of_one_project_makes_no_token_of_another_or_of_a_service()
-> anyhow::Result<()> {
    let world = World::new().await?;
    let before = world.store.tokens(None).await?.len();
    let foreign = json!({"name": "ci", "role": "viewer", "project": "other"});
    assert_eq!(make(&world, "admin", foreign).await?.status, 404);
    let service = json!({"name": "ci", "role": "service"});
    let refused = make(&world, "root", service).await?;
    assert_eq!(
        (refused.status, refused.fields()),
        (400, vec!["role".to_owned()])
    );
    assert_eq!(world.store.tokens(None).await?.len(), before);
    Ok(())
}

#[tokio::test]
async fn a_revoked_token_ends_at_once_and_one_out_of_reach_stays() -> anyhow::Result<()> {
    let world = World::new().await?;
    let revoke = |id: &str| Ask::new(Method::DELETE, format!("/api/v1/tokens/{id}"));
    for out_of_reach in ["other_viewer", "root", "service"] {
        let id = &world.token_ids[out_of_reach];
        let reply = revoke(id).with(&world, "admin").send(&world).await?;
        assert_eq!(reply.status, 404, "{out_of_reach}");
    }
    let id = &world.token_ids["service"];
    assert_eq!(
        revoke(id).with(&world, "root").send(&world).await?.status,
        404
    );

    let id = &world.token_ids["viewer"];
    for _ in 0..2 {
        let reply = revoke(id).with(&world, "admin").send(&world).await?;
        assert_eq!((reply.status, reply.bytes.len()), (204, 0));
    }
    let reply = Ask::get("/api/v1/jobs")
        .with(&world, "viewer")
        .send(&world)
        .await?;
    assert_eq!(reply.reason(), "TOKEN_INVALID");
    Ok(())
}
