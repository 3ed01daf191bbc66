//! The services over loopback: real servers and clients, a real store behind them.

mod access;
mod conformance;
mod errors;
mod invalid;
mod observing;
mod operation;
mod questions;
mod scripted;
mod tls;
mod world;
