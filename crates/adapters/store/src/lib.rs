//! The stores behind the domain's persistence ports: SQLite for one machine, Postgres for a cluster.
//!
//! Both implement every persistence port of `fapo_domain::ports` and pass the same conformance suites. What they share stands
//! beside their folders: how values are packed ([`codec`],
//! [`blob`]) and named ([`values`]), what goes wrong ([`error`]), the rules of the ledger ([`ledger`]), and what is joined into
//! one commit ([`group`]).

mod blob;
mod codec;
mod error;
mod group;
mod ledger;
mod postgres;
mod sqlite;
mod values;

pub use postgres::{DatabaseUrl, PgOptions, PgStore};
pub use sqlite::{SqliteStore, StoreOptions};
