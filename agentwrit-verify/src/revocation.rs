//! Credentials revoked before their expiry.
//!
//! 1. Level `token` revokes one `jti`; `session` revokes a renewal family and everything delegated from it.
//! 2. Levels `agent`, `task` and `chain` are *not-before* marks: they revoke tokens issued in or before the second of
//!    the revocation, so no subject is locked out permanently. `issuer` does so for every token of an authority.
//! 3. Each level is checked on its own; a token is revoked if any of them matches.
//! 4. Entries are stored by digest, so that a list discloses no identifier: the first 16 bytes of SHA-256 over the
//!    level's letter, `0x00`, the issuer, `0x00` and the target.
//! 5. The revoking broker holds the authoritative list: [`RevocationList::authoritative`]. All others hold a copy whose
//!    age is checked at every call: [`remote::Follower`](crate::remote::Follower) maintains it,
//!    [`feed::Feed`](crate::feed::Feed) without the network, [`RevocationList::from_snapshot`] from a file.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;

pub use crate::revocation_key::{Level, RevocationKey};
use crate::{
    admission::{Admission, Admissions},
    claims::ClaimSet,
    clock::UnixTime,
    feed_cursor::FeedCursor,
    revocation_table::RevocationTable,
    staleness::{ClockReading, Freshness, Staleness},
};

/// Revocations in force for tokens of one issuer. Clones share one list; readers are lock-free.
#[derive(Clone)]
pub struct RevocationList {
    shared: Arc<Shared>,
}

struct Shared {
    issuer: Box<str>,
    table: ArcSwap<RevocationTable>,
    /// Held by writers; readers do not lock it.
    writing: Mutex<()>,
    /// `None` for an authoritative list.
    freshness: Option<Freshness>,
    /// Set when requests are counted.
    admissions: OnceLock<Admissions>,
}

/// Entry of a revocation list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: RevocationKey,
    pub(crate) revoked_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}

impl RevocationList {
    /// Creates an empty list for tokens of `issuer`, maintained by the broker that revokes: it is never stale.
    #[must_use]
    pub fn authoritative(issuer: &str) -> Self {
        Self::new(issuer, None)
    }

    /// A list that a [`Feed`](crate::feed::Feed) fills.
    pub(crate) fn following(issuer: &str, staleness: Staleness) -> Self {
        Self::new(issuer, Some(Freshness::new(staleness)))
    }

    fn new(issuer: &str, freshness: Option<Freshness>) -> Self {
        let shared = Shared {
            issuer: issuer.into(),
            table: ArcSwap::from_pointee(RevocationTable::with_capacity_for(0)),
            writing: Mutex::new(()),
            freshness,
            admissions: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Adds an entry. Repeating one never weakens it: the later `revoked_at` and `expires_at` stay.
    ///
    /// `expires_at` is when the last token that the entry could affect has expired.
    pub fn insert(&self, level: Level, target: &str, revoked_at: UnixTime, expires_at: UnixTime) {
        self.insert_key(RevocationKey::of(level, &self.shared.issuer, target), revoked_at, expires_at);
    }

    /// Adds an entry by its key, as in the feed.
    pub fn insert_key(&self, key: RevocationKey, revoked_at: UnixTime, expires_at: UnixTime) {
        self.merge(std::iter::once(Entry { key, revoked_at, expires_at }));
    }

    /// Adds entries to those that there are.
    pub(crate) fn merge(&self, entries: impl Iterator<Item = Entry>) {
        let _writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.shared.table.load_full();
        for Entry { key, revoked_at, expires_at } in entries {
            if !table.insert(key.as_bytes(), revoked_at, expires_at) {
                table = Arc::new(table.grown());
                // There is room now: `grown` doubles.
                let _inserted = table.insert(key.as_bytes(), revoked_at, expires_at);
                self.shared.table.store(Arc::clone(&table));
            }
        }
    }

    /// Puts these entries in the place of all others, at once.
    pub(crate) fn replace(&self, entries: impl Iterator<Item = Entry>) {
        let _writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = RevocationTable::with_capacity_for(entries.size_hint().1.unwrap_or_default());
        for Entry { key, revoked_at, expires_at } in entries {
            if !table.insert(key.as_bytes(), revoked_at, expires_at) {
                table = table.grown();
                let _inserted = table.insert(key.as_bytes(), revoked_at, expires_at);
            }
        }
        self.shared.table.store(Arc::new(table));
    }

    /// Puts the entries of another list of the same issuer in the place of all others, at once.
    pub fn replace_with(&self, other: &Self) {
        let copy = other.shared.table.load().without_expired(UnixTime::default());
        let _writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.table.store(Arc::new(copy));
    }

    /// Removes the entries that can no longer affect any token.
    ///
    /// `now` must be a time that has passed for certain: if entries were removed by a clock that is set back
    /// afterwards, their tokens would be accepted again.
    pub fn remove_expired(&self, now: UnixTime) {
        let _writing = self.shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.shared.table.load();
        if table.has_expired(now) {
            self.shared.table.store(Arc::new(table.without_expired(now)));
        }
    }

    #[cfg(feature = "remote")]
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let table = self.shared.table.load();
        let entry =
            |(key, revoked_at, expires_at)| Entry { key: RevocationKey::from_bytes(key), revoked_at, expires_at };
        table.iter().map(entry).collect()
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.table.load().len()
    }

    /// Returns true when there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that the entries take.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.shared.table.load().memory()
    }

    /// Returns the age of the list: the time since the broker confirmed it, and the leeway for clocks. `None` for an
    /// [authoritative](Self::authoritative) list, and before the first snapshot.
    #[must_use]
    pub fn age(&self, now: ClockReading) -> Option<Duration> {
        self.shared.freshness.as_ref()?.age(now)
    }

    /// Returns the time as of which the list is complete: the signed `iat` of the latest response. `None` for an
    /// [authoritative](Self::authoritative) list, and before the first snapshot.
    #[must_use]
    pub fn true_at(&self) -> Option<UnixTime> {
        self.shared.freshness.as_ref().map(Freshness::true_at).filter(|time| *time > UnixTime::default())
    }

    /// Returns the level at which a token is revoked: by all entries, or by those revoked until `as_of`.
    ///
    /// The keys are computed on first use: most lists are empty most of the time.
    pub(crate) fn find_revocation<'m>(
        &self,
        revocation_keys: impl FnOnce() -> &'m TokenRevocationKeys,
        as_of: Option<UnixTime>,
    ) -> Option<Level> {
        let table = self.shared.table.load();
        if table.is_empty() {
            return None;
        }
        let revocation_keys = revocation_keys();
        // All of them first, so that the memory is read at once rather than one after the other.
        let suspects = revocation_keys
            .keys
            .iter()
            .rev()
            .fold(0_u64, |suspects, (_, key)| (suspects << 1) | u64::from(table.may_contain(key.as_bytes())));
        if suspects == 0 {
            return None;
        }
        let suspected = revocation_keys.keys.iter().enumerate().filter(|(index, _)| (suspects >> index) & 1 == 1);
        suspected.map(|(_, mark)| mark).find_map(|(level, key)| {
            let revoked_at = table.find(key.as_bytes())?;
            let known = as_of.is_none_or(|as_of| revoked_at <= as_of);
            (known && (!level.is_not_before() || revocation_keys.issued_at <= revoked_at)).then_some(*level)
        })
    }

    /// Returns the cursor in the broker's log that the list has reached. `None` for an
    /// [authoritative](Self::authoritative) list, and before the first snapshot.
    #[must_use]
    pub fn cursor(&self) -> Option<FeedCursor> {
        self.applied().map(|(cursor, _)| cursor)
    }

    /// Returns the cursor that the list has reached, and a time of which it was true then.
    pub(crate) fn applied(&self) -> Option<(FeedCursor, UnixTime)> {
        let position = self.shared.freshness.as_ref()?.position()?;
        Some((FeedCursor::new(&position.epoch, position.cursor).ok()?, position.true_at))
    }

    /// Returns true when every revocation up to `cursor` is in the list: at once for an
    /// [authoritative](Self::authoritative) list.
    #[must_use]
    pub fn has_reached(&self, cursor: &FeedCursor) -> bool {
        match &self.shared.freshness {
            None => true,
            Some(freshness) => freshness.has_reached(cursor),
        }
    }

    /// Counts the requests that verifiers of this list admit from now on, so that [`drain`](Self::drain) can report their
    /// end. A follower with an identity does so itself.
    pub fn count_requests(&self) {
        self.shared.admissions.get_or_init(Admissions::new);
    }

    /// Returns the latest cursor of which all requests that were admitted before it was applied have ended. Call it from
    /// time to time: a call notices what has ended, and begins to wait for the requests before the present cursor. A
    /// request has ended when each clone of its [`VerifiedToken`](crate::VerifiedToken) and
    /// [`Admission`] is dropped. `None` until then, and unless requests [are
    /// counted](Self::count_requests).
    #[must_use]
    pub fn drain(&self) -> Option<FeedCursor> {
        let admissions = self.shared.admissions.get()?;
        let _completed = admissions.advance(&self.cursor()?);
        admissions.drained()
    }

    /// Counts a request whose check is about to begin.
    pub(crate) fn admit(&self) -> Option<Admission> {
        self.shared.admissions.get()?.admit()
    }

    /// Returns the result of the latest [`drain`](Self::drain).
    #[cfg(feature = "remote")]
    pub(crate) fn latest_drain(&self) -> Option<FeedCursor> {
        self.shared.admissions.get()?.drained()
    }

    #[cfg(feature = "remote")]
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.admissions.get().is_some_and(Admissions::is_draining)
    }

    pub(crate) fn freshness(&self) -> Option<&Freshness> {
        self.shared.freshness.as_ref()
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.shared.issuer
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList")
            .field("issuer", &self.shared.issuer)
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

/// Every key under which a token could be revoked, worked out once when it is first verified.
#[derive(Clone, Debug)]
pub(crate) struct TokenRevocationKeys {
    issued_at: UnixTime,
    keys: Box<[(Level, RevocationKey)]>,
}

impl TokenRevocationKeys {
    pub(crate) fn of(claims: &ClaimSet) -> Self {
        let mut keys = Vec::with_capacity(6);
        let mut mark = |level, target: &str| keys.push((level, RevocationKey::of(level, &claims.iss, target)));
        let subject = claims.sub.to_string();
        mark(Level::Token, &claims.jti.to_string());
        mark(Level::Session, &claims.sid.to_string());
        mark(Level::Agent, &subject);
        for record in &claims.delegation_chain {
            mark(Level::Session, &record.sid.to_string());
            mark(Level::Agent, record.agent.as_str());
        }
        if let Some(task) = &claims.task_id {
            mark(Level::Task, task.as_str());
        }
        let root = claims.delegation_chain.first().map_or(subject.as_str(), |record| record.agent.as_str());
        mark(Level::Chain, root);
        mark(Level::Issuer, "");
        Self { issued_at: UnixTime::from_seconds(claims.iat), keys: keys.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    fn claims(chain: &str) -> ClaimSet {
        serde_json::from_str(&format!(
            r#"{{"iss":"i","sub":"{}","exp":200,"nbf":100,"iat":100,"jti":"{}","sid":"{}","scope":["a:b:c"],
            "task_id":"task","orch_id":"orch"{chain}}}"#,
            agent(9),
            "00".repeat(16),
            "11".repeat(16),
        ))
        .unwrap()
    }

    fn agent(n: u8) -> String {
        format!("spiffe://d/agent/orch/task/{}", format!("0{n}").repeat(8))
    }

    fn chain() -> String {
        let record = |from: u8, to: u8| {
            format!(
                r#"{{"agent":"{}","delegate":"{}","sid":"{}","scope":["a:b:c"],"signature":"",
                "delegated_at":"2026-01-01T00:00:00Z","expires_at":"2026-01-01T00:00:00Z"}}"#,
                agent(from),
                agent(to),
                format!("2{from}").repeat(16),
            )
        };
        format!(r#","delegation_chain":[{},{}]"#, record(1, 2), record(2, 9))
    }

    fn judge(list: &RevocationList, claims: &ClaimSet) -> Option<Level> {
        let revocation_keys = TokenRevocationKeys::of(claims);
        list.find_revocation(|| &revocation_keys, None)
    }

    fn verdict(claims: &ClaimSet, level: Level, target: &str, revoked_at: u64) -> Option<Level> {
        let list = RevocationList::authoritative("i");
        list.insert(level, target, at(revoked_at), at(1000));
        judge(&list, claims)
    }

    #[test]
    fn each_level_revokes_only_its_target() {
        let token = claims("");
        let (jti, sid) = ("00".repeat(16), "11".repeat(16));
        for (level, target, revoked) in [
            (Level::Token, jti.as_str(), true),
            (Level::Token, &sid, false),
            (Level::Session, &sid, true),
            (Level::Session, &jti, false),
            (Level::Agent, &agent(9), true),
            (Level::Agent, &agent(8), false),
            (Level::Task, "task", true),
            (Level::Task, "orch", false),
            (Level::Chain, &agent(9), true),
            (Level::Issuer, "", true),
        ] {
            assert_eq!(verdict(&token, level, target, 100), revoked.then_some(level), "{level} {target}");
        }
    }

    #[test]
    fn revokes_delegated_token_with_delegator_session_or_root() {
        let token = claims(&chain());
        for (level, target, revoked) in [
            (Level::Agent, agent(1), true),
            (Level::Agent, agent(2), true),
            (Level::Session, "21".repeat(16), true),
            (Level::Session, "22".repeat(16), true),
            (Level::Token, "21".repeat(16), false),
            (Level::Chain, agent(1), true),
            (Level::Chain, agent(2), false),
            (Level::Chain, agent(9), false),
        ] {
            assert_eq!(verdict(&token, level, &target, 100), revoked.then_some(level), "{level} {target}");
        }
    }

    #[test]
    fn not_before_marks_spare_tokens_of_next_second() {
        let token = claims("");
        for level in [Level::Agent, Level::Task, Level::Chain, Level::Issuer] {
            let target = match level {
                Level::Task => String::from("task"),
                Level::Issuer => String::new(),
                Level::Agent | Level::Chain | Level::Token | Level::Session => agent(9),
            };
            assert_eq!(verdict(&token, level, &target, 100), Some(level));
            assert_eq!(verdict(&token, level, &target, 99), None, "{level}");
        }
        assert_eq!(verdict(&token, Level::Token, &"00".repeat(16), 1), Some(Level::Token));
    }

    #[test]
    fn ignores_entries_of_another_issuer() {
        let list = RevocationList::authoritative("other");
        list.insert(Level::Task, "task", at(100), at(1000));
        assert_eq!(judge(&list, &claims("")), None);
    }

    #[test]
    fn repeated_entry_keeps_latest_times() {
        let list = RevocationList::authoritative("i");
        list.insert(Level::Task, "task", at(100), at(1000));
        list.insert(Level::Task, "task", at(50), at(500));
        list.remove_expired(at(999));
        assert_eq!((list.len(), judge(&list, &claims(""))), (1, Some(Level::Task)));
        list.remove_expired(at(1000));
        assert!(list.is_empty());
    }
}
