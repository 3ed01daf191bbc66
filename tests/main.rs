//! End to end, fault and architecture tests.

mod architecture;
mod e2e {
    mod bad_input;
    mod examples;
}
mod fault {
    mod crash;
    mod faults;
}
