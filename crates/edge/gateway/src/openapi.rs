//! The OpenAPI document, made of the table of routes and the schemas of what they read and write.

mod problems;
mod process;

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use self::problems::{problem_name, problem_reference, problem_response};
use self::process::operation_paths;
use crate::call;
use crate::params::{Kind, Param};
use crate::problem::{Problem, ProblemView};
use crate::route::{Access, BodySpec, Content, Route, table};

const DESCRIPTION: &str = "Jobs, lineage, runs and reports of a fapo server. Ids and hashes are texts, times RFC 3339 in UTC, \
    money whole micro-dollars. Objects may get more fields; pass over those that you do not know. What goes wrong is a problem \
    (RFC 9457) whose `type` is a stable name with a page in docs/errors.";

/// The tags, with what each is about.
const TAGS: &[(&str, &str)] = &[
    (
        "blobs",
        "Contents of projects' files, uploaded before a job is submitted.",
    ),
    ("jobs", "Jobs: submit, look, stop, report."),
    ("events", "What happens to a job, as it happens."),
    (
        "lineage",
        "A job's variants, and what was decided about them.",
    ),
    (
        "evaluations",
        "What the variants did: figures, runs, failures.",
    ),
    ("sessions", "Sessions of coding agents."),
    ("tasks", "Tasks that failed for good."),
    ("tokens", "Who may do what."),
    ("operation", "The process itself."),
];

/// The answer of `/openapi.json`.
pub(crate) fn response() -> Response {
    static DOCUMENT: LazyLock<Json> = LazyLock::new(openapi);
    use axum::response::IntoResponse as _;
    call::json(StatusCode::OK, &*DOCUMENT).unwrap_or_else(Problem::into_response)
}

/// The whole document, OpenAPI 3.1. The same program always gives the same.
pub fn openapi() -> Json {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for route in table() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        let verb = route.verb.method().as_str().to_ascii_lowercase();
        path[verb] = operation(route, &mut schemas);
    }
    for (path, item) in operation_paths(&mut schemas) {
        paths.insert(path.to_owned(), item);
    }
    let problem = schemas.written::<ProblemView>();
    let mut responses = Map::new();
    for status in problems::STATUSES {
        responses.insert(problem_name(status), problem_response(status, &problem));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "fapo",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": TAGS.iter().map(|(name, about)| json!({"name": name, "description": about})).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer",
                "description": "A token: `fapo_<16 hex digits>_<43 characters>`. It has a role (viewer, submitter or admin) and, \
                    mostly, a project. A server that was told to ask for none passes everybody.",
            }},
            "responses": responses,
            "schemas": schemas.finish(),
        },
    })
}

/// The schemas of the document. What is read and what is written differ: a field that may be left away when it is sent is
/// always there when it comes.
struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = |contract| {
            SchemaSettings::draft2020_12()
                .with(|settings| {
                    settings.definitions_path = "/components/schemas".into();
                    settings.meta_schema = None;
                    settings.contract = contract;
                })
                .into_generator()
        };
        Self {
            read: settings(Contract::Deserialize),
            written: settings(Contract::Serialize),
        }
    }

    fn written<T: JsonSchema>(&mut self) -> Schema {
        self.written.subschema_for::<T>()
    }

    fn finish(mut self) -> Map<String, Json> {
        let mut all = self.written.take_definitions(true);
        // a name that stands on both sides means the same on both: held by a test below
        for (name, schema) in self.read.take_definitions(true) {
            all.entry(name).or_insert(schema);
        }
        all.sort_keys();
        all
    }
}

fn operation(route: &Route, schemas: &mut Schemas) -> Json {
    let parameters: Vec<Json> = [
        (route.path_params, "path"),
        (route.query, "query"),
        (route.headers, "header"),
    ]
    .into_iter()
    .flat_map(|(params, place)| params.iter().map(move |param| parameter(param, place)))
    .collect();
    let mut operation = json!({
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.about.split_inclusive(['.', ':']).next().unwrap_or_default().trim_end_matches(['.', ':']),
        "description": describe(route),
        "responses": responses(route, schemas),
    });
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    match route.body {
        BodySpec::None => {}
        BodySpec::Json { schema, example } => {
            let schema = schema(&mut schemas.read);
            operation["requestBody"] = json!({
                "required": true,
                "content": {"application/json": {"schema": schema, "example": example()}},
            });
        }
        BodySpec::Bytes => {
            operation["requestBody"] = json!({
                "required": true,
                "content": {"application/octet-stream": {"schema": {}}},
            });
        }
    }
    operation
}

fn describe(route: &Route) -> String {
    match route.access {
        Access::Anybody => route.about.to_owned(),
        Access::Role(role) => format!("{} Needs the role `{}`.", route.about, role.as_str()),
    }
}

fn parameter(param: &Param, place: &str) -> Json {
    let example = match param.kind {
        Kind::Integer { .. } | Kind::Share => {
            serde_json::from_str(param.example).unwrap_or_default()
        }
        Kind::Text(_) | Kind::Name | Kind::Hash | Kind::TokenId | Kind::Uuid | Kind::OneOf(_) => {
            json!(param.example)
        }
    };
    json!({
        "name": param.name,
        "in": place,
        "required": place == "path",
        "description": param.about,
        "schema": param.kind.schema(),
        "example": example,
    })
}

fn responses(route: &Route, schemas: &mut Schemas) -> Json {
    let answer = &route.answer;
    let mut response = json!({"description": answer.about});
    match answer.content {
        Content::Empty => {}
        Content::Json(schema) => {
            let schema = schema(&mut schemas.written);
            response["content"] = json!({"application/json": {"schema": schema}});
        }
        Content::Report => {
            let text = json!({"schema": {"type": "string"}});
            response["content"] = json!({
                "text/markdown": text, "text/html": text, "application/json": {"schema": {"type": "object"}},
            });
        }
        Content::Events(names) => {
            // as tools for 3.1 read it: the schema of one event
            response["content"] = json!({"text/event-stream": {"schema": {
                "type": "object",
                "required": ["event", "data"],
                "properties": {
                    "event": {"type": "string", "enum": names},
                    "data": {"type": "string", "contentMediaType": "application/json"},
                    "id": {"type": "string"},
                },
            }}});
        }
    }
    if answer.status == 201 && route.name == "submit_job" {
        response["headers"] = json!({"Location": {
            "description": "The job's path.", "schema": {"type": "string"}, "required": true,
        }});
    }
    let mut all = Map::new();
    all.insert(answer.status.to_string(), response);
    for status in route.all_failures() {
        all.insert(status.to_string(), problem_reference(status));
    }
    Json::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_is_read_and_written_is_the_same_on_both_sides() {
        let mut schemas = Schemas::new();
        for route in table() {
            operation(route, &mut schemas);
        }
        let written = schemas.written.take_definitions(true);
        let mut both = 0;
        for (name, read) in schemas.read.take_definitions(true) {
            if let Some(written) = written.get(&name) {
                assert_eq!(*written, read, "{name}");
                both += 1;
            }
        }
        assert!(both > 0, "at least the splits of a goal");
    }
}
