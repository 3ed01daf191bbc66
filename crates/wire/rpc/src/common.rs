//! What several services have in common: the messages of `fapo.common.v1` and the ports' values, in both directions.

mod enums;
mod run;
mod score;
mod values;

pub(crate) use enums::*;
pub(crate) use run::*;
pub(crate) use score::*;
pub(crate) use values::*;
