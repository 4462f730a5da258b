//! Following a broker's revocation feed, without the network: answers in, a [`RevocationList`] out.
//!
//! Whoever carries the answers (a cache, a mirror, an attacker) can delay them, but neither forge nor roll back:
//!
//! 1. An answer is a compact JWS of type [`Feed::MEDIA_TYPE`], exactly, signed by a trusted key: never a token, and no
//!    token is ever taken for an answer. It is read as strictly as a token is.
//! 2. `iss` is the issuer's. `iat` is never older than one that was accepted, nor further ahead of this clock than the
//!    leeway. After `exp` an answer is not relied on.
//! 3. Within an epoch the log only grows: an answer that ends before our cursor is refused. One that begins beyond it
//!    leaves a gap, and one of another epoch speaks of another log: then [`Feed::since`] asks for a snapshot. Nothing is
//!    forgotten before that is there, and it must be newer than everything accepted before.
//! 4. Entries are dropped once the feed itself, by its signed `iat`, is past their `expires_at`: no clock of this machine
//!    has a say. Verifiers refuse a token whose `exp` the feed has passed, so nothing is revived by a slow clock.
//! 5. What is refused changes nothing, with one exception: a signed answer from further ahead than the leeway proves that
//!    this clock is behind by more, so that it can't tell how old the list is. The list doesn't count until an answer is
//!    accepted. (Whoever accepts stale lists takes such an answer: how old it is doesn't matter to them.)
//!
//! How long the list may be relied on is the business of [`Staleness`].
//!
//! This module is what [`remote::Follower`](crate::remote::Follower) runs on; use it to carry answers by other means.
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
//! // `GET /v1/revocations`, with `since` as the feed says, by whatever means.
//! let answer = issuer.feed_response(feed.since());
//! feed.apply(&answer, &issuer.key_set(), ClockReading::of(issuer.clock()))?;
//! assert!(verifier.verify(&token).is_ok());
//! # Ok(())
//! # }
//! ```

mod error;
mod response;
#[cfg(feature = "remote")]
mod state;

use std::time::Duration;

pub use self::error::FeedError;
use self::response::FeedResponse;
#[cfg(feature = "remote")]
pub(crate) use self::state::FeedState;
pub use crate::staleness::{ClockReading, Staleness, StalenessError};
use crate::{
    clock::UnixTime,
    keys::KeySet,
    revocation::{RevocationKey, RevocationList},
    staleness::{ClockLowerBound, Freshness, Position},
};

/// Follows the feed of one issuer: a state that answers are applied to.
#[derive(Debug)]
pub struct Feed {
    list: RevocationList,
    staleness: Staleness,
    longest: usize,
    clock_bound: Option<ClockLowerBound>,
    resync: bool,
    /// When expired entries were last dropped, on the broker's clock.
    last_cleanup: UnixTime,
}

/// What an answer brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedResponse {
    /// Whether it was a whole list rather than what came after a cursor.
    pub snapshot: bool,
    /// Whether it told anything but that nothing happened.
    pub news: bool,
    /// How many entries it had.
    pub entries: usize,
    /// When the broker proposes to ask again, if it doesn't hold requests.
    pub poll_interval: Duration,
}

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: RevocationKey,
    pub(crate) revoked_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}

impl Feed {
    /// The `typ` of an answer.
    pub const MEDIA_TYPE: &str = "agentwrit-revocations+jwt";
    /// The longest answer that is read, in bytes, unless set otherwise: a snapshot of some 1.5 million entries.
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
        }
    }

    /// The longest answer that is read, in bytes.
    #[must_use]
    pub fn max_response_length(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// The list that answers are applied to, for any number of verifiers.
    #[must_use]
    pub fn list(&self) -> &RevocationList {
        &self.list
    }

    /// The `since` to ask with next; none asks for a snapshot.
    #[must_use]
    pub fn since(&self) -> Option<u64> {
        if self.resync { None } else { self.position().map(|position| position.cursor) }
    }

    /// The `wait` to ask with next, in whole seconds: a third of what the bound on staleness leaves.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.staleness.wait(self.freshness().map_or(self.staleness.max(), Freshness::bound))
    }

    /// Applies an answer, all of it or nothing.
    ///
    /// # Errors
    ///
    /// [`FeedError`] says which rule it breaks; after [`FeedError::NewEpoch`] and [`FeedError::Gap`] ask for a snapshot.
    pub fn apply(&mut self, answer: &str, keys: &KeySet, now: ClockReading) -> Result<AppliedResponse, FeedError> {
        let answer = FeedResponse::verified(answer, self.longest, keys)?;
        let position = self.position();
        let same_log = position.as_ref().is_some_and(|position| position.epoch == answer.epoch);
        if let Err(error) = self.check_time(&answer, now) {
            // A page of the log that is older than its place in it: the broker's clock was set back in between. What
            // follows can't be told to be newer either, but a snapshot can.
            let ahead = same_log && position.is_some_and(|position| answer.to > position.cursor);
            self.resync |= ahead && matches!(error, FeedError::Replayed { .. });
            return Err(error);
        }
        if let Err(error) = self.check_place(&answer, position.as_ref()) {
            self.resync |= error.needs_snapshot();
            return Err(error);
        }
        let applied = AppliedResponse {
            snapshot: answer.from == 0,
            news: !same_log || position.is_none_or(|position| answer.to > position.cursor),
            entries: answer.entries.len(),
            poll_interval: Duration::from_secs(answer.ttl),
        };
        self.apply_entries(answer, same_log, now);
        Ok(applied)
    }

    fn check_time(&self, answer: &FeedResponse, now: ClockReading) -> Result<(), FeedError> {
        if *answer.iss != *self.list.issuer() {
            return Err(FeedError::foreign(&answer.iss));
        }
        let latest = now.wall.saturating_add(self.staleness.clock_leeway());
        if answer.iat > latest && !self.staleness.accepts_stale() {
            if let Some(freshness) = self.freshness() {
                freshness.mark_stale();
            }
            return Err(FeedError::IssuedAhead { by: answer.iat.saturating_since(latest) });
        }
        if now.wall >= answer.exp && !self.staleness.accepts_stale() {
            return Err(FeedError::Expired { by: now.wall.saturating_since(answer.exp) });
        }
        let accepted = self.freshness().map(Freshness::true_at).unwrap_or_default();
        if answer.iat < accepted {
            return Err(FeedError::Replayed { issued_at: answer.iat, accepted });
        }
        Ok(())
    }

    /// Whether the answer continues the log where we are, or begins it anew.
    fn check_place(&self, answer: &FeedResponse, position: Option<&Position>) -> Result<(), FeedError> {
        let Some(position) = position else {
            return if answer.from == 0 { Ok(()) } else { Err(FeedError::Gap { from: answer.from, cursor: 0 }) };
        };
        let cursor = position.cursor;
        if position.epoch != answer.epoch {
            let accepted = self.freshness().map(Freshness::true_at).unwrap_or_default();
            // In the same second the older of two logs could not be told from the newer.
            return match answer.from {
                0 if answer.iat > accepted => Ok(()),
                0 => Err(FeedError::Replayed { issued_at: answer.iat, accepted }),
                _ => Err(FeedError::NewEpoch),
            };
        }
        if answer.to < cursor {
            return Err(FeedError::RolledBack { to: answer.to, cursor });
        }
        if answer.from > cursor {
            return Err(FeedError::Gap { from: answer.from, cursor });
        }
        Ok(())
    }

    fn apply_entries(&mut self, answer: FeedResponse, same_log: bool, now: ClockReading) {
        let clock_bound = ClockLowerBound::of(answer.iat, now.monotonic);
        let clock_bound = self.clock_bound.map_or(clock_bound, |before| before.or(clock_bound));
        let entries = answer.entries.into_iter().filter(|entry| entry.expires_at > answer.iat);
        let list = self.list.clone();
        let Some(freshness) = list.freshness() else { return };
        freshness.set_true_at(answer.iat);
        if same_log {
            // Entries only ever get stronger: what is known needs no copying, and nothing known is lost.
            list.merge(entries);
            self.clean_up(answer.iat);
        } else {
            list.replace(entries);
            self.last_cleanup = answer.iat;
        }
        let position = Position { epoch: answer.epoch, cursor: answer.to };
        freshness.confirm(position, answer.iat, answer.exp.saturating_since(answer.iat), clock_bound, now);
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
