//! The orchestrator over the real store and the in-process queue, with scripted results.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod observed;
#[cfg(test)]
mod optimizer;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod workers;
