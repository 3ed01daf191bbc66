//! The stores behind the domain's persistence ports: SQLite for one machine, Postgres for a cluster.
//!
//! Both implement every persistence port of `fapo_domain::ports` and pass the same conformance suites. What they share stands
//! beside their folders: how values are packed ([`codec`], [`blob`]) and named ([`values`]), how runs become rows ([`runs`],
//! [`questions`]), what is like what in a dataset ([`cases`]), what may be thrown away ([`retention`]), what goes wrong
//! ([`error`]), the rules of the ledger ([`ledger`]), and what is joined into one commit ([`group`]).

mod blob;
mod cases;
mod codec;
mod error;
mod group;
mod ledger;
mod postgres;
mod questions;
mod retention;
mod runs;
mod sqlite;
mod values;

pub use postgres::{DatabaseUrl, PgOptions, PgStore};
pub use sqlite::{SqliteStore, StoreOptions};
