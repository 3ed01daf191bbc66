//! The policy as a whole: jobs driven to their end in a made-up world.

mod ends;
mod gates;
mod run;
mod simulation;
mod world;
