//! The policy as a whole: jobs driven to their end in a made-up world.

#[cfg(test)]
mod ends;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod reviews;
#[cfg(test)]
mod run;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod world;
