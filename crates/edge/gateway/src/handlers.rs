//! What each route does once all checks are passed: one call of a port, and its answer as JSON. Each file has its rows of the
//! table beside the functions that they name.

pub(crate) mod blobs;
pub(crate) mod evaluations;
pub(crate) mod events;
pub(crate) mod jobs;
pub(crate) mod lineage;
pub(crate) mod sessions;
pub(crate) mod tasks;
pub(crate) mod tokens;
