//! The optimizer's judgement as pure functions over a job's events.
