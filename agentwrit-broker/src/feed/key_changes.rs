//! Changes of the signing keys by this broker.

use std::sync::Arc;

use super::FeedPublisher;
use crate::{
    domain::{KeyState, StoredKey},
    keys::{CustodyError, as_made, check_complete},
    store::{KeysVersion, StoreError, Tx},
};

/// Reason that the keys were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyChangeError {
    #[error(transparent)]
    Custody(#[from] CustodyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FeedPublisher {
    /// Changes keys, all with one cursor of the log, in rows that [`Tx::signing_keys`] or [`Custody::new_key`] returned. The
    /// caller sets states and times. Once the change is durable, this broker's verifier and the followers receive it. Returns the
    /// cursor.
    ///
    /// [`Custody::new_key`]: crate::keys::Custody::new_key
    pub(crate) fn change_keys(&self, tx: &mut Tx<'_>, changed: Vec<StoredKey>) -> Result<u64, KeyChangeError> {
        let before = tx.signing_keys()?;
        // Another change would make rows that were put back pass for the present ones. A withdrawal ends active ones among them.
        let was_withdrawn = |kid: &str| before.iter().any(|row| row.kid == kid && row.state == KeyState::Withdrawn);
        if changed.iter().all(|row| row.state != KeyState::Withdrawn || was_withdrawn(&row.kid)) {
            check_complete(&before, tx.keys_cursor()?).map_err(CustodyError::from)?;
        }
        let (cursor, changed_at) = (tx.advance_cursor()?, tx.now());
        let custody = self.issuer.custody();
        for row in changed {
            let after = StoredKey { changed_at, cursor, ..row };
            let sealed = match before.iter().find(|before| before.kid == after.kid) {
                Some(before) => custody.with_state(before, after)?,
                None => custody.with_state(&as_made(&after), after)?,
            };
            tx.put_signing_key(&sealed)?;
        }
        let rows = tx.signing_keys()?;
        let version = KeysVersion { epoch: tx.epoch()?.into(), cursor };
        let ring = self.issuer.current_ring().prepare(&rows, version.clone())?;
        let (issuer, memory) = (Arc::clone(&self.issuer), self.feed.memory.clone());
        tx.after_commit(move || {
            issuer.current_ring().replace(ring);
            memory.advance(&version.epoch, cursor);
            issuer.custody().settle(&rows);
        });
        Ok(cursor)
    }
}
