//! What every [`fapo_domain::ports::access::Tokens`] must do.

use anyhow::{Context as _, Result, ensure};
use fapo_domain::clock::Timestamp;
use fapo_domain::model::access::{Role, TokenRecord};
use fapo_domain::ports::StoreError;

use super::Ports;
use crate::sample;

fn token(number: u8, project: Option<&str>) -> TokenRecord {
    TokenRecord {
        id: format!("{number:016x}"),
        hash: Some(sample::hash(&format!("secret {number}"))),
        name: format!("name {number}"),
        project: project.map(str::to_owned),
        role: Role::Submitter,
        created_at: Timestamp(i64::from(number)),
        expires_at: Some(Timestamp(1_000)),
        revoked_at: None,
    }
}

/// Every field.
pub async fn a_token_is_found_by_its_hash_and_by_nothing_else(ports: &Ports) -> Result<()> {
    let everywhere = TokenRecord {
        role: Role::Service,
        expires_at: None,
        ..token(2, None)
    };
    for stored in [token(1, Some("qa")), everywhere] {
        ports.tokens.create_token(stored.clone()).await?;
        let hash = stored.hash.context("it has one")?;
        let found = ports.tokens.find_token(hash).await?;
        ensure!(found.as_ref() == Some(&stored), "{found:?}");
    }
    ensure!(
        ports
            .tokens
            .find_token(sample::hash("guess"))
            .await?
            .is_none()
    );
    Ok(())
}

/// Neither under its id nor under its hash; and one without a hash could never be shown.
pub async fn a_token_that_exists_is_not_made_again(ports: &Ports) -> Result<()> {
    let first = token(1, None);
    ports.tokens.create_token(first.clone()).await?;
    let same_id = TokenRecord {
        id: first.id.clone(),
        ..token(2, None)
    };
    let same_hash = TokenRecord {
        hash: first.hash,
        ..token(2, None)
    };
    for again in [first.clone(), same_id, same_hash] {
        let refused = ports.tokens.create_token(again).await;
        ensure!(
            matches!(refused, Err(StoreError::AlreadyExists { .. })),
            "{refused:?}"
        );
    }
    let without = TokenRecord {
        hash: None,
        ..token(3, None)
    };
    let refused = ports.tokens.create_token(without).await;
    ensure!(matches!(refused, Err(StoreError::Invalid { .. })));
    ensure!(ports.tokens.tokens(None).await?.len() == 1);
    Ok(())
}

/// Those of one project are its own: not those of all projects.
pub async fn tokens_are_listed_in_order_of_creation_without_their_hashes(
    ports: &Ports,
) -> Result<()> {
    for (number, project) in [
        (3, Some("qa")),
        (1, None),
        (2, Some("other")),
        (4, Some("qa")),
    ] {
        ports.tokens.create_token(token(number, project)).await?;
    }
    let names = async |project| -> Result<Vec<String>> {
        let listed = ports.tokens.tokens(project).await?;
        ensure!(listed.iter().all(|token| token.hash.is_none()));
        Ok(listed.into_iter().map(|token| token.name).collect())
    };
    ensure!(names(None).await? == ["name 3", "name 1", "name 2", "name 4"]);
    ensure!(names(Some("qa")).await? == ["name 3", "name 4"]);
    ensure!(names(Some("nobody's")).await?.is_empty());
    Ok(())
}

/// Whoever revokes it again hears that it is done.
pub async fn a_revoked_token_stays_revoked_since_the_first_moment(ports: &Ports) -> Result<()> {
    let stored = token(1, Some("qa"));
    let hash = stored.hash.context("it has one")?;
    ports.tokens.create_token(stored.clone()).await?;
    ports.tokens.create_token(token(2, Some("qa"))).await?;
    for at in [7, 9] {
        ports.tokens.revoke_token(&stored.id, Timestamp(at)).await?;
        let found = ports.tokens.find_token(hash).await?;
        ensure!(found.is_some_and(|token| token.revoked_at == Some(Timestamp(7))));
    }
    let listed = ports.tokens.tokens(Some("qa")).await?;
    ensure!(listed[0].revoked_at == Some(Timestamp(7)) && listed[1].revoked_at.is_none());
    let absent = ports.tokens.revoke_token("nobody", Timestamp(1)).await;
    ensure!(matches!(absent, Err(StoreError::NotFound { .. })));
    Ok(())
}
