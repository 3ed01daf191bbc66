//! What end-to-end tests share: the real binary, throw-away copies of the example projects, simulated models.
