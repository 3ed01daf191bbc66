//! The project format: reads, checks, diffs and describes what a user writes. No I/O.
