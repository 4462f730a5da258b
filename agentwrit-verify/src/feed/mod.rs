//! Applies a broker's revocation feed to a [`RevocationList`], without network I/O.
//!
//! The transport (a cache, a mirror, an attacker) can delay responses, but neither forge them nor roll the list back:
//!
//! 1. A response is a compact JWS whose `typ` is exactly [`Feed::MEDIA_TYPE`], signed by a trusted key, and parsed as
//!    strictly as a token. Neither is ever accepted in place of the other.
//! 2. `iss` is the issuer's. `iat` is never earlier than one accepted before, nor further ahead of this clock than the
//!    leeway. A response is not relied on after its `exp`.
//! 3. Within an epoch the log only grows: a response that ends before our cursor is rejected. After one that starts
//!    beyond the cursor, or is of another epoch, [`Feed::since`] requests a snapshot. The list is unchanged until the
//!    snapshot arrives, which must be newer than everything accepted before.
//! 4. Entries are dropped when the signed `iat` of the feed has passed their `expires_at`, independent of this
//!    machine's clocks. Verifiers reject a token whose `exp` the feed has passed, so a slow clock revives no token.
//! 5. A rejected response changes nothing, with one exception: a signed response from further ahead than the leeway
//!    proves that this clock is behind by more, so the age of the list is unknown. The list is then stale until a
//!    response is accepted, unless stale lists are accepted.
//!
//! [`Staleness`] bounds how long the list may be relied on.
//!
//! [`remote::Follower`](crate::remote::Follower) is built on this module; use it to carry responses by other means.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use agentwrit_verify::{Verifier, feed::{Feed, ClockReading, Staleness}, testing::TestIssuer};
//!
//! let issuer = TestIssuer::new();
//! let mut feed = Feed::new(TestIssuer::ISSUER, Staleness::default());
//! let verifier = Verifier::builder()
//!     .issuer(TestIssuer::ISSUER)
//!     .keys(issuer.key_set())
//!     .revocations(feed.list().clone())
//!     .clock(issuer.clock().clone())
//!     .build();
//! let token = issuer.token(&["read:data:*"]);
//! assert!(verifier.verify(&token).unwrap_err().is_unavailable());
//!
//! // `GET /v1/revocations` with `since`, by any transport.
//! let response = issuer.feed_response(feed.since());
//! feed.apply(&response, &issuer.key_set(), ClockReading::of(issuer.clock()))?;
//! assert!(verifier.verify(&token).is_ok());
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "issue")]
mod encode;
mod error;
mod response;
mod snapshot;
#[cfg(feature = "remote")]
mod state;

use std::time::Duration;

#[cfg(feature = "issue")]
#[cfg_attr(docsrs, doc(cfg(feature = "issue")))]
pub use self::encode::{EntryWriter, FeedEntry, ResponseHead};
pub use self::error::FeedError;
use self::response::FeedResponse;
#[cfg(feature = "remote")]
pub(crate) use self::state::FeedState;
pub use crate::feed_cursor::{FeedCursor, FeedCursorError};
pub use crate::key_announcement::KeyAnnouncement;
pub use crate::staleness::{ClockReading, Staleness, StalenessError};
use crate::{
    clock::UnixTime,
    keys::KeySet,
    revocation::{Entry, RevocationList},
    staleness::{ClockLowerBound, Freshness, Position},
    trusted::TrustedKeys,
};

/// Revocation feed of one issuer: the state that responses are applied to.
#[derive(Debug)]
pub struct Feed {
    list: RevocationList,
    staleness: Staleness,
    longest: usize,
    clock_bound: Option<ClockLowerBound>,
    resync: bool,
    /// Time of the last removal of expired entries, on the broker's clock.
    last_cleanup: UnixTime,
    announced: Option<KeyAnnouncement>,
}

/// Result of applying a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedResponse {
    /// True for a whole list, false for the entries after a cursor.
    pub snapshot: bool,
    /// True when the response changed the list's position.
    pub changed: bool,
    /// Number of entries in the response.
    pub entries: usize,
    /// Poll interval that the broker proposes to clients that do not long-poll.
    pub poll_interval: Duration,
    /// True when the feed announces a key that is not in the key set: fetch the key set, past any cache.
    pub keys_missing: bool,
}

impl Feed {
    /// `typ` of a response.
    pub const MEDIA_TYPE: &str = "agentwrit-revocations+jwt";
    /// Default of [`max_response_length`](Self::max_response_length): a snapshot of about 1.5 million entries.
    pub const DEFAULT_MAX_RESPONSE_LENGTH: usize = 128 * 1024 * 1024;
    const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);

    /// A feed of which nothing is known yet.
    #[must_use]
    pub fn new(issuer: &str, staleness: Staleness) -> Self {
        Self {
            list: RevocationList::following(issuer, staleness),
            staleness,
            longest: Self::DEFAULT_MAX_RESPONSE_LENGTH,
            clock_bound: None,
            resync: false,
            last_cleanup: UnixTime::default(),
            announced: None,
        }
    }

    /// Sets the maximum length of a response, in bytes.
    #[must_use]
    pub fn max_response_length(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// Returns the list that responses are applied to, for any number of verifiers.
    #[must_use]
    pub fn list(&self) -> &RevocationList {
        &self.list
    }

    /// Returns the `since` of the next request; `None` requests a snapshot.
    #[must_use]
    pub fn since(&self) -> Option<u64> {
        if self.resync { None } else { self.position().map(|position| position.cursor) }
    }

    /// Returns the `wait` of the next request, in whole seconds: a third of the bound on staleness less the leeway.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.staleness.wait(self.freshness().map_or(self.staleness.max(), Freshness::bound))
    }

    /// Returns the keys that the newest response announces; `None` when the broker announces none.
    #[must_use]
    pub fn announced_keys(&self) -> Option<&KeyAnnouncement> {
        self.announced.as_ref()
    }

    /// Applies a response, completely or not at all. The caller removes the keys that it does not
    /// [announce](Self::announced_keys): see [`apply_with_keys`](Self::apply_with_keys).
    ///
    /// # Errors
    ///
    /// [`FeedError`] with the rule that is broken; after [`FeedError::NewEpoch`] and [`FeedError::Gap`] request a
    /// snapshot.
    pub fn apply(&mut self, response: &str, keys: &KeySet, now: ClockReading) -> Result<AppliedResponse, FeedError> {
        let response = FeedResponse::verified(response, self.longest, keys)?;
        self.apply_verified(response, now, |announced, _| {
            announced.is_some_and(|announced| announced.key_ids().iter().any(|id| keys.find(id).is_none()))
        })
    }

    /// Applies a response as [`apply`](Self::apply), and removes the keys that it omits from `keys`, before the list
    /// counts as fresh: a verification that begins later trusts none of them.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn apply_with_keys(
        &mut self,
        response: &str,
        keys: &TrustedKeys,
        now: ClockReading,
    ) -> Result<AppliedResponse, FeedError> {
        let for_feed = keys.key_set_for_feed().ok_or(FeedError::UnknownKey { kid: None })?;
        let response = FeedResponse::verified(response, self.longest, &for_feed)?;
        self.apply_verified(response, now, |announced, valid_until| {
            keys.announce(announced, valid_until, now.monotonic)
        })
    }

    /// Applies a response whose signature was verified. `announce` applies the announced keys, until the moment given,
    /// and returns true when one is missing.
    fn apply_verified(
        &mut self,
        response: FeedResponse,
        now: ClockReading,
        announce: impl FnOnce(Option<&KeyAnnouncement>, std::time::Instant) -> bool,
    ) -> Result<AppliedResponse, FeedError> {
        let position = self.position();
        let same_log = position.as_ref().is_some_and(|position| position.epoch == response.epoch);
        if let Err(error) = self.check_time(&response, now) {
            // A page of the log with an older time than its predecessor: the broker's clock was set back in between.
            // Later pages cannot be proved newer either; a snapshot can.
            let ahead = same_log && position.is_some_and(|position| response.to > position.cursor);
            self.resync |= ahead && matches!(error, FeedError::Replayed { .. });
            return Err(error);
        }
        if let Err(error) = self.check_place(&response, position.as_ref()) {
            self.resync |= error.needs_snapshot();
            return Err(error);
        }
        let valid_until = self.valid_until(&response, now);
        self.announced.clone_from(&response.keys);
        let applied = AppliedResponse {
            keys_missing: announce(response.keys.as_ref(), valid_until),
            snapshot: response.from == 0,
            changed: !same_log || position.is_none_or(|position| response.to > position.cursor),
            entries: response.entries.len(),
            poll_interval: Duration::from_secs(response.ttl),
        };
        self.apply_entries(response, same_log, now);
        Ok(applied)
    }

    /// Returns when the response becomes stale, on the monotonic clock.
    fn valid_until(&self, response: &FeedResponse, now: ClockReading) -> std::time::Instant {
        let age = now.wall.saturating_add(self.staleness.clock_leeway()).saturating_since(response.iat);
        let bound = self.staleness.max().min(response.exp.saturating_since(response.iat));
        now.monotonic.checked_add(bound.saturating_sub(age)).unwrap_or(now.monotonic)
    }

    fn check_time(&self, response: &FeedResponse, now: ClockReading) -> Result<(), FeedError> {
        if *response.iss != *self.list.issuer() {
            return Err(FeedError::foreign(&response.iss));
        }
        let latest = now.wall.saturating_add(self.staleness.clock_leeway());
        if response.iat > latest && !self.staleness.accepts_stale() {
            if let Some(freshness) = self.freshness() {
                freshness.mark_stale();
            }
            return Err(FeedError::IssuedAhead { by: response.iat.saturating_since(latest) });
        }
        if now.wall >= response.exp && !self.staleness.accepts_stale() {
            return Err(FeedError::Expired { by: now.wall.saturating_since(response.exp) });
        }
        let accepted = self.freshness().map(Freshness::true_at).unwrap_or_default();
        if response.iat < accepted {
            return Err(FeedError::Replayed { issued_at: response.iat, accepted });
        }
        Ok(())
    }

    /// Checks that the response continues the log at our cursor, or is a snapshot of another log.
    fn check_place(&self, response: &FeedResponse, position: Option<&Position>) -> Result<(), FeedError> {
        let Some(position) = position else {
            return if response.from == 0 { Ok(()) } else { Err(FeedError::Gap { from: response.from, cursor: 0 }) };
        };
        let cursor = position.cursor;
        if position.epoch != response.epoch {
            let accepted = self.freshness().map(Freshness::true_at).unwrap_or_default();
            // Within one second the older of two logs cannot be told from the newer.
            return match response.from {
                0 if response.iat > accepted => Ok(()),
                0 => Err(FeedError::Replayed { issued_at: response.iat, accepted }),
                _ => Err(FeedError::NewEpoch),
            };
        }
        if response.to < cursor {
            return Err(FeedError::RolledBack { to: response.to, cursor });
        }
        if response.from > cursor {
            return Err(FeedError::Gap { from: response.from, cursor });
        }
        Ok(())
    }

    fn apply_entries(&mut self, response: FeedResponse, same_log: bool, now: ClockReading) {
        let clock_bound = ClockLowerBound::of(response.iat, now.monotonic);
        let clock_bound = self.clock_bound.map_or(clock_bound, |before| before.or(clock_bound));
        let entries = response.entries.into_iter().filter(|entry| entry.expires_at > response.iat);
        let list = self.list.clone();
        let Some(freshness) = list.freshness() else { return };
        freshness.set_true_at(response.iat);
        if same_log {
            // Entries only ever get stronger: what is known needs no copying, and nothing known is lost.
            list.merge(entries);
            self.clean_up(response.iat);
        } else {
            list.replace(entries);
            self.last_cleanup = response.iat;
        }
        let position = Position { epoch: response.epoch, cursor: response.to, true_at: response.iat };
        freshness.confirm(position, response.iat, response.exp.saturating_since(response.iat), clock_bound, now);
        self.clock_bound = Some(clock_bound);
        self.resync = false;
    }

    fn clean_up(&mut self, reached: UnixTime) {
        if reached.saturating_since(self.last_cleanup) >= Self::CLEANUP_INTERVAL {
            self.list.remove_expired(reached);
            self.last_cleanup = reached;
        }
    }

    fn position(&self) -> Option<Position> {
        self.freshness().and_then(Freshness::position)
    }

    fn freshness(&self) -> Option<&Freshness> {
        self.list.freshness()
    }
}
