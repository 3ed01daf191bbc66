//! The stores against the conformance suites, and what is particular to each.
//!
//! The modules say `cfg(test)` so that the lints treat their helper functions as tests, too.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod migrations;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod results;
