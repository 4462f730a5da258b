//! Responses of the feed, built and signed.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use agentwrit_verify::{
    UnixTime,
    feed::{EntryWriter, FeedEntry, ResponseHead},
};

use tokio::time::Instant;

use super::{FeedPublisher, FeedUnavailable, Moment, REUSE, entry::entry_of_row};
use crate::{
    clock::is_from_the_future,
    issuer::KeyRing,
    limits::{
        document::{Document, READING_TIME},
        fair_share::{Account, FairPool},
    },
    store::{ALL_ROWS, KeysVersion, Reader, StoreError},
};

/// Time for which followers may rely on a response.
const VALIDITY: Duration = READING_TIME;
/// Interval between requests of followers that do not use long polls, in seconds.
const POLL_INTERVAL: u64 = 5;
/// Largest number of entries in an older page; the page's ends are multiples of it.
pub(super) const OLDER_PAGE: u64 = 4096;

/// A signed response.
#[derive(Debug)]
pub(crate) struct FeedResponse {
    pub(crate) document: Document,
    /// `ETag` of a snapshot.
    pub(crate) tag: Option<String>,
    pub(super) span: Span,
    /// Keys that it announces.
    ring: Arc<KeyRing>,
    pub(super) expires_at: UnixTime,
    /// When it was begun.
    pub(super) begun: Instant,
    built_at: UnixTime,
    /// Expiry of the first of its entries to expire.
    first_expiry: Option<UnixTime>,
}

impl FeedResponse {
    /// Returns whether a request at `now` may be given this instead of a response of its own: it was built within [`REUSE`], and
    /// none of its entries has expired since.
    pub(super) fn is_reusable(&self, now: UnixTime) -> bool {
        (self.built_at..=self.built_at.saturating_add(REUSE)).contains(&now)
            && self.first_expiry.is_none_or(|expiry| now < expiry)
    }

    /// Returns whether it was signed with these keys: a response from before a change of the keys is not served after it.
    pub(super) fn is_signed_by(&self, ring: &Arc<KeyRing>) -> bool {
        self.ring.version == ring.version
    }

    /// Returns whether a follower accepts this at `now`.
    fn is_valid(&self, now: UnixTime) -> bool {
        (self.built_at..self.expires_at).contains(&now)
    }
}

/// A signed response that has no place among the large responses yet.
#[derive(Debug)]
pub(super) struct SignedResponse {
    text: String,
    span: Span,
    ring: Arc<KeyRing>,
    moment: Moment,
    first_expiry: Option<UnixTime>,
}

/// Part of the log, and when it was the end of the log. Two responses with the same span have the same content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) epoch: Arc<str>,
    pub(super) from: u64,
    pub(super) to: u64,
    /// `iat`, in seconds.
    pub(super) at: u64,
}

/// `exp` of a response that is built now: whole seconds, as followers receive it.
pub(super) fn expiry(now: UnixTime) -> UnixTime {
    UnixTime::from_seconds(now.saturating_add(VALIDITY).seconds())
}

impl FeedPublisher {
    /// Takes a place for a response to `client`.
    pub(super) fn place(&self, signed: SignedResponse, client: IpAddr) -> Result<Arc<FeedResponse>, FeedUnavailable> {
        Self::placed(signed, None, &self.pools.responses, client.into())
    }

    /// Takes a place for a snapshot, which no other response displaces.
    fn place_snapshot(&self, signed: SignedResponse) -> Result<Arc<FeedResponse>, FeedUnavailable> {
        let tag = format!("\"{}-{}\"", signed.span.epoch, signed.span.to);
        Self::placed(signed, Some(tag), &self.pools.snapshots, Account::Shared)
    }

    fn placed(
        signed: SignedResponse,
        tag: Option<String>,
        pool: &FairPool,
        account: Account,
    ) -> Result<Arc<FeedResponse>, FeedUnavailable> {
        let SignedResponse { text, span, ring, moment: Moment { begun, at: built_at }, first_expiry } = signed;
        let document = Document::new(text.into(), pool, account).ok_or(FeedUnavailable::Overloaded)?;
        let expires_at = expiry(built_at);
        Ok(Arc::new(FeedResponse { document, tag, span, ring, expires_at, begun, built_at, first_expiry }))
    }

    /// Gives a response to one more client. Returns false when it is not held, or has no place that other clients leave
    /// alone.
    pub(super) fn share(&self, response: &FeedResponse, client: IpAddr) -> bool {
        response.document.share_with(client, &self.pools.shared_responses) && response.document.is_held()
    }

    /// Returns whether a snapshot stands in for a newer one: clients read it, and there is no room for both. Its `iat`
    /// states its age; a follower loads what came after `to` next. `after` is a cursor that could not be served: a
    /// snapshot that ends there would not help.
    pub(super) fn stands_in(&self, snapshot: &FeedResponse, after: Option<u64>) -> bool {
        self.may_reuse()
            && snapshot.is_valid(self.clock.now())
            && snapshot.is_signed_by(&self.issuer.ring())
            && snapshot.document.is_held()
            && after.is_none_or(|after| snapshot.span.to > after)
            && !self.has_room_beside(snapshot)
    }

    /// Returns whether a new snapshot of the same size would get a place.
    fn has_room_beside(&self, snapshot: &FeedResponse) -> bool {
        self.pools.snapshots.would_admit(Account::Shared, snapshot.document.length())
    }

    /// Builds a snapshot. Returns `previous` when the new one turns out too large to be held beside it.
    pub(super) async fn build_snapshot(
        &self,
        previous: Option<Arc<FeedResponse>>,
        after: Option<u64>,
    ) -> Result<Arc<FeedResponse>, FeedUnavailable> {
        if let Some(previous) = &previous {
            if !previous.is_valid(self.clock.now()) || !previous.is_signed_by(&self.issuer.ring()) {
                // It expired, the clock was set back, or the keys changed: its readers cannot use it, or only for a moment.
                previous.document.end_protection();
            } else if !self.has_room_beside(previous) {
                return Err(FeedUnavailable::Overloaded);
            }
        }
        let placed = self.place_snapshot(self.read_snapshot().await?);
        placed.or_else(|error| previous.filter(|previous| self.stands_in(previous, after)).ok_or(error))
    }

    /// Signs a response with those of `entries` that have not expired.
    pub(super) fn sign(&self, ring: Arc<KeyRing>, span: Span, entries: &[FeedEntry], now: Moment) -> SignedResponse {
        let signed = self.sign_with(ring, span, now, entries.len(), |writer| {
            entries.iter().filter(|entry| entry.expires_at > now.at).for_each(|entry| writer.push(entry));
            Ok::<(), Infallible>(())
        });
        signed.unwrap_or_else(|never| match never {})
    }

    /// Reads the whole log, and signs it while it is read.
    async fn read_snapshot(&self) -> Result<SignedResponse, FeedUnavailable> {
        let turn = self.pools.long_read().await;
        let (publisher, now) = (self.clone(), self.confirm().await?);
        let read = self.store.read(move |reader| {
            let _turn = turn;
            let (to, count) = (reader.latest_cursor()?, reader.count_live_revocations(now.at)?);
            let span = Span { epoch: reader.epoch()?.into(), from: 0, to, at: now.at.seconds() };
            let ring = publisher.ring_of(reader)?;
            publisher.sign_with(ring, span, now, usize::try_from(count).unwrap_or(0), |writer| {
                let issuer = publisher.issuer.name();
                reader.visit_revocations(0, now.at, ALL_ROWS, &mut |row| writer.push(&entry_of_row(issuer, &row)))
            })
        });
        read.await.map_err(FeedUnavailable::Store)
    }

    /// Reads the page of the log that begins after `start`, up to the end of the log or to a place where other pages
    /// begin. `None` when its age is not known.
    pub(super) async fn read_page(&self, start: u64) -> Result<Option<SignedResponse>, FeedUnavailable> {
        let turn = self.pools.long_read().await;
        let (publisher, now, last) = (self.clone(), self.confirm().await?, self.feed.memory.last());
        let read = self.store.read(move |reader| {
            let _turn = turn;
            let latest = reader.latest_cursor()?;
            let mut rows: Vec<(u64, FeedEntry)> = Vec::new();
            let issuer = publisher.issuer.name();
            reader.visit_revocations(start, now.at, OLDER_PAGE.saturating_add(1), &mut |row| {
                rows.push((row.cursor, entry_of_row(issuer, &row)));
            })?;
            let Some((to, at)) = end_of_page(&rows, latest, last, now.at) else { return Ok(None) };
            let entries: Vec<FeedEntry> =
                rows.into_iter().filter(|(cursor, _)| *cursor <= to).map(|(_, entry)| entry).collect();
            let span = Span { epoch: reader.epoch()?.into(), from: start, to, at: at.seconds() };
            Ok(Some(publisher.sign(publisher.ring_of(reader)?, span, &entries, now)))
        });
        read.await.map_err(FeedUnavailable::Store)
    }

    /// Returns the newest keys, or those of a state of the store that is newer.
    fn ring_of(&self, reader: &dyn Reader) -> Result<Arc<KeyRing>, StoreError> {
        let (ring, epoch, cursor) = (self.issuer.ring(), reader.epoch()?, reader.keys_cursor()?);
        if *ring.version.epoch == *epoch && ring.version.cursor >= cursor {
            return Ok(ring);
        }
        let version = KeysVersion { epoch: epoch.into(), cursor };
        Ok(self.issuer.current_ring().prepare(&reader.signing_keys()?, version)?)
    }

    fn sign_with<E>(
        &self,
        ring: Arc<KeyRing>,
        span: Span,
        moment: Moment,
        count: usize,
        entries: impl FnOnce(&mut CheckedWriter<'_, '_, '_>) -> Result<(), E>,
    ) -> Result<SignedResponse, E> {
        let head = ResponseHead {
            issuer: self.issuer.name(),
            issued_at: UnixTime::from_seconds(span.at),
            expires_at: expiry(moment.at),
            poll_interval: POLL_INTERVAL,
            epoch: &span.epoch,
            from: span.from,
            to: span.to,
            keys: ring.announcement.as_ref(),
        };
        let mut first_expiry = None;
        let text = ring.active.sign_feed_response(&head, count, |writer| {
            entries(&mut CheckedWriter { writer, first_expiry: &mut first_expiry })
        })?;
        Ok(SignedResponse { text, span, ring, moment, first_expiry })
    }
}

/// Writes entries, and notes when the first of them expires.
struct CheckedWriter<'n, 'w, 'd> {
    writer: &'n mut EntryWriter<'w, 'd>,
    first_expiry: &'n mut Option<UnixTime>,
}

impl CheckedWriter<'_, '_, '_> {
    fn push(&mut self, entry: &FeedEntry) {
        let first = self.first_expiry.map_or(entry.expires_at, |first| first.min(entry.expires_at));
        *self.first_expiry = Some(first);
        self.writer.push(entry);
    }
}

/// Returns the end of the page that `rows` begin (one more than fit into it, if there are so many), and as of when that was
/// the end of the log, of which `last` is the last entry.
fn end_of_page(
    rows: &[(u64, FeedEntry)],
    latest: u64,
    last: Option<FeedEntry>,
    now: UnixTime,
) -> Option<(u64, UnixTime)> {
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

/// Returns as of when the log ended before `next`: no entry behind it had been written when `next` was. `None` when the
/// clock has been set back since, so that the entry's time is later than when it was written.
pub(super) fn end_of_log_before(next: &FeedEntry, last: &FeedEntry, now: UnixTime) -> Option<UnixTime> {
    let known_to_be_past = last.revoked_at.min(now);
    (!is_from_the_future(next.revoked_at, known_to_be_past)).then(|| next.revoked_at.min(known_to_be_past))
}
