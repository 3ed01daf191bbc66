//! Logging set-up: one place that knows subscribers and exporters.
