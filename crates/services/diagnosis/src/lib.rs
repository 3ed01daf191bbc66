//! Attributes failures to steps, proposes one scoped change, lints it.
