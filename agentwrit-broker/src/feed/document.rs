//! Answers of the feed, built and signed.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use agentwrit_verify::{UnixTime, issue::PayloadWriter};
use serde_json::json;

use super::{FeedPublisher, FeedUnavailable, entry::Entry};
use crate::{limits::document::Document, store::ALL_ROWS, timekeeping::is_from_the_future};

/// The `typ` of an answer: never that of a token.
const MEDIA_TYPE: &str = "agentwrit-revocations+jwt";
/// How long an answer may be relied on, in seconds.
const VALIDITY: u64 = 60;
/// How often to ask without long polling, in seconds.
const POLLING_HINT: u64 = 5;
/// How many entries an older page holds at most; its ends are multiples of it.
pub(super) const OLDER_PAGE: u64 = 4096;

/// A signed answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) document: Document,
    /// Identifies a snapshot.
    pub(crate) tag: Option<String>,
    pub(super) span: Span,
    /// `exp`.
    pub(super) until: u64,
}

/// A signed answer that has no place among the large responses yet.
#[derive(Debug)]
pub(super) struct Signed {
    text: String,
    span: Span,
    until: u64,
}

/// Which part of the log, and when it was the end of it: what makes two answers say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: u64,
    pub(super) to: u64,
    /// `iat`.
    pub(super) at: u64,
}

/// `exp` of an answer that is made now.
pub(super) fn valid_until(now: UnixTime) -> u64 {
    now.seconds().saturating_add(VALIDITY)
}

impl FeedPublisher {
    /// Finds a place for an answer that `client` caused.
    pub(super) fn place(&self, signed: Signed, client: IpAddr) -> Result<Arc<Answer>, FeedUnavailable> {
        let Signed { text, span, until } = signed;
        let document = Document::new(text.into(), &self.pools.responses, client).ok_or(FeedUnavailable::Overloaded)?;
        let tag = (span.from == 0).then(|| format!("\"{}-{}\"", self.epoch, span.to));
        Ok(Arc::new(Answer { document, tag, span, until }))
    }

    pub(super) fn answer(&self, span: Span, until: u64, entries: &[Entry], now: UnixTime) -> Signed {
        let length = entries.len().saturating_mul(Entry::ENCODED);
        let written = self.write_answer(span, until, length, |writer| {
            for entry in entries.iter().filter(|entry| entry.expires_at > now) {
                writer.push(entry);
            }
            Ok::<(), Infallible>(())
        });
        written.unwrap_or_else(|never| match never {})
    }

    /// The whole log, written while it is read.
    pub(super) async fn read_snapshot(&self) -> Result<Signed, FeedUnavailable> {
        let (publisher, now) = (self.clone(), self.clock.now());
        let read = self.store.read(move |reader| {
            let (to, count) = (reader.latest_cursor()?, reader.count_live_revocations(now)?);
            let span = Span { from: 0, to, at: now.seconds() };
            let length = usize::try_from(count).unwrap_or(0).saturating_mul(Entry::ENCODED);
            publisher.write_answer(span, valid_until(now), length, |writer| {
                let issuer = publisher.issuer.name();
                reader.visit_revocations(0, now, ALL_ROWS, |row| writer.push(&Entry::of_row(issuer, &row)))
            })
        });
        read.await.map_err(FeedUnavailable::Store)
    }

    /// The page of the log that begins after `start`: up to its last entry, or to a place where other pages begin. None
    /// when its age is not known.
    pub(super) async fn read_page(&self, start: u64) -> Result<Option<Signed>, FeedUnavailable> {
        let (publisher, now, last) = (self.clone(), self.clock.now(), self.feed.last());
        let read = self.store.read(move |reader| {
            let latest = reader.latest_cursor()?;
            let mut rows: Vec<(u64, Entry)> = Vec::new();
            let issuer = publisher.issuer.name();
            reader.visit_revocations(start, now, OLDER_PAGE.saturating_add(1), |row| {
                rows.push((row.cursor, Entry::of_row(issuer, &row)));
            })?;
            let Some((to, at)) = end_of_page(&rows, latest, last, now) else { return Ok(None) };
            let entries: Vec<Entry> =
                rows.into_iter().filter(|(cursor, _)| *cursor <= to).map(|(_, entry)| entry).collect();
            let span = Span { from: start, to, at: at.seconds() };
            Ok(Some(publisher.answer(span, valid_until(now), &entries, now)))
        });
        read.await.map_err(FeedUnavailable::Store)
    }

    fn write_answer<E>(
        &self,
        span: Span,
        until: u64,
        length: usize,
        entries: impl FnOnce(&mut EntryWriter<'_, '_>) -> Result<(), E>,
    ) -> Result<Signed, E> {
        let head = json!({
            "iss": self.issuer.name(),
            "iat": span.at,
            "exp": until,
            "epoch": self.epoch,
            "from": span.from,
            "to": span.to,
            "ttl": POLLING_HINT,
        });
        let head = head.to_string();
        let text = self.issuer.write_document(MEDIA_TYPE, length.saturating_add(512), |payload| {
            payload.push(head.strip_suffix('}').unwrap_or(&head).as_bytes());
            payload.push(b",\"entries\":[");
            let mut writer = EntryWriter { payload, first: true, text: String::new() };
            entries(&mut writer)?;
            writer.payload.push(b"]}");
            Ok(())
        })?;
        Ok(Signed { text, span, until })
    }
}

/// Where the page ends that `rows` begin, one more than fit into it if there are so many, and as of when that was the end
/// of the log, of which `last` is the last entry.
fn end_of_page(rows: &[(u64, Entry)], latest: u64, last: Option<Entry>, now: UnixTime) -> Option<(u64, UnixTime)> {
    let fit = usize::try_from(OLDER_PAGE).unwrap_or(usize::MAX);
    let (Some((last_fit, _)), Some(_)) = (rows.get(fit.saturating_sub(1)), rows.get(fit)) else {
        return Some((latest, now));
    };
    let to = last_fit - last_fit % OLDER_PAGE;
    match rows.iter().find(|(cursor, _)| *cursor > to) {
        Some((_, next)) => Some((to, end_of_log_before(next, &last.unwrap_or(*next), now)?)),
        None => Some((to, now)),
    }
}

/// As of when the log ended before `next`: nothing behind it had been written when that entry was made. None when the
/// clock has been set back since, so that the entry's time is later than when it was made.
pub(super) fn end_of_log_before(next: &Entry, last: &Entry, now: UnixTime) -> Option<UnixTime> {
    let known_to_be_past = last.revoked_at.min(now);
    (!is_from_the_future(next.revoked_at, known_to_be_past)).then(|| next.revoked_at.min(known_to_be_past))
}

/// Writes entries into the list of a payload.
pub(super) struct EntryWriter<'w, 'd> {
    payload: &'w mut PayloadWriter<'d>,
    first: bool,
    text: String,
}

impl EntryWriter<'_, '_> {
    fn push(&mut self, entry: &Entry) {
        self.text.clear();
        if !std::mem::take(&mut self.first) {
            self.text.push(',');
        }
        entry.write(&mut self.text);
        self.payload.push(self.text.as_bytes());
    }
}
