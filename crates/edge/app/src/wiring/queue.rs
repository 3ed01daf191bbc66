//! The queue that a process works on.
