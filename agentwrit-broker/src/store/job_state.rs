//! State of a job that is not in the store: the trail's end, names that it used, functions that follow its commit.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use agentwrit_verify::UnixTime;

use super::{StoreError, cached_names::CachedNames, trail::Trail};

/// Access to the state of the current job.
pub trait HasJobState {
    /// Returns the state of the current job.
    fn job(&self) -> &JobState;

    /// Returns the state of the current job.
    fn job_mut(&mut self) -> &mut JobState;
}

/// State of one job that is not in the store.
#[derive(Debug, Default)]
pub struct JobState {
    now: UnixTime,
    pub(super) trail: Trail,
    pub(super) names: CachedNames,
    pub(super) after_commit: AfterCommit,
    failed_write: Option<StoreError>,
}

impl JobState {
    pub(super) fn new(trail: Trail, now: UnixTime) -> Self {
        Self { now, trail, ..Self::default() }
    }

    /// Returns the time of the job.
    pub(super) fn now(&self) -> UnixTime {
        self.now
    }

    /// Notes the error of a failed write, also for a job that ignores it.
    pub(super) fn note_failure<T>(&mut self, written: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &written {
            self.failed_write.get_or_insert_with(|| error.clone());
        }
        written
    }

    /// Returns the error of the first failed write, also if the job ignored it.
    pub(super) fn failed_write(&self) -> Option<StoreError> {
        self.failed_write.clone()
    }

    pub(super) fn take_follow_ups(&mut self) -> AfterCommit {
        std::mem::take(&mut self.after_commit)
    }
}

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
