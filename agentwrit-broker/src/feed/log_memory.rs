//! The broker's memory of the revocation log: the list of its own verifier, and the recent entries for followers.
//!
//! 1. The lock of the tail orders all changes. A revocation that is delivered twice counts once, by its cursor.
//! 2. The list is changed before the end of the log moves: a response that names a cursor is never ahead of the list.
//! 3. Another log replaces list and tail at once. What is delivered later of the log before it is ignored.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agentwrit_verify::{Clock, FeedCursor, Level, RevocationList, feed::FeedEntry};
use tokio::sync::watch;

use super::{
    commit_times::{CommitTime, CommitTimes, UnknownCursor},
    entry::{entry_of, entry_of_row},
    tail::{Newer, RECENT, Tail},
};
use crate::{
    domain::Revocation,
    store::{FeedRow, LogEnd, NewLog},
};

/// The memory of the revocation log. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct LogMemory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    issuer: String,
    list: RevocationList,
    tail: Mutex<Tail>,
    end: watch::Sender<LogEnd>,
    /// Cursor of the latest urgent change.
    urgent: watch::Sender<u64>,
    commit_times: CommitTimes,
}

impl LogMemory {
    /// Returns the list of the broker's own verifier.
    pub(crate) fn list(&self) -> &RevocationList {
        &self.shared.list
    }

    /// Adds a durable revocation of this broker to the log that was in memory when its transaction ran.
    pub(super) fn add(&self, epoch: &Arc<str>, cursor: u64, revocation: &Revocation) {
        let entry = entry_of(&self.shared.issuer, revocation);
        let mut tail = self.tail();
        if tail.end().epoch == *epoch {
            self.add_entry(&mut tail, cursor, entry);
            self.publish_end(&tail, is_urgent(revocation.level));
        }
    }

    /// Returns the time from which `cursor` is known to be committed.
    pub(super) fn commit_time(&self, cursor: &FeedCursor) -> Result<CommitTime, UnknownCursor> {
        self.shared.commit_times.of(cursor)
    }

    /// Wakes the requests that wait for the end of the log to move.
    fn publish_end(&self, tail: &Tail, is_urgent: bool) {
        let end = tail.end();
        self.shared.commit_times.note(&end, self.subscribers());
        if is_urgent {
            self.shared.urgent.send_replace(end.cursor);
        }
        self.shared.end.send_replace(end);
    }

    /// Returns the end of the log, which changes wake.
    pub(super) fn subscribe(&self) -> watch::Receiver<LogEnd> {
        self.shared.end.subscribe()
    }

    /// Returns the cursor of the latest urgent change.
    pub(super) fn urgent(&self) -> watch::Receiver<u64> {
        self.shared.urgent.subscribe()
    }

    /// Number of requests that wait for a change.
    pub(super) fn subscribers(&self) -> usize {
        self.shared.end.receiver_count()
    }

    /// Returns the epoch and the entries after `from`, at most `most`.
    pub(super) fn after(&self, from: u64, most: usize) -> (Arc<str>, Newer) {
        let tail = self.tail();
        (tail.end().epoch, tail.after(from, most))
    }

    pub(super) fn last(&self) -> Option<FeedEntry> {
        self.tail().last()
    }

    /// Returns whether `most` entries bring a follower at `from` to the end of the log.
    pub(super) fn is_within(&self, from: u64, most: usize) -> bool {
        self.tail().is_within(from, most)
    }

    fn add_entry(&self, tail: &mut Tail, cursor: u64, entry: FeedEntry) {
        if cursor > tail.end().cursor {
            self.shared.list.insert_key(entry.key, entry.revoked_at, entry.expires_at);
            tail.push(cursor, entry);
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.shared.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogMemory {
    pub(crate) fn end(&self) -> LogEnd {
        self.tail().end()
    }

    /// Moves the end of the log behind a change of the keys, which has no entry.
    pub(super) fn advance(&self, epoch: &Arc<str>, cursor: u64) {
        self.extend(&[], &LogEnd { epoch: Arc::clone(epoch), cursor });
    }

    /// See [`Mirror::extend`](crate::store::Mirror::extend).
    pub(super) fn extend(&self, rows: &[FeedRow<'_>], end: &LogEnd) {
        let mut tail = self.tail();
        let before = tail.end();
        if before.epoch != end.epoch || before.cursor >= end.cursor {
            return;
        }
        for row in rows {
            self.add_entry(&mut tail, row.cursor, entry_of_row(&self.shared.issuer, row));
        }
        // The last entries may have expired and be gone, or the keys have changed.
        let is_without_entry = rows.last().is_none_or(|last| last.cursor < end.cursor);
        tail.extend_to(end.cursor);
        self.publish_end(&tail, is_without_entry || rows.iter().any(|row| is_urgent(row.level)));
    }

    /// See [`Mirror::restart`](crate::store::Mirror::restart).
    pub(super) fn restart(&self) -> Box<dyn NewLog> {
        Box::new(Replacement { log: LogReader::new(&self.shared.issuer), memory: self.clone() })
    }
}

/// A log that takes the place of the one in memory.
struct Replacement {
    log: LogReader,
    memory: LogMemory,
}

impl NewLog for Replacement {
    fn push(&mut self, row: FeedRow<'_>) {
        self.log.push(row);
    }

    fn finish(self: Box<Self>, end: LogEnd) {
        let mut tail = self.memory.tail();
        self.memory.shared.list.replace_with(&self.log.list);
        *tail = self.log.recent.into_tail(end);
        self.memory.publish_end(&tail, true);
    }
}

/// Returns whether followers should learn of a revocation soon. Renewals and releases revoke a single token; a revocation
/// that was requested has an entry of another level too.
fn is_urgent(level: Level) -> bool {
    level != Level::Token
}

/// Reads a log from its beginning.
#[derive(Debug)]
pub(crate) struct LogReader {
    issuer: String,
    list: RevocationList,
    recent: RecentEntries,
}

impl LogReader {
    pub(crate) fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            list: RevocationList::authoritative(issuer),
            recent: RecentEntries::default(),
        }
    }

    /// Adds the next revocation.
    pub(crate) fn push(&mut self, row: FeedRow<'_>) {
        let entry = entry_of_row(&self.issuer, &row);
        self.list.insert_key(entry.key, entry.revoked_at, entry.expires_at);
        self.recent.push(row.cursor, entry);
    }

    /// Returns the memory of the log, which ends at `end`.
    pub(crate) fn finish(self, end: LogEnd, clock: Arc<dyn Clock>) -> LogMemory {
        let Self { issuer, list, recent } = self;
        let shared = Shared {
            issuer,
            list,
            end: watch::Sender::new(end.clone()),
            urgent: watch::Sender::new(end.cursor),
            commit_times: CommitTimes::new(clock, &end),
            tail: Mutex::new(recent.into_tail(end)),
        };
        LogMemory { shared: Arc::new(shared) }
    }
}

/// The last entries of a log, gathered while it is read: one more than the tail keeps, so that it knows where they begin.
#[derive(Debug, Default)]
struct RecentEntries(VecDeque<(u64, FeedEntry)>);

impl RecentEntries {
    fn push(&mut self, cursor: u64, entry: FeedEntry) {
        self.0.push_back((cursor, entry));
        if self.0.len() > RECENT.saturating_add(1) {
            self.0.pop_front();
        }
    }

    fn into_tail(self, end: LogEnd) -> Tail {
        let mut tail = Tail::new(end);
        for (cursor, entry) in self.0 {
            tail.push(cursor, entry);
        }
        tail
    }
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::{Subject, SystemClock, UnixTime};

    use super::*;

    fn end(epoch: &str, cursor: u64) -> LogEnd {
        LogEnd { epoch: epoch.into(), cursor }
    }

    fn revocation(target: &str) -> Revocation {
        Revocation {
            level: Level::Token,
            target: target.to_owned(),
            revoked_at: UnixTime::from_seconds(100),
            expires_at: UnixTime::from_seconds(200),
            revoked_by: Subject::Admin,
            reason: None,
            listed: false,
        }
    }

    fn row(cursor: u64, target: &str) -> FeedRow<'_> {
        let (revoked_at, expires_at) = (UnixTime::from_seconds(100), UnixTime::from_seconds(200));
        FeedRow { cursor, level: Level::Token, target, revoked_at, expires_at }
    }

    fn cursors(memory: &LogMemory) -> (usize, u64, usize) {
        let (_, newer) = memory.after(0, 100);
        let Newer::All { entries, to } = newer else { panic!("{newer:?}") };
        (entries.len(), to, memory.list().len())
    }

    #[test]
    fn counts_revocation_once_when_commit_and_follower_deliver_it() {
        let memory = LogReader::new("issuer").finish(end("a", 0), Arc::new(SystemClock));
        let epoch: Arc<str> = "a".into();
        memory.extend(&[row(1, "one")], &end("a", 1));
        memory.add(&epoch, 2, &revocation("two"));
        memory.extend(&[row(1, "one"), row(2, "two")], &end("a", 2));
        memory.extend(&[row(3, "three")], &end("a", 3));
        memory.add(&epoch, 2, &revocation("two"));
        memory.add(&epoch, 3, &revocation("three"));
        memory.extend(&[row(1, "one")], &end("a", 1));
        assert_eq!(cursors(&memory), (3, 3, 3));
        memory.extend(&[], &end("a", 7));
        assert_eq!(cursors(&memory), (3, 7, 3), "entries that expired and were deleted");
    }

    #[test]
    fn requested_revocations_and_changes_of_keys_are_urgent() {
        let memory = LogReader::new("issuer").finish(end("a", 3), Arc::new(SystemClock));
        let urgent = memory.urgent();
        let epoch: Arc<str> = "a".into();
        memory.add(&epoch, 4, &revocation("renewed"));
        memory.extend(&[row(5, "released")], &end("a", 5));
        assert_eq!(*urgent.borrow(), 3);
        memory.add(&epoch, 6, &Revocation { level: Level::Session, ..revocation("revoked") });
        assert_eq!(*urgent.borrow(), 6);
        memory.extend(&[row(7, "renewed"), FeedRow { level: Level::Agent, ..row(8, "agent") }], &end("a", 8));
        assert_eq!(*urgent.borrow(), 8);
        memory.advance(&epoch, 9);
        assert_eq!(*urgent.borrow(), 9);
        memory.restart().finish(end("b", 1));
        assert_eq!(*urgent.borrow(), 1);
    }

    #[test]
    fn replaces_list_and_tail_and_ignores_the_log_before() {
        let memory = LogReader::new("issuer").finish(end("a", 0), Arc::new(SystemClock));
        let mut waiting = memory.subscribe();
        memory.extend(&[row(1, "one"), row(2, "two")], &end("a", 2));
        waiting.borrow_and_update();
        let mut log = memory.restart();
        log.push(row(1, "one"));
        assert_eq!(cursors(&memory), (2, 2, 2), "nothing is replaced until the log is complete");
        log.finish(end("b", 1));
        assert!(waiting.has_changed().unwrap());
        assert_eq!(*waiting.borrow_and_update(), end("b", 1));
        memory.extend(&[row(2, "two")], &end("a", 2));
        memory.add(&"a".into(), 3, &revocation("three"));
        assert_eq!((cursors(&memory), memory.end()), ((1, 1, 1), end("b", 1)));
    }
}
