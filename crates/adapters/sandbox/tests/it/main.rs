//! The sandbox and what runs in it, with real processes. Needs bubblewrap and python3.

mod files;
mod held;
mod lifetime;
mod limits;
mod network;
mod python;
mod support;
mod without;
