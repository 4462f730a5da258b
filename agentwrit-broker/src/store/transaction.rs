//! Access of jobs to a store: a [`Reader`], and a [`Tx`] that also writes. Each store implements their tables' traits, whose
//! provided methods are what the stores share.

use agentwrit_verify::UnixTime;

use super::{
    agents::{ReadAgents, WriteAgents},
    apps::{ReadApps, WriteApps},
    audit_log::{ReadAudit, WriteAudit},
    launch_tokens::{ReadLaunchTokens, WriteLaunchTokens},
    meta::{ReadMeta, WriteMeta},
    names::{ReadNames, WriteNames},
    prune::DeleteExpired,
    revocations::{ReadRevocations, WriteRevocations},
    tokens::{ReadTokens, WriteTokens},
};

/// Read access to one consistent state.
pub trait Reader:
    ReadApps + ReadAgents + ReadLaunchTokens + ReadTokens + ReadRevocations + ReadMeta + ReadNames + ReadAudit
{
}

/// Read and write access of one job. Its changes are durable when the caller has the result.
pub trait Tx:
    Reader
    + WriteApps
    + WriteAgents
    + WriteLaunchTokens
    + WriteTokens
    + WriteRevocations
    + WriteMeta
    + WriteNames
    + WriteAudit
    + DeleteExpired
{
    /// Executes statements in the store's own dialect.
    ///
    /// # Errors
    ///
    /// [`StoreError`](super::StoreError).
    #[cfg(test)]
    fn execute_batch(&mut self, sql: &str) -> Result<(), super::StoreError>;
}

impl dyn Tx + '_ {
    /// Returns the time of this job, read while no other transaction can commit: the order of times is that of commits.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.job().now()
    }

    /// Registers a function that the writer runs once this job is durable, before its result is returned and also if the
    /// caller no longer waits. It keeps memory in step with the store. It must be quick and must not panic. If the job or
    /// the commit fails, it is dropped before the result is returned.
    pub fn after_commit(&mut self, follow_up: impl FnOnce() + Send + 'static) {
        self.job_mut().after_commit.push(follow_up);
    }
}
