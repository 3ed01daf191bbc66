//! `fapo token`: makes, lists and revokes the tokens that a server asks for. Only hashes are stored; a token's text is shown once.

use std::sync::Arc;

use anyhow::Context as _;
use fapo_domain::clock::{Clock, SystemClock};
use fapo_domain::model::access::{NewToken, Role, TokenRecord};
use fapo_domain::ports::access::Tokens;
use rand::TryRng as _;
use rand::rngs::SysRng;

use super::Context;
use super::advice::Advice;
use super::args::server::{
    ConfigArgs, CreateTokenArgs, ListTokensArgs, RevokeTokenArgs, TokenCommand,
};
use crate::exit::Exit;
use crate::output::format;
use crate::output::table::Columns;
use crate::wiring::store::{OpenStore, Use};

pub async fn run(context: &Context, command: &TokenCommand) -> anyhow::Result<Exit> {
    let config = match command {
        TokenCommand::Create(args) => &args.config,
        TokenCommand::List(args) => &args.config,
        TokenCommand::Revoke(args) => &args.config,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = match open(context, config, &clock).await? {
        Ok(store) => store,
        Err(exit) => return Ok(exit),
    };
    let tokens = Arc::clone(&store.ports.tokens);
    let done = match command {
        TokenCommand::Create(args) => create(context, args, &*tokens, &*clock).await,
        TokenCommand::List(args) => list(context, args, &*tokens, &*clock).await,
        TokenCommand::Revoke(args) => revoke(context, args, &*tokens, &*clock).await,
    };
    store.close().await;
    done
}

async fn open(
    context: &Context,
    args: &ConfigArgs,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Result<OpenStore, Exit>> {
    let config = match super::config::read(&context.config.env, &context.output, args) {
        Ok(config) => config,
        Err(exit) => return Ok(Err(exit)),
    };
    let abort = context.config.abort_after_commits;
    Ok(Ok(
        OpenStore::open(&config, clock, abort, Use::Command).await?
    ))
}

async fn create(
    context: &Context,
    args: &CreateTokenArgs,
    tokens: &dyn Tokens,
    clock: &dyn Clock,
) -> anyhow::Result<Exit> {
    let role = Role::from(args.role);
    if role == Role::Service && args.project.is_some() {
        return Err(Advice::new(
            "a token of role service is for all projects",
            "leave --project out",
        )
        .into());
    }
    let mut random = [0; NewToken::RANDOM_BYTES];
    SysRng
        .try_fill_bytes(&mut random)
        .context("the system gives no random numbers")?;
    let token = NewToken::from_random(random);
    let now = clock.now();
    let record = token.record(
        args.name.clone(),
        args.project.clone(),
        role,
        now,
        args.expires.map(|period| now.plus(period.0)),
    );
    tokens.create_token(record.clone()).await?;
    let output = &context.output;
    if output.json {
        output.json(&serde_json::json!({"token": token.text(), "record": record}))?;
    } else {
        output.data(token.text())?;
        output.note(&format!(
            "token {} ({}) of {} is made; its text is not shown again",
            record.id,
            role.as_str(),
            project_words(&record),
        ));
    }
    Ok(Exit::Ok)
}

async fn list(
    context: &Context,
    args: &ListTokensArgs,
    tokens: &dyn Tokens,
    clock: &dyn Clock,
) -> anyhow::Result<Exit> {
    let found = tokens.tokens(args.project.as_deref()).await?;
    let output = &context.output;
    if output.json {
        output.json(&serde_json::json!({"tokens": found}))?;
        return Ok(Exit::Ok);
    }
    let mut table = Columns::new(&["id", "name", "role", "project", "made", "state"]);
    for token in &found {
        table.row([
            token.id.clone(),
            token.name.clone(),
            token.role.as_str().to_owned(),
            project_words(token),
            format::moment(token.created_at),
            state(token, clock),
        ]);
    }
    output.data(&table.finish())?;
    Ok(Exit::Ok)
}

async fn revoke(
    context: &Context,
    args: &RevokeTokenArgs,
    tokens: &dyn Tokens,
    clock: &dyn Clock,
) -> anyhow::Result<Exit> {
    tokens.revoke_token(&args.id, clock.now()).await?;
    if context.output.json {
        let body = serde_json::json!({"revoked": args.id});
        context.output.json(&body)?;
    } else {
        let said = format!(
            "token {} is revoked; servers forget it within seconds",
            args.id
        );
        context.output.note(&said);
    }
    Ok(Exit::Ok)
}

fn project_words(token: &TokenRecord) -> String {
    token
        .project
        .clone()
        .unwrap_or_else(|| "all projects".to_owned())
}

/// Whether it can be used, and until when.
fn state(token: &TokenRecord, clock: &dyn Clock) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("revoked {}", format::moment(at)),
        (None, Some(end)) if end <= clock.now() => format!("expired {}", format::moment(end)),
        (None, Some(end)) => format!("until {}", format::moment(end)),
        (None, None) => "valid".to_owned(),
    }
}
