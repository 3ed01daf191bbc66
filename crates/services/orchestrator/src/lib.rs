//! Drives jobs: applies the policy to a job's state and turns commands into tasks.
