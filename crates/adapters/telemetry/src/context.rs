//! The distributed trace that spans belong to.

use fapo_domain::model::trace_context::TraceParent;
use fapo_domain::ports::trace_context::TraceContext;
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Reads and sets the trace of `tracing` spans. Where traces are not exported there is none to read, and setting one does
/// nothing; so it may be handed to every service, whatever the configuration says.
#[derive(Debug, Clone, Copy, Default)]
pub struct OtelTraceContext;

impl TraceContext for OtelTraceContext {
    fn current(&self) -> Option<TraceParent> {
        let context = Span::current().context();
        let span = context.span();
        let span = span.span_context();
        if !span.is_valid() {
            return None;
        }
        let flags = span.trace_flags() & TraceFlags::SAMPLED;
        let text = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
        text.parse().ok()
    }

    fn adopt(&self, span: &Span, parent: &TraceParent) {
        let Some(remote) = remote(parent) else {
            return;
        };
        // A span that is disabled, or that nobody exports, has no place in any trace.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote));
    }
}

fn remote(parent: &TraceParent) -> Option<SpanContext> {
    let mut parts = parent.as_str().split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    Some(SpanContext::new(
        trace,
        span,
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    ))
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn with_traces(sampler: Sampler, work: impl FnOnce()) {
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
    }

    #[test]
    fn an_adopted_span_continues_its_parents_trace() {
        with_traces(Sampler::AlwaysOn, || {
            let parent: TraceParent = PARENT.parse().unwrap();
            let span = tracing::info_span!("task");
            OtelTraceContext.adopt(&span, &parent);
            let _entered = span.enter();
            let inner = tracing::info_span!("case");
            let _inner = inner.enter();
            let current = OtelTraceContext.current().unwrap();
            assert_eq!(current.trace_id(), parent.trace_id());
            assert_ne!(current, parent, "the inner span is named, not the parent");
            assert!(current.as_str().ends_with("-01"));
        });
    }

    #[test]
    fn a_trace_that_is_not_sampled_stays_one_trace() {
        let parent_based = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        with_traces(parent_based, || {
            let parent: TraceParent = PARENT.replace("-01", "-00").parse().unwrap();
            let span = tracing::info_span!("task");
            OtelTraceContext.adopt(&span, &parent);
            let _entered = span.enter();
            let current = OtelTraceContext.current().unwrap();
            assert_eq!(current.trace_id(), parent.trace_id());
            assert!(current.as_str().ends_with("-00"));
        });
    }

    #[test]
    fn outside_any_span_and_without_an_exporter_there_is_no_trace() {
        with_traces(Sampler::AlwaysOn, || {
            assert_eq!(OtelTraceContext.current(), None);
        });
        let span = tracing::info_span!("task");
        OtelTraceContext.adopt(&span, &PARENT.parse().unwrap());
        span.in_scope(|| assert_eq!(OtelTraceContext.current(), None));
    }
}
