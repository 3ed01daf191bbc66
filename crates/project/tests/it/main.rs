//! The project format as its users meet it.

#[cfg(test)]
mod code;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod patch;
#[cfg(test)]
mod pipelines;
#[cfg(test)]
mod projects;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod scope;
#[cfg(test)]
mod support;
