//! Answers for stored runs.
