//! End to end, fault and architecture tests.
