//! Dev only: conformance suites for the ports, scripted doubles, helpers.
