//! Proposals and sessions that break rules: each refused by name, recorded, and at no cost in cases.
