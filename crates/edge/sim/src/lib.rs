//! A simulated model: deterministic, OpenAI-compatible, with planted behaviours and faults.
