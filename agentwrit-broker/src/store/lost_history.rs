//! Acknowledged commits that the database no longer holds.

use std::{fmt, path::PathBuf, sync::Arc};

use agentwrit_verify::UnixTime;

use super::{StoreError, Tx};
use crate::audit::{ChainHead, EventId};

/// Commits that this broker saw and that the database lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostHistory {
    /// Last event that this broker saw.
    pub(crate) seen: ChainHead,
    /// Last event of the database.
    pub(crate) found: ChainHead,
    /// Epoch of the revocation log that this broker saw.
    pub(crate) epoch: String,
    /// Time of the last commit that this broker saw.
    pub(crate) until: UnixTime,
    /// Ids of the keys that this broker knows as withdrawn: the database may have lost that.
    pub(crate) withdrawn_keys: Vec<String>,
}

impl fmt::Display for LostHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [seen, found] = [self.seen, self.found].map(|event| EventId::from_sequence(event.sequence));
        write!(
            f,
            "the database lost commits that were acknowledged: this broker saw event {seen} (hash {}), the trail of the database \
             ends at {found} and does not hold it; it is a standby that was promoted without them, or a restored backup",
            self.seen.hash
        )
    }
}

/// Job that reacts to a lost history.
#[derive(Clone)]
pub struct Reaction(Arc<Job>);

type Job = dyn Fn(&mut Tx<'_>, &LostHistory) -> Result<(), StoreError> + Send + Sync;

impl Reaction {
    /// Runs `job`.
    pub(crate) fn new(
        job: impl Fn(&mut Tx<'_>, &LostHistory) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(job))
    }

    /// Runs the job.
    pub(super) fn run(&self, tx: &mut Tx<'_>, lost: &LostHistory) -> Result<(), StoreError> {
        (self.0)(tx, lost)
    }
}

impl fmt::Debug for Reaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reaction(…)")
    }
}

/// Reaction to a lost history.
#[derive(Clone, Debug)]
pub enum OnLoss {
    /// Run the job before any other.
    React(Reaction),
    /// Fail every transaction, and tell the broker to stop.
    Stop,
}

impl OnLoss {
    /// Runs `job` before any other.
    pub(crate) fn react(
        job: impl Fn(&mut Tx<'_>, &LostHistory) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self::React(Reaction::new(job))
    }
}

/// Settings for noticing a lost history.
#[derive(Clone, Debug)]
pub struct LostHistoryOptions {
    /// File that holds the last commit that this broker saw, and the keys that it knows as withdrawn.
    pub state_path: Option<PathBuf>,
    /// Reaction when it is noticed.
    pub reaction: OnLoss,
    /// Job that withdraws keys again. It runs after the reaction of this or another broker.
    pub withdraw_again: Option<Reaction>,
}

impl Default for LostHistoryOptions {
    fn default() -> Self {
        Self { state_path: None, reaction: OnLoss::Stop, withdraw_again: None }
    }
}
