//! Functions that keep memory in step with the store.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Functions to run after a commit.
#[derive(Default)]
pub(super) struct AfterCommit(Vec<Box<dyn FnOnce() + Send>>);

impl AfterCommit {
    pub(super) fn push(&mut self, follow_up: impl FnOnce() + Send + 'static) {
        self.0.push(Box::new(follow_up));
    }

    pub(super) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    /// Runs the functions in the order of their registration.
    pub(super) fn run(self) {
        for follow_up in self.0 {
            // The job is durable despite a panic here, and the other jobs' functions must still run.
            if catch_unwind(AssertUnwindSafe(follow_up)).is_err() {
                tracing::error!(component = "store", "a function that follows a commit panicked");
            }
        }
    }
}

impl fmt::Debug for AfterCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfterCommit").field("follow_ups", &self.0.len()).finish()
    }
}
