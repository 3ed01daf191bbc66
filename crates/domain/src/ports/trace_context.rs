//! The bridge between `tracing` spans and distributed traces, so that nobody but the telemetry adapter knows an exporter.

use tracing::Span;

use crate::model::trace_context::TraceParent;

/// Reads and sets the distributed trace that spans belong to.
pub trait TraceContext: Send + Sync + std::fmt::Debug {
    /// The `traceparent` of the span that is entered now; `None` where no trace is kept.
    fn current(&self) -> Option<TraceParent>;

    /// Makes `span` a child of `parent`. To be called before the span is entered for the first time.
    fn adopt(&self, span: &Span, parent: &TraceParent);
}

/// Keeps no traces: what a process without an exporter uses.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTraces;

impl TraceContext for NoTraces {
    fn current(&self) -> Option<TraceParent> {
        None
    }

    fn adopt(&self, _span: &Span, _parent: &TraceParent) {}
}
