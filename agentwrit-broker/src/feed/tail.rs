//! The recent entries of the log, in memory.

use std::{collections::VecDeque, sync::Arc};

use agentwrit_verify::feed::FeedEntry;

use crate::store::LogEnd;

/// Number of entries that are kept.
pub(super) const RECENT: usize = 16_384;

#[derive(Debug)]
pub(super) struct Tail {
    epoch: Arc<str>,
    /// Cursor after which every entry in force is kept.
    base: u64,
    entries: VecDeque<(u64, FeedEntry)>,
    /// The end of the log. Its last entries may have expired and be gone.
    end: u64,
}

/// Entries after a cursor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Newer {
    /// All of them.
    All { entries: Vec<FeedEntry>, to: u64 },
    /// The first part of them, the entry that follows, and the last of all.
    Part { entries: Vec<FeedEntry>, to: u64, next: FeedEntry, last: FeedEntry },
    /// The cursor lies before the entries that are kept.
    Older,
    /// The log does not reach so far.
    Beyond,
}

impl Tail {
    /// The end of a log of which no entries are known.
    pub(super) fn new(LogEnd { epoch, cursor }: LogEnd) -> Self {
        Self { epoch, base: 0, entries: VecDeque::new(), end: cursor }
    }

    pub(super) fn end(&self) -> LogEnd {
        LogEnd { epoch: Arc::clone(&self.epoch), cursor: self.end }
    }

    /// Moves the end of the log to a cursor, if that is further.
    pub(super) fn extend_to(&mut self, cursor: u64) {
        self.end = self.end.max(cursor);
    }

    pub(super) fn push(&mut self, cursor: u64, entry: FeedEntry) {
        self.entries.push_back((cursor, entry));
        self.extend_to(cursor);
        if self.entries.len() > RECENT
            && let Some((dropped, _)) = self.entries.pop_front()
        {
            self.base = dropped;
        }
    }

    /// Returns the entries after `from`, at most `most`.
    pub(super) fn after(&self, from: u64, most: usize) -> Newer {
        if from > self.end {
            return Newer::Beyond;
        }
        if from < self.base {
            return Newer::Older;
        }
        let mut newer = self.entries.range(self.position(from)..);
        let page: Vec<&(u64, FeedEntry)> = newer.by_ref().take(most).collect();
        let entries = page.iter().map(|(_, entry)| *entry).collect();
        match (page.last(), newer.next(), self.last()) {
            (Some((to, _)), Some((_, next)), Some(last)) => Newer::Part { entries, to: *to, next: *next, last },
            (Some(_) | None, _, _) => Newer::All { entries, to: self.end },
        }
    }

    /// The last entry.
    pub(super) fn last(&self) -> Option<FeedEntry> {
        self.entries.back().map(|(_, entry)| *entry)
    }

    /// Returns whether `most` entries bring a follower at `from` to the end of the log.
    pub(super) fn is_within(&self, from: u64, most: usize) -> bool {
        from >= self.base && self.entries.len().saturating_sub(self.position(from)) <= most
    }

    /// Index of the first entry after a cursor.
    fn position(&self, from: u64) -> usize {
        self.entries.partition_point(|(cursor, _)| *cursor <= from)
    }
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::{Level, Subject, UnixTime};

    use super::{super::entry::entry_of, *};
    use crate::domain::Revocation;

    fn entry(at: u64) -> FeedEntry {
        let revocation = Revocation {
            level: Level::Token,
            target: at.to_string(),
            revoked_at: UnixTime::from_seconds(at),
            expires_at: UnixTime::from_seconds(at + 100),
            revoked_by: Subject::Admin,
            reason: None,
            listed: false,
        };
        entry_of("https://issuer.test", &revocation)
    }

    fn end(cursor: u64) -> LogEnd {
        LogEnd { epoch: "epoch".into(), cursor }
    }

    fn tail(entries: u64) -> Tail {
        let mut tail = Tail::new(end(0));
        for cursor in 1..=entries {
            tail.push(cursor, entry(cursor));
        }
        tail
    }

    #[test]
    fn returns_entries_after_cursor_in_pages() {
        let tail = tail(5);
        let entries = |cursors: &[u64]| cursors.iter().map(|cursor| entry(*cursor)).collect::<Vec<_>>();
        assert_eq!(tail.after(1, 2), Newer::Part { entries: entries(&[2, 3]), to: 3, next: entry(4), last: entry(5) });
        assert_eq!(tail.after(3, 2), Newer::All { entries: entries(&[4, 5]), to: 5 });
        assert_eq!(tail.after(5, 2), Newer::All { entries: Vec::new(), to: 5 });
        assert_eq!(tail.after(6, 2), Newer::Beyond);
        assert_eq!((tail.is_within(2, 2), tail.is_within(3, 2), tail.is_within(5, 2)), (false, true, true));
    }

    #[test]
    fn drops_oldest_entries_and_reports_cursors_before_them_as_older() {
        let recent = RECENT as u64;
        let tail = tail(recent + 3);
        assert_eq!(tail.after(2, 1), Newer::Older);
        let (next, last) = (entry(5), entry(recent + 3));
        assert_eq!(tail.after(3, 1), Newer::Part { entries: vec![entry(4)], to: 4, next, last });
        assert!(!tail.is_within(2, RECENT + 3));
    }

    #[test]
    fn keeps_end_of_log_when_last_entries_have_expired() {
        let mut tail = Tail::new(end(9));
        tail.push(7, entry(7));
        assert_eq!(tail.after(9, 2), Newer::All { entries: Vec::new(), to: 9 });
        assert_eq!(tail.after(3, 2), Newer::All { entries: vec![entry(7)], to: 9 });
        tail.push(10, entry(10));
        assert_eq!(tail.after(9, 2), Newer::All { entries: vec![entry(10)], to: 10 });
    }
}
