//! The signing keys in memory.
//!
//! 1. A [`KeyRing`] is immutable. A change of the keys publishes another one: after the commit of this broker's own change,
//!    and before a transaction or a feed response relies on what another broker changed.
//! 2. The broker's own verifier trusts the published keys of the newest ring.
//! 3. A ring is replaced before the end of the revocation log moves in memory: a response that names the cursor of a change
//!    announces its keys.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agentwrit_verify::{Clock, KeySet, TrustedKeys, feed::KeyAnnouncement, issue::SigningKey};
use arc_swap::ArcSwap;

use crate::{
    domain::{KeyState, StoredKey},
    keys::{Custody, CustodyError, OpenKeys},
    store::KeysVersion,
};

/// The signing keys after one change of them.
#[derive(Debug)]
pub(crate) struct KeyRing {
    /// Signs tokens and documents.
    pub(crate) active: Arc<SigningKey>,
    /// The active key, then the prepared and the retiring ones.
    pub(crate) published: KeySet,
    /// The published keys in the revocation feed.
    pub(crate) announcement: Option<KeyAnnouncement>,
    /// The change.
    pub(crate) version: KeysVersion,
    /// Ids of the keys that were withdrawn until then.
    withdrawn: BTreeSet<String>,
}

/// The newest [`KeyRing`].
#[derive(Debug)]
pub(crate) struct CurrentRing {
    custody: Arc<Custody>,
    ring: ArcSwap<KeyRing>,
    /// Keys of the broker's own verifier.
    trusted: TrustedKeys,
    /// Ids of all keys that were withdrawn, also in a revocation log that is lost. Held by writers.
    withdrawn: Mutex<BTreeSet<String>>,
    clock: Arc<dyn Clock>,
}

impl CurrentRing {
    /// Opens the keys of a store.
    ///
    /// # Errors
    ///
    /// [`CustodyError`], with the remedy.
    pub(crate) fn open(
        custody: Arc<Custody>,
        rows: &[StoredKey],
        version: KeysVersion,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CustodyError> {
        let ring = Arc::new(open(&custody, rows, version)?);
        let trusted = TrustedKeys::following(None);
        trusted.publish(ring.published.clone(), clock.monotonic());
        let withdrawn = Mutex::new(ring.withdrawn.clone());
        Ok(Self { custody, ring: ArcSwap::new(ring), trusted, withdrawn, clock })
    }

    pub(crate) fn custody(&self) -> &Custody {
        &self.custody
    }

    /// Returns the newest keys.
    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// Returns the keys of the broker's own verifier, which follow the newest ring.
    pub(crate) fn trusted(&self) -> TrustedKeys {
        self.trusted.clone()
    }

    /// Opens the keys of other rows, without using them yet.
    ///
    /// # Errors
    ///
    /// [`CustodyError`], with the remedy.
    pub(crate) fn prepare(&self, rows: &[StoredKey], version: KeysVersion) -> Result<Arc<KeyRing>, CustodyError> {
        open(&self.custody, rows, version).map(Arc::new)
    }

    /// Puts other keys in the place of the newest ones. Ignores those of an earlier change of the same log.
    pub(crate) fn replace(&self, ring: Arc<KeyRing>) {
        let mut withdrawn = self.withdrawn();
        let (before, after) = (&self.ring.load().version, &ring.version);
        if before.epoch == after.epoch && after.cursor <= before.cursor {
            return;
        }
        withdrawn.extend(ring.withdrawn.iter().cloned());
        tracing::info!(
            component = "signing",
            active = ring.active.id().as_str(),
            published = ring.published.len(),
            cursor = after.cursor,
            "the signing keys changed"
        );
        // First: no token is signed with a key that the broker's own verifier would reject.
        self.trusted.publish(ring.published.clone(), self.clock.monotonic());
        self.ring.store(ring);
    }

    /// Returns the ids of the keys that this broker knows as withdrawn.
    pub(crate) fn withdrawn_ids(&self) -> Vec<String> {
        self.withdrawn().iter().cloned().collect()
    }

    fn withdrawn(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(custody: &Custody, rows: &[StoredKey], version: KeysVersion) -> Result<KeyRing, CustodyError> {
    let OpenKeys { active, published } = custody.open(rows)?;
    let withdrawn = rows.iter().filter(|row| row.state == KeyState::Withdrawn).map(|row| row.kid.clone()).collect();
    let announcement = KeyAnnouncement::of(&published, active.id());
    Ok(KeyRing { active: Arc::new(active), published, announcement, version, withdrawn })
}
