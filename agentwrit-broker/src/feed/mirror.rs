//! The broker's memory of what the store holds: the revocation log and the signing keys.

use std::sync::Arc;

use super::LogMemory;
use crate::{
    domain::StoredKey,
    issuer::CurrentRing,
    store::{FeedRow, KeysVersion, LogEnd, Mirror, NewLog, StoreError},
};

/// The memory that follows the store.
#[derive(Debug)]
pub(crate) struct BrokerMemory {
    pub(crate) log: LogMemory,
    pub(crate) keys: Arc<CurrentRing>,
}

impl Mirror for BrokerMemory {
    fn end(&self) -> LogEnd {
        self.log.end()
    }

    fn extend(&self, rows: &[FeedRow<'_>], end: &LogEnd) {
        self.log.extend(rows, end);
    }

    fn keys_version(&self) -> KeysVersion {
        self.keys.ring().version.clone()
    }

    fn replace_keys(&self, rows: &[StoredKey], version: KeysVersion) -> Result<(), StoreError> {
        self.keys.replace(self.keys.prepare(rows, version)?);
        Ok(())
    }

    fn withdrawn_keys(&self) -> Vec<String> {
        self.keys.withdrawn_ids()
    }

    fn restart(&self) -> Box<dyn NewLog> {
        self.log.restart()
    }
}
