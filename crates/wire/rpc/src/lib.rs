//! gRPC <-> ports, both directions; errors <-> Status.
