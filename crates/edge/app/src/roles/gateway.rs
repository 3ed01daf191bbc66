//! Gateway: the HTTP API, over roles that are here or elsewhere.

use super::{Parts, Process};

/// Adds the role to the process, where it is one of its roles.
pub fn add(_parts: &Parts, _process: &mut Process) {}
