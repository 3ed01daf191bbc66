//! The ledger's rules, alike in every back end: what fits under a cap, and what a charge does to an account.

mod amounts;
mod book;
mod room;

pub(crate) use self::book::{Book, Changes, Wanted};
