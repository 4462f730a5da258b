//! Announcement of a broker's published keys in the feed.

use crate::keys::{KeyId, KeySet};

/// Keys that a broker publishes, by name: the members `kids` and `active` of a response of the feed.
///
/// A follower stops trusting a key that the newest response omits, and fetches the key set when a response names a key
/// that it does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAnnouncement {
    key_ids: Box<[KeyId]>,
    active: Option<KeyId>,
}

impl KeyAnnouncement {
    /// Announces the keys of a set, `active` being the one that signs; `None` when the set does not contain it.
    #[must_use]
    pub fn of(keys: &KeySet, active: &KeyId) -> Option<Self> {
        Self::new(keys.iter().map(|key| key.id().clone()), Some(active.clone()))
    }

    /// Returns `None` unless there are 1 to [`KeySet::MAX_KEYS`] different ids, the active one among them.
    pub(crate) fn new(key_ids: impl IntoIterator<Item = KeyId>, active: Option<KeyId>) -> Option<Self> {
        let mut kept: Vec<KeyId> = Vec::new();
        for id in key_ids {
            if kept.len() >= KeySet::MAX_KEYS || kept.contains(&id) {
                return None;
            }
            kept.push(id);
        }
        let names_active = active.as_ref().is_none_or(|active| kept.contains(active));
        (!kept.is_empty() && names_active).then(|| Self { key_ids: kept.into(), active })
    }

    /// Returns the ids of all published keys.
    #[must_use]
    pub fn key_ids(&self) -> &[KeyId] {
        &self.key_ids
    }

    /// Returns the id of the key that signs, if the response names it.
    #[must_use]
    pub fn active(&self) -> Option<&KeyId> {
        self.active.as_ref()
    }

    /// Returns true when the key is published.
    #[must_use]
    pub fn contains(&self, id: &KeyId) -> bool {
        self.key_ids.contains(id)
    }
}
