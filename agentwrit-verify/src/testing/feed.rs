//! Feed of the in-memory issuer, and a service that follows it.

use std::{convert::Infallible, time::Duration};

use super::{ManualClock, TestIssuer};
use crate::{
    clock::{Clock as _, UnixTime},
    feed::{
        AppliedResponse, ClockReading, Feed, FeedCursor, FeedEntry, FeedError, KeyAnnouncement, ResponseHead, Staleness,
    },
    issue::SigningKey,
    keys::KeySet,
    report::{AcceptanceError, InstanceId, Report, ReportSeries, VerifierName},
    revocation::{Level, RevocationKey},
    trusted::TrustedKeys,
    verifier::Verifier,
};

/// Log of revocations; a cursor is the number of entries up to it.
#[derive(Debug, Default)]
pub(super) struct RevocationLog {
    epoch: u64,
    entries: Vec<FeedEntry>,
}

impl RevocationLog {
    /// Validity of a response.
    const VALIDITY: Duration = Duration::from_secs(60);

    pub(super) fn add(&mut self, entry: FeedEntry) {
        self.entries.push(entry);
    }

    pub(super) fn restore(&mut self, kept: usize) {
        self.entries.truncate(kept);
        self.epoch = self.epoch.saturating_add(1);
    }

    pub(super) fn cursor(&self) -> FeedCursor {
        let position = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        FeedCursor::new(&self.epoch(), position).expect("the epoch is a valid name")
    }

    fn epoch(&self) -> String {
        format!("epoch-{}", self.epoch)
    }

    /// Takes a cursor for a change of the keys.
    pub(super) fn add_change_of_keys(&mut self, now: UnixTime) {
        let key = RevocationKey::from_bytes([0; 16]);
        // An entry that has expired is never sent.
        self.entries.push(FeedEntry { level: Level::Token, key, revoked_at: now, expires_at: now });
    }

    pub(super) fn response(
        &self,
        key: &SigningKey,
        keys: Option<&KeyAnnouncement>,
        since: Option<u64>,
        now: UnixTime,
    ) -> String {
        let to = self.entries.len();
        let from = since.and_then(|since| usize::try_from(since).ok()).filter(|from| *from <= to).unwrap_or_default();
        let cursor = |position| u64::try_from(position).unwrap_or(u64::MAX);
        let epoch = self.epoch();
        let head = ResponseHead {
            issuer: TestIssuer::ISSUER,
            issued_at: now,
            expires_at: now.saturating_add(Self::VALIDITY),
            poll_interval: 5,
            epoch: &epoch,
            from: cursor(from),
            to: cursor(to),
            keys,
        };
        let signed = key.sign_feed_response(&head, to.saturating_sub(from), |entries| {
            self.entries.iter().skip(from).filter(|entry| entry.expires_at > now).for_each(|entry| entries.push(entry));
            Ok::<_, Infallible>(())
        });
        signed.unwrap_or_else(|never| match never {})
    }
}

/// A service that follows a [`TestIssuer`] by its key set and feed only, over a network that the test simulates: its
/// list changes only by [`poll`](Self::poll) and [`deliver`](Self::deliver).
#[derive(Debug)]
pub struct TestFollower {
    feed: Feed,
    keys: TrustedKeys,
    clock: ManualClock,
    verifier: Verifier,
    reports: Option<ReportSeries>,
}

impl TestFollower {
    /// A service with the issuer's keys and no revocation list yet, on the issuer's clock.
    #[must_use]
    pub fn of(issuer: &TestIssuer, staleness: Staleness) -> Self {
        Self::with_clock(issuer, staleness, issuer.clock().clone())
    }

    /// The same on a clock of its own, which may be wrong.
    #[must_use]
    pub fn with_clock(issuer: &TestIssuer, staleness: Staleness, clock: ManualClock) -> Self {
        let feed = Feed::new(TestIssuer::ISSUER, staleness);
        let keys = TrustedKeys::following(None);
        keys.publish(issuer.key_set(), clock.monotonic());
        let verifier = Verifier::builder()
            .issuer(TestIssuer::ISSUER)
            .keys(keys.clone())
            .revocations(feed.list().clone())
            .clock(clock.clone())
            .build();
        Self { feed, keys, clock, verifier, reports: None }
    }

    /// Requests the feed from the issuer, and applies the response.
    ///
    /// # Errors
    ///
    /// [`FeedError`], such as for a response signed with a key that was not [fetched](Self::fetch_keys) yet.
    pub fn poll(&mut self, issuer: &TestIssuer) -> Result<AppliedResponse, FeedError> {
        self.deliver(&issuer.feed_response(self.feed.since()))
    }

    /// Applies a response.
    ///
    /// # Errors
    ///
    /// [`FeedError`] with the rule that the response breaks; the list is unchanged then.
    pub fn deliver(&mut self, response: &str) -> Result<AppliedResponse, FeedError> {
        let applied = self.feed.apply_with_keys(response, &self.keys, ClockReading::of(&self.clock));
        if let Some(reports) = &self.reports {
            reports.list_changed();
        }
        applied
    }

    /// Takes over the issuer's key set as it is now, past caches.
    pub fn fetch_keys(&self, issuer: &TestIssuer) {
        self.set_keys_as_of(issuer.key_set(), self.clock.monotonic());
    }

    /// Takes over a key set that the broker made after `as_of`, on this service's monotonic clock.
    pub fn set_keys_as_of(&self, keys: KeySet, as_of: std::time::Instant) {
        self.keys.publish_as_of(keys, as_of, self.clock.monotonic());
    }

    /// Takes over a key set of unknown age, as from a cache.
    pub fn set_keys(&self, keys: KeySet) {
        self.keys.publish(keys, self.clock.monotonic());
    }

    /// Reports as an instance of a verifier: no token is accepted before a report [was accepted](Self::report_accepted).
    #[must_use]
    pub fn with_identity(mut self, verifier: VerifierName, instance: InstanceId) -> Self {
        let (list, keys) = (self.feed.list().clone(), self.keys.clone());
        self.reports = Some(ReportSeries::new(verifier, instance, list, keys));
        self
    }

    /// Returns the next report; `None` without an identity or before the first list.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        self.reports.as_ref()?.next(self.clock.now())
    }

    /// Extends the lease after the broker accepted a report that was sent at this monotonic time. `at_least` is the
    /// broker's cursor when it accepted it.
    pub fn report_accepted(&self, sent: std::time::Instant, at_least: FeedCursor) {
        if let Some(reports) = &self.reports {
            let now = ClockReading::of(&self.clock);
            let wall = now.wall.saturating_sub(now.monotonic.saturating_duration_since(sent));
            reports.accepted(ClockReading { wall, monotonic: sent }, at_least, now);
        }
    }

    /// Extends the lease by the broker's signed acceptance of a report that was sent at this monotonic time.
    ///
    /// # Errors
    ///
    /// [`AcceptanceError`]: the report does not count as accepted.
    pub fn receive_acceptance(
        &self,
        sent: std::time::Instant,
        report: &str,
        acceptance: &str,
    ) -> Result<(), AcceptanceError> {
        let Some(reports) = &self.reports else { return Ok(()) };
        let accepted = reports.verify_acceptance(acceptance, report)?;
        self.report_accepted(sent, accepted.at_least);
        Ok(())
    }

    /// Ends the lease after the broker rejected a report for a reason that lasts.
    pub fn report_rejected(&self) {
        if let Some(reports) = &self.reports {
            reports.rejected();
        }
    }

    /// Stops accepting tokens: the next report says so.
    pub fn leave(&self) {
        if let Some(reports) = &self.reports {
            reports.leave();
        }
    }

    /// Returns true when the feed announces a key that was not fetched yet.
    #[must_use]
    pub fn misses_announced_key(&self) -> bool {
        self.keys.misses_announced_key()
    }

    /// Returns the feed.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The service's verifier.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}
