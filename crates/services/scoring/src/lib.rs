//! Scores runs and compares two variants over the same cases.
