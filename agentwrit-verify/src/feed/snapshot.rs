//! Revocation list from a snapshot in a file.

use super::{ClockReading, Feed, FeedError, Staleness};
use crate::{clock::Clock, keys::KeySet, revocation::RevocationList};

impl RevocationList {
    /// Parses a snapshot of the feed: the response to `GET /v1/revocations`, as a file, for a machine without a
    /// connection to the broker. Signature, issuer and age are checked as in [`Feed::apply`], and verifiers check the
    /// age at every call: a machine that receives snapshots by hand needs [`Staleness::accept_stale`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agentwrit_verify::{KeySet, RevocationList, SystemClock, Verifier, feed::Staleness};
    ///
    /// # let issuer = agentwrit_verify::testing::TestIssuer::new();
    /// # let (key_set_file, snapshot_file) = (issuer.key_set().to_jwks(), issuer.feed_response(None));
    /// let keys = KeySet::from_jwks(key_set_file.as_bytes())?;
    /// let staleness = Staleness::default().accept_stale();
    /// let list = RevocationList::from_snapshot(snapshot_file.trim(), "https://issuer.test", &keys, staleness, &SystemClock)?;
    /// let verifier = Verifier::builder().issuer("https://issuer.test").keys(keys).revocations(list).build();
    /// assert!(verifier.is_ready());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FeedError`] with the rule that the snapshot breaks; a response that is not a whole list is a
    /// [`FeedError::Gap`].
    pub fn from_snapshot(
        snapshot: &str,
        issuer: &str,
        keys: &KeySet,
        staleness: Staleness,
        clock: &dyn Clock,
    ) -> Result<Self, FeedError> {
        let mut feed = Feed::new(issuer, staleness);
        feed.apply(snapshot, keys, ClockReading::of(clock))?;
        Ok(feed.list().clone())
    }
}
