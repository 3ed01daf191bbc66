//! Task queues and the worker loop that claims, renews and completes tasks.
