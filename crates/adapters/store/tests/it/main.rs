//! The store against the conformance suites, and what is particular to SQLite.

mod conformance;
