//! The project format as its users meet it.

mod messages;
mod patch;
mod pipelines;
mod projects;
mod properties;
mod scope;
mod support;
