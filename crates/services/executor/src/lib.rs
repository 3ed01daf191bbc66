//! Runs pipelines over cases: steps in parallel, caps, cache, traces.
