//! End to end, fault and architecture tests.

mod architecture;
