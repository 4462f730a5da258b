//! State of a broker that outlasts a restart.

use std::{collections::BTreeSet, sync::Arc};

use agentwrit_verify::UnixTime;

use crate::audit::ChainHead;

/// A commit that this broker saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Identifies the database and its copies.
    pub(super) identity: String,
    /// Epoch of the revocation log.
    pub(super) epoch: String,
    /// Last event.
    pub(super) event: ChainHead,
    /// Time of the last job, which is not before that of any record.
    pub(super) at: UnixTime,
}

/// State of a broker that outlasts a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) seen: Seen,
    /// Ids of all keys that were withdrawn, also in a history that is lost.
    pub(super) withdrawn_keys: Arc<BTreeSet<String>>,
}
