//! The table of routes: what the router, the checks, the document and the tests all read.

use axum::http::Method;
use axum::response::Response;
use fapo_domain::model::access::Role;
use futures::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value as Json;

use crate::call::Call;
use crate::handlers;
use crate::params::Param;
use crate::problem::Problem;

/// The methods that routes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    pub(crate) const fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Delete => Method::DELETE,
        }
    }

    /// Whether a request of this method is for the route. `HEAD` is `GET` without the body, which the server leaves away.
    pub(crate) fn serves(self, method: &Method) -> bool {
        self.method() == *method || (self == Self::Get && *method == Method::HEAD)
    }
}

/// What a route reads of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// JSON.
    Json,
    /// Raw bytes.
    Bytes,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a token.
    Anybody,
    /// A token of this role or more.
    Role(Role),
}

/// Writes the schema of a type into the document.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of `T`.
pub(crate) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// What a route reads of a body, with its schema.
#[derive(Clone, Copy)]
pub(crate) enum BodySpec {
    None,
    Json {
        schema: SchemaOf,
        example: fn() -> Json,
    },
    Bytes,
}

/// What a route answers when all went well.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub status: u16,
    pub about: &'static str,
    pub content: Content,
}

/// The content of an answer.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// None.
    Empty,
    /// JSON.
    Json(SchemaOf),
    /// A report: a text, or JSON.
    Report,
    /// Server-sent events with these names.
    Events(&'static [&'static str]),
}

/// How long a route may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Usual,
    Upload,
}

/// A route.
pub(crate) struct Route {
    pub verb: Verb,
    pub path: &'static str,
    /// The operation's name in the document.
    pub name: &'static str,
    pub tag: &'static str,
    pub about: &'static str,
    pub access: Access,
    /// Parameters of the path, in order.
    pub path_params: &'static [Param],
    pub query: &'static [Param],
    /// Headers that it reads.
    pub headers: &'static [Param],
    pub body: BodySpec,
    pub patience: Patience,
    pub answer: Answer,
    /// Statuses of failures that only this route has, beside those that follow from the rest of the row.
    pub failures: &'static [u16],
    pub handler: fn(Call) -> BoxFuture<'static, Result<Response, Problem>>,
}

impl Route {
    pub(crate) const fn body(&self) -> Body {
        match self.body {
            BodySpec::None => Body::None,
            BodySpec::Json { .. } => Body::Json,
            BodySpec::Bytes => Body::Bytes,
        }
    }

    /// Statuses of its failures, in order.
    pub(crate) fn all_failures(&self) -> Vec<u16> {
        let mut all = vec![429, 500, 503, 504];
        // unknown parameters of the query are refused everywhere
        all.push(400);
        if let Access::Role(role) = self.access {
            all.push(401);
            if role > Role::Viewer {
                all.push(403);
            }
        }
        if !self.path_params.is_empty() {
            all.push(404);
        }
        if self.body() != Body::None {
            all.extend([413, 415]);
        }
        all.extend(self.failures);
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// All routes of the API.
pub(crate) fn table() -> impl Iterator<Item = &'static Route> {
    [
        handlers::blobs::ROUTES,
        handlers::jobs::ROUTES,
        handlers::events::ROUTES,
        handlers::lineage::ROUTES,
        handlers::evaluations::ROUTES,
        handlers::sessions::ROUTES,
        handlers::tasks::ROUTES,
        handlers::tokens::ROUTES,
    ]
    .into_iter()
    .flatten()
}

/// What the table says of a route, for those outside: tests, documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteInfo {
    /// The method.
    pub method: Method,
    /// The path, with `{names}` of its parameters.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// What it reads of a body.
    pub body: Body,
}

/// All routes of the API, as the table has them.
pub fn routes() -> Vec<RouteInfo> {
    table()
        .map(|route| RouteInfo {
            method: route.verb.method(),
            path: route.path,
            access: route.access,
            body: route.body(),
        })
        .collect()
}

/// The parameters that stand in several paths.
pub(crate) mod common {
    use super::Param;
    use crate::params::{Kind, MAX_INTEGER};

    pub(crate) const JOB: Param = Param {
        name: "job_id",
        kind: Kind::Uuid,
        about: "The job.",
        example: "019a2b3c-4d5e-7f00-8a1b-2c3d4e5f6071",
    };
    pub(crate) const EVALUATION: Param = Param {
        name: "evaluation_id",
        kind: Kind::Hash,
        about: "The evaluation; one of another job does not exist.",
        example: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    };
    pub(crate) const VARIANT: Param = Param {
        name: "variant_id",
        kind: Kind::Hash,
        about: "The variant; one that is none of the job's does not exist.",
        example: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    };

    /// How many items a page has.
    pub(crate) const fn limit(default: u64, max: u64) -> Param {
        Param {
            name: "limit",
            kind: Kind::Integer {
                min: 1,
                max,
                default: Some(default),
            },
            about: "How many items at most.",
            example: "20",
        }
    }

    /// The place after which a page begins.
    pub(crate) const fn after(name: &'static str, about: &'static str) -> Param {
        Param {
            name,
            kind: Kind::Integer {
                min: 0,
                max: MAX_INTEGER,
                default: None,
            },
            about,
            example: "10",
        }
    }
}
