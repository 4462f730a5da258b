//! The signing keys in memory.
//!
//! 1. A [`KeyRing`] is immutable. A change of the keys publishes another one: after the commit of this broker's own change,
//!    and before a transaction or a feed response relies on what another broker changed.
//! 2. The broker's own verifier trusts the published keys of the newest ring.
//! 3. A ring is replaced before the end of the revocation log moves in memory: a response that names the cursor of a change
//!    announces its keys. It is never replaced by one of a log that this broker has left.
//! 4. A key that was withdrawn, as far as this broker knows, is in no later ring, whatever its row holds.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agentwrit_verify::{Clock, KeySet, TrustedKeys, feed::KeyAnnouncement, issue::SigningKey};
use arc_swap::ArcSwap;

use crate::{
    domain::{KeyState, StoredKey},
    keys::{Custody, CustodyError, InForce, OpenKeys, UnusableKey, check_complete},
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

/// Facts that later rings must not contradict.
#[derive(Debug, Default)]
struct Known {
    /// Ids of all keys that were withdrawn, also in a revocation log that is lost.
    withdrawn: BTreeSet<String>,
    /// Revocation logs of earlier rings.
    left: BTreeSet<Arc<str>>,
}

/// The newest [`KeyRing`].
#[derive(Debug)]
pub(crate) struct CurrentRing {
    custody: Arc<Custody>,
    ring: ArcSwap<KeyRing>,
    /// Keys of the broker's own verifier.
    trusted: TrustedKeys,
    /// Held by writers.
    known: Mutex<Known>,
    clock: Arc<dyn Clock>,
}

impl CurrentRing {
    /// Opens the keys of a store. Keys of `withdrawn` are not among them.
    ///
    /// # Errors
    ///
    /// [`CustodyError`], with the remedy.
    pub(crate) fn open(
        custody: Arc<Custody>,
        rows: &[StoredKey],
        version: KeysVersion,
        withdrawn: impl IntoIterator<Item = String>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CustodyError> {
        let mut known = Known { withdrawn: withdrawn.into_iter().collect(), ..Known::default() };
        let ring = Arc::new(open(&custody, rows, version, &known.withdrawn, None)?);
        let trusted = TrustedKeys::following(None);
        trusted.publish(ring.published.clone(), clock.monotonic());
        known.withdrawn.extend(ring.withdrawn.iter().cloned());
        Ok(Self { custody, ring: ArcSwap::new(ring), trusted, known: Mutex::new(known), clock })
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

    /// Opens the keys of other rows, without using them yet. A key that signs now
    /// signs on although its file is damaged, or its row was changed.
    ///
    /// # Errors
    ///
    /// [`CustodyError`], with the remedy.
    pub(crate) fn prepare(&self, rows: &[StoredKey], version: KeysVersion) -> Result<Arc<KeyRing>, CustodyError> {
        let (withdrawn, ring) = (self.known().withdrawn.clone(), self.ring());
        let is_newer = ring.version.epoch == version.epoch && ring.version.cursor < version.cursor;
        let in_force = InForce { key: &ring.active, cursor: is_newer.then_some(ring.version.cursor) };
        open(&self.custody, rows, version, &withdrawn, Some(in_force)).map(Arc::new)
    }

    /// Returns the keys among rows of this log that cannot be used.
    pub(crate) fn unusable(&self, rows: &[StoredKey], epoch: &str) -> Vec<UnusableKey> {
        let ring = self.ring();
        if *ring.version.epoch != *epoch {
            return self.custody.unusable(rows);
        }
        let in_force = InForce { key: &ring.active, cursor: Some(ring.version.cursor) };
        self.custody.unusable_besides(rows, in_force)
    }

    /// Puts other keys in the place of the newest ones. Ignores those of an earlier change of the same log, and those of a log
    /// that was left.
    pub(crate) fn replace(&self, ring: Arc<KeyRing>) {
        let mut known = self.known();
        known.withdrawn.extend(ring.withdrawn.iter().cloned());
        let (before, after) = (&self.ring.load().version, &ring.version);
        if before.epoch != after.epoch {
            if known.left.contains(&after.epoch) {
                return;
            }
            known.left.insert(Arc::clone(&before.epoch));
        } else if after.cursor <= before.cursor {
            return;
        }
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
        self.known().withdrawn.iter().cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(
    custody: &Custody,
    rows: &[StoredKey],
    version: KeysVersion,
    known_withdrawn: &BTreeSet<String>,
    in_force: Option<InForce<'_>>,
) -> Result<KeyRing, CustodyError> {
    check_complete(rows, version.cursor)?;
    let mut rows = rows.to_vec();
    for row in rows.iter_mut().filter(|row| known_withdrawn.contains(&row.kid)) {
        row.state = KeyState::Withdrawn;
    }
    let withdrawn: BTreeSet<String> =
        rows.iter().filter(|row| row.state == KeyState::Withdrawn).map(|row| row.kid.clone()).collect();
    for row in rows.iter().filter(|row| row.is_put_back()) {
        tracing::error!(
            component = "signing",
            kid = row.kid,
            "the row of an ended signing key was put back; the key stays ended"
        );
    }
    let OpenKeys { active, published } = custody.open(&rows, in_force)?;
    let announcement = KeyAnnouncement::of(&published, active.id());
    Ok(KeyRing { active, published, announcement, version, withdrawn })
}
