//! The one binary: commands, configuration, wiring.
