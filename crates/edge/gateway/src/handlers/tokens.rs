//! Tokens: an administrator makes, lists and revokes those of their project, never above their own role.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fapo_domain::model::access::{NewToken, Role, TokenRecord};
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde_json::json;

use crate::call::{self, Call};
use crate::params::{Kind, Param, is_name};
use crate::problem::{Problem, ProblemPart};
use crate::route::{Access, Answer, BodySpec, Content, Patience, Route, Verb, schema};
use crate::views::{MadeTokenView, Page, TokenBody, TokenView};

/// Characters of a token's name.
const MAX_NAME: usize = 64;
/// The longest life of a token that ends: a hundred years of 365 days, in seconds.
const MAX_LIFE: u64 = 100 * 365 * 24 * 3600;

const PROJECT: Param = Param {
    name: "project",
    kind: Kind::Name,
    about: "Only this project's.",
    example: "qa",
};

pub(crate) const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/api/v1/tokens",
        name: "list_tokens",
        tag: "tokens",
        about: "Tokens in order of creation, revoked and ended ones too; never their texts. An administrator of one project \
                lists that project's.",
        access: Access::Role(Role::Admin),
        path_params: &[],
        query: &[PROJECT],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 200,
            about: "All of them.",
            content: Content::Json(schema::<Page<TokenView>>),
        },
        failures: &[404],
        handler: |call| Box::pin(list(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/api/v1/tokens",
        name: "create_token",
        tag: "tokens",
        about: "Makes a token. Its text is in the answer, this once.",
        access: Access::Role(Role::Admin),
        path_params: &[],
        query: &[],
        headers: &[],
        body: BodySpec::Json {
            schema: schema::<TokenBody>,
            example: || json!({"name": "ci", "role": "submitter", "project": "qa", "expires_in_seconds": 2_592_000}),
        },
        patience: Patience::Usual,
        answer: Answer {
            status: 201,
            about: "The token.",
            content: Content::Json(schema::<MadeTokenView>),
        },
        failures: &[404, 409],
        handler: |call| Box::pin(create(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/api/v1/tokens/{token_id}",
        name: "revoke_token",
        tag: "tokens",
        about: "Revokes a token for good. Repeating is harmless.",
        access: Access::Role(Role::Admin),
        path_params: &[Param {
            name: "token_id",
            kind: Kind::TokenId,
            about: "The public part of the token's text.",
            example: "0123456789abcdef",
        }],
        query: &[],
        headers: &[],
        body: BodySpec::None,
        patience: Patience::Usual,
        answer: Answer {
            status: 204,
            about: "It is revoked.",
            content: Content::Empty,
        },
        failures: &[],
        handler: |call| Box::pin(revoke(call)),
    },
];

/// The project whose tokens a call is about: the caller's, or for a caller of all projects the one that was asked for, if any.
fn project(call: &Call, asked: Option<&str>) -> Result<Option<String>, Problem> {
    match (call.caller.project.as_deref(), asked) {
        (Some(_), Some(asked)) if !call.caller.sees(asked) => {
            Err(Problem::not_found("project", asked))
        }
        (Some(theirs), _) => Ok(Some(theirs.to_owned())),
        (None, asked) => Ok(asked.map(str::to_owned)),
    }
}

async fn list(call: Call) -> Result<Response, Problem> {
    let project = project(&call, call.query.text("project"))?;
    let tokens = call.api.ports.tokens.tokens(project.as_deref()).await?;
    call::ok(&Page::<TokenView>::whole(tokens))
}

/// What of a token to be made is not right.
fn check(body: &TokenBody) -> Result<(), Problem> {
    let mut wrong = Vec::new();
    let length = body.name.chars().count();
    if length == 0 || length > MAX_NAME || body.name.chars().any(char::is_control) {
        wrong.push(ProblemPart::new(
            "name",
            format!("1 to {MAX_NAME} characters are needed, none of them a control character"),
        ));
    }
    if body.project.as_deref().is_some_and(|name| !is_name(name)) {
        wrong.push(ProblemPart::new(
            "project",
            "1 to 64 letters, digits, `-` and `_` are needed",
        ));
    }
    if body
        .expires_in_seconds
        .is_some_and(|life| !(1..=MAX_LIFE).contains(&life))
    {
        wrong.push(ProblemPart::new(
            "expires_in_seconds",
            format!("a whole number from 1 to {MAX_LIFE} is needed"),
        ));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(wrong))
    }
}

async fn create(call: Call) -> Result<Response, Problem> {
    let body: TokenBody = call.json()?;
    check(&body)?;
    // the highest role that a body can name is the one that the route needs, so nobody makes one above their own
    let role = Role::from(body.role);
    let project = project(&call, body.project.as_deref())?;
    let mut random = [0u8; NewToken::RANDOM_BYTES];
    SysRng
        .try_fill_bytes(&mut random)
        .map_err(|error| Problem::internal("INTERNAL", &error.to_string()))?;
    let token = NewToken::from_random(random);
    let ports = &call.api.ports;
    let now = ports.clock.now();
    let ends = body
        .expires_in_seconds
        .map(|life| now.plus(Duration::from_secs(life)));
    let record: TokenRecord = token.record(body.name, project, role, now, ends);
    ports.tokens.create_token(record.clone()).await?;
    tracing::info!(
        token.id = token.id(),
        by = &*call.caller.name,
        "a token was made"
    );
    call::json(
        StatusCode::CREATED,
        &MadeTokenView {
            token: token.text().to_owned(),
            record: record.into(),
        },
    )
}

async fn revoke(call: Call) -> Result<Response, Problem> {
    let id = call.text("token_id")?;
    let ports = &call.api.ports;
    // a token of another project does not exist, and neither does one that an administrator of one project could not make
    let theirs = ports.tokens.tokens(call.caller.project.as_deref()).await?;
    let may = |token: &TokenRecord| token.id == id && token.role <= call.caller.role;
    if !theirs.iter().any(may) {
        return Err(Problem::not_found("token", id));
    }
    ports.tokens.revoke_token(&id, ports.clock.now()).await?;
    tracing::info!(token.id = %id, by = &*call.caller.name, "a token was revoked");
    Ok(StatusCode::NO_CONTENT.into_response())
}
