//! Keys that the feed announces, and those that it removed.

use std::time::Instant;

use crate::{
    key_announcement::KeyAnnouncement,
    keys::{KeyId, KeySet, PublicKey},
};

/// State of the feed's announcements.
#[derive(Default)]
pub(super) struct Announced {
    pub(super) newest: Option<KeyAnnouncement>,
    /// Moment at which the newest response becomes stale.
    valid_until: Option<Instant>,
    /// Announced keys, and when each was first announced.
    since: Vec<(KeyId, Instant)>,
    /// Fetched keys that were not announced yet.
    pub(super) unannounced: Vec<PublicKey>,
    /// Time of the latest fetch.
    pub(super) fetched_at: Option<Instant>,
    /// Keys that were in force until a response omitted them, and when it arrived, the latest last.
    dropped: Vec<(KeyId, Instant)>,
    /// True when the newest response announces keys, however old it is.
    is_announcing: bool,
    /// Announced keys that an authoritative set lacked, and the time after which the broker made the set.
    unpublished: Vec<(KeyId, Instant)>,
}

impl Announced {
    /// The most keys that are kept in `dropped` and in `unpublished`.
    const MAX_DROPPED: usize = 2 * KeySet::MAX_KEYS;

    /// Returns the newest announcement, unless its response is stale.
    pub(super) fn fresh(&self, now: Instant) -> Option<&KeyAnnouncement> {
        self.newest.as_ref().filter(|_| self.valid_until.is_some_and(|until| now < until))
    }

    pub(super) fn announce(&mut self, newest: &KeyAnnouncement, valid_until: Instant, now: Instant) {
        let first = |id: &KeyId| self.since.iter().find(|(known, _)| known == id).map_or(now, |(_, since)| *since);
        self.since = newest.key_ids().iter().map(|id| (id.clone(), first(id))).collect();
        self.newest = Some(newest.clone());
        self.valid_until = Some(valid_until);
        self.is_announcing = true;
    }

    /// Ends the announcements: the newest response has none.
    pub(super) fn end_announcements(&mut self) {
        self.is_announcing = false;
        self.forget_newest();
    }

    /// Forgets the newest response, but not which keys were ever published and which are no longer: a thief could make
    /// them new with responses that announce none.
    fn forget_newest(&mut self) {
        self.newest = None;
        self.valid_until = None;
        self.unannounced.clear();
    }

    /// Returns the keys in force of a set that was fetched while the newest response is stale. A key that a response
    /// omitted is not among them: a cache may have the set from before, and a stale list may be accepted.
    pub(super) fn replace_stale(&mut self, keys: Option<&KeySet>, as_of: Option<Instant>) -> Option<KeySet> {
        self.forget_newest();
        let (mut in_force, mut unannounced) = (Vec::new(), Vec::new());
        for key in keys.into_iter().flat_map(KeySet::iter) {
            match self.dropped_at(key.id()) {
                None => in_force.push(key.clone()),
                // Published again, such as after a restored backup, or omitted by a late response.
                Some(dropped_at) if as_of.is_some_and(|as_of| as_of >= dropped_at) => unannounced.push(key.clone()),
                Some(_) => {}
            }
        }
        if self.is_announcing {
            self.unannounced = unannounced;
        } else {
            in_force.append(&mut unannounced);
        }
        KeySet::new(in_force).ok()
    }

    /// Drops the keys that were in force and that the newest response omits.
    pub(super) fn drop_omitted(&mut self, omitted: &[PublicKey], newest: &KeyAnnouncement, now: Instant) {
        self.dropped.extend(omitted.iter().map(|key| (key.id().clone(), now)));
        self.dropped.retain(|(id, _)| !newest.contains(id));
        let excess = self.dropped.len().saturating_sub(Self::MAX_DROPPED);
        self.dropped.drain(..excess);
    }

    /// Returns when the response that omitted the key arrived.
    pub(super) fn dropped_at(&self, id: &KeyId) -> Option<Instant> {
        self.dropped.iter().rfind(|(known, _)| known == id).map(|(_, at)| *at)
    }

    /// Removes the keys that a newer set lacked from a set that the broker made after `as_of`, and notes the announced
    /// keys that the set lacks.
    pub(super) fn published(&mut self, keys: KeySet, as_of: Option<Instant>) -> Option<KeySet> {
        self.unpublished.retain(|(id, lacked)| keys.find(id).is_none() || as_of.is_none_or(|as_of| as_of <= *lacked));
        if let Some(as_of) = as_of {
            let lacked = self.since.iter().filter(|(id, since)| *since < as_of && keys.find(id).is_none());
            let lacked: Vec<(KeyId, Instant)> = lacked.map(|(id, _)| (id.clone(), as_of)).collect();
            self.unpublished.retain(|(known, _)| lacked.iter().all(|(id, _)| id != known));
            self.unpublished.extend(lacked);
            let excess = self.unpublished.len().saturating_sub(Self::MAX_DROPPED);
            self.unpublished.drain(..excess);
        }
        if self.unpublished.is_empty() {
            return Some(keys);
        }
        KeySet::new(keys.iter().filter(|key| !self.is_unpublished(key.id())).cloned()).ok()
    }

    pub(super) fn is_unpublished(&self, id: &KeyId) -> bool {
        self.unpublished.iter().any(|(known, _)| known == id)
    }

    #[cfg(feature = "remote")]
    pub(super) fn removed(&self) -> RemovedKeys {
        let ids = |keys: &[(KeyId, Instant)]| keys.iter().map(|(id, _)| id.clone()).collect();
        RemovedKeys { dropped: ids(&self.dropped), unpublished: ids(&self.unpublished) }
    }

    #[cfg(feature = "remote")]
    pub(super) fn restore(&mut self, removed: RemovedKeys, now: Instant) {
        let since = |ids: Vec<KeyId>| ids.into_iter().map(|id| (id, now)).collect();
        self.dropped = since(removed.dropped);
        self.unpublished = since(removed.unpublished);
    }
}

/// Keys that are not in force any more, although a fetched set may contain them.
#[cfg(feature = "remote")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RemovedKeys {
    /// Keys that a response of the feed omitted.
    pub(crate) dropped: Vec<KeyId>,
    /// Keys that a set which the broker made later lacked.
    pub(crate) unpublished: Vec<KeyId>,
}
