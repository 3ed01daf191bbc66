//! The HTTP/JSON API over the ports: submit, status, live events, lineage, runs, reports, tokens.
//!
//! What comes in is a request; what goes out is JSON, an event stream, a report, or a problem in one shape (RFC 9457). Nothing
//! is decided here: each route is one call of a port, which knows nothing of HTTP.
//!
//! # How a request goes
//! One table ([`routes`]) says of each route its path, who may use it, its parameters, its body and its answers. The same
//! table drives the router, the checks, the OpenAPI document (`docs/openapi.json`) and the tests, so they cannot disagree.
//! Every request takes the same way ([`dispatch`]): who calls, are they within their rate, may they, are the parameters
//! right, is the body right; only then the handler runs.
//!
//! # What holds
//! * No request holds memory or a worker without a bound: bodies, time, requests and streams at once, rates and the table of
//!   rates are all limited ([`GatewayLimits`]).
//! * A thing of another project does not exist: the answer is that of an id that nobody has.
//! * What a fault of the server says to a client is a fixed text and an id; the chain of causes stands in the log under it.
//!
//! # Rejected
//! Handlers with an extractor for each part, as axum has them: who may do what, and the document, would be a second and a
//! third table beside the code. utoipa: its macros are such a second table; schemars was here, and its JSON Schema 2020-12 is
//! what OpenAPI 3.1 speaks.

mod auth;
mod body;
mod call;
mod client;
mod config;
mod dispatch;
mod handlers;
mod observe;
mod openapi;
mod ops;
mod params;
mod problem;
mod rate;
mod route;
mod router;
mod serve;
mod tls;
mod views;

pub use config::{AuthMode, GatewayConfig, GatewayLimits};
pub use openapi::openapi;
pub use ops::{Ops, Probe, ProbeFailure, ops_router};
pub use route::{Access, Body, RouteInfo, routes};
pub use router::{ApiState, Ports, api_router};
pub use serve::{ServeOptions, serve};
pub use tls::{TlsError, TlsFiles, TlsServer};
