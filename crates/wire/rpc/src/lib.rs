//! gRPC <-> ports, both directions; errors <-> `Status`.
//!
//! For each service there is a server, which offers a port over the wire, and a client, which is that port: whoever uses a port
//! cannot tell whether its implementation is in the same process. What travels is held in `proto/`; docs/grpc.md says what all
//! methods have in common.
//!
//! * `fault` is an error under way: the one table of codes, and the details that let the other side make the same error again.
//! * `guard` stands before every service: token, limits, span, figures. Projects are held apart in `access`.
//! * [`ServerBuilder`] serves, [`Connection`] calls. Only methods that are harmless to repeat are repeated; all are.

mod access;
mod auth;
mod channel;
mod common;
mod diagnosis;
mod executor;
mod fault;
mod guard;
mod health;
mod names;
mod optimizer;
mod page;
mod read;
mod scoring;
mod server;
mod traces;
mod travels;
mod watched;

pub use auth::Authenticator;
pub use channel::{ClientOptions, ConnectError, Connection};
pub use diagnosis::{DiagnosisServer, RemoteDiagnosis};
pub use executor::{ExecutorServer, RemoteExecutor};
pub use health::{HealthError, check_health};
pub use optimizer::{OptimizerServer, RemoteOptimizer};
pub use scoring::{RemoteScorer, ScorerOffer, ScorerServer};
pub use server::{Health, ServeError, ServerBuilder, ServerOptions, ServerTls};
pub use traces::{RemoteTraces, TracesServer};
