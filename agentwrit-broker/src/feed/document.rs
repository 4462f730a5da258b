//! Answers of the feed, built and signed.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use agentwrit_verify::{UnixTime, issue::PayloadWriter};
use serde_json::json;

use super::{FeedPublisher, FeedUnavailable, REUSE, entry::Entry};
use crate::{
    clock::is_from_the_future,
    limits::{
        document::Document,
        fair_share::{Account, FairPool},
    },
    store::ALL_ROWS,
};

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
    made: UnixTime,
    /// When the first of its entries expires.
    first_expiry: Option<UnixTime>,
}

impl Answer {
    /// Whether a request at `now` may be given this instead of a response of its own: it was made within [`REUSE`], and
    /// none of its entries has expired since.
    pub(super) fn is_reusable(&self, now: UnixTime) -> bool {
        (self.made..=self.made.saturating_add(REUSE)).contains(&now)
            && self.first_expiry.is_none_or(|expiry| now < expiry)
    }
}

/// A signed answer that has no place among the large responses yet.
#[derive(Debug)]
pub(super) struct Signed {
    text: String,
    span: Span,
    until: u64,
    made: UnixTime,
    first_expiry: Option<UnixTime>,
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
    /// Finds a place for a response to `client`.
    pub(super) fn place(&self, signed: Signed, client: IpAddr) -> Result<Arc<Answer>, FeedUnavailable> {
        Self::placed(signed, None, &self.pools.responses, client.into())
    }

    /// Finds a place for a snapshot, which no other response displaces.
    pub(super) fn place_snapshot(&self, signed: Signed) -> Result<Arc<Answer>, FeedUnavailable> {
        let tag = format!("\"{}-{}\"", self.epoch, signed.span.to);
        Self::placed(signed, Some(tag), &self.pools.snapshots, Account::Shared)
    }

    fn placed(
        signed: Signed,
        tag: Option<String>,
        pool: &FairPool,
        account: Account,
    ) -> Result<Arc<Answer>, FeedUnavailable> {
        let Signed { text, span, until, made, first_expiry } = signed;
        let document = Document::new(text.into(), pool, account).ok_or(FeedUnavailable::Overloaded)?;
        Ok(Arc::new(Answer { document, tag, span, until, made, first_expiry }))
    }

    /// Gives a response to one more client. Returns whether it is still there.
    pub(super) fn share(&self, answer: &Answer, client: IpAddr) -> bool {
        answer.document.share_with(client, &self.pools.shared_responses);
        answer.document.is_held()
    }

    pub(super) fn answer(&self, span: Span, entries: &[Entry], now: UnixTime) -> Signed {
        let length = entries.len().saturating_mul(Entry::ENCODED);
        let written = self.write_answer(span, now, length, |writer| {
            for entry in entries.iter().filter(|entry| entry.expires_at > now) {
                writer.push(entry);
            }
            Ok::<(), Infallible>(())
        });
        written.unwrap_or_else(|never| match never {})
    }

    /// The whole log, written while it is read.
    pub(super) async fn read_snapshot(&self) -> Result<Signed, FeedUnavailable> {
        let turn = self.pools.long_read().await;
        let (publisher, now) = (self.clone(), self.clock.now());
        let read = self.store.read(move |reader| {
            let _turn = turn;
            let (to, count) = (reader.latest_cursor()?, reader.count_live_revocations(now)?);
            let span = Span { from: 0, to, at: now.seconds() };
            let length = usize::try_from(count).unwrap_or(0).saturating_mul(Entry::ENCODED);
            publisher.write_answer(span, now, length, |writer| {
                let issuer = publisher.issuer.name();
                reader.visit_revocations(0, now, ALL_ROWS, |row| writer.push(&Entry::of_row(issuer, &row)))
            })
        });
        read.await.map_err(FeedUnavailable::Store)
    }

    /// The page of the log that begins after `start`: up to its last entry, or to a place where other pages begin. None
    /// when its age is not known.
    pub(super) async fn read_page(&self, start: u64) -> Result<Option<Signed>, FeedUnavailable> {
        let turn = self.pools.long_read().await;
        let (publisher, now, last) = (self.clone(), self.clock.now(), self.feed.last());
        let read = self.store.read(move |reader| {
            let _turn = turn;
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
            Ok(Some(publisher.answer(span, &entries, now)))
        });
        read.await.map_err(FeedUnavailable::Store)
    }

    fn write_answer<E>(
        &self,
        span: Span,
        now: UnixTime,
        length: usize,
        entries: impl FnOnce(&mut EntryWriter<'_, '_>) -> Result<(), E>,
    ) -> Result<Signed, E> {
        let until = valid_until(now);
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
        let mut first_expiry = None;
        let text = self.issuer.write_document(MEDIA_TYPE, length.saturating_add(512), |payload| {
            payload.push(head.strip_suffix('}').unwrap_or(&head).as_bytes());
            payload.push(b",\"entries\":[");
            let mut writer = EntryWriter { payload, first_expiry: None, text: String::new() };
            entries(&mut writer)?;
            writer.payload.push(b"]}");
            first_expiry = writer.first_expiry;
            Ok(())
        })?;
        Ok(Signed { text, span, until, made: now, first_expiry })
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
    /// When the first of the entries written so far expires; `None` before the first.
    first_expiry: Option<UnixTime>,
    text: String,
}

impl EntryWriter<'_, '_> {
    fn push(&mut self, entry: &Entry) {
        self.text.clear();
        if self.first_expiry.is_some() {
            self.text.push(',');
        }
        self.first_expiry = Some(self.first_expiry.map_or(entry.expires_at, |first| first.min(entry.expires_at)));
        entry.write(&mut self.text);
        self.payload.push(self.text.as_bytes());
    }
}
