//! A resource server that knows the broker by its key set and its signed feed only.

use agentwrit_verify::{
    KeySet, Verifier,
    feed::{ClockReading, Feed, Staleness},
    testing::ManualClock,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

/// Verifies offline.
pub(super) struct Follower {
    keys: KeySet,
    feed: Feed,
    clock: ManualClock,
    epoch: Option<Value>,
    pub(super) verifier: Verifier,
}

impl Follower {
    pub(super) fn new(issuer: &str, keys: &KeySet, clock: &ManualClock) -> Self {
        // Days pass between two responses here: these tests are not about the age of a list.
        let feed = Feed::new(issuer, Staleness::default().accept_stale());
        let verifier = Verifier::builder()
            .issuer(issuer)
            .keys(keys.clone())
            .revocations(feed.list().clone())
            .clock(clock.clone())
            .build();
        Self { keys: keys.clone(), feed, clock: clock.clone(), epoch: None, verifier }
    }

    /// Cursor of the next request to the feed.
    pub(super) fn since(&self) -> Option<u64> {
        self.feed.since()
    }

    /// Applies a response. The broker never sends one that a follower rejects, nor one that a follower would tolerate: an
    /// entry past its time, or another epoch.
    pub(super) fn absorb(&mut self, document: &str) {
        self.feed.apply(document, &self.keys, ClockReading::of(&self.clock)).unwrap();
        let payload = BASE64URL_NOPAD.decode(document.split('.').nth(1).unwrap().as_bytes()).unwrap();
        let answer: Value = serde_json::from_slice(&payload).unwrap();
        assert!(answer["exp"].as_u64() > answer["iat"].as_u64());
        for entry in answer["entries"].as_array().unwrap() {
            assert!(entry[3].as_u64() > answer["iat"].as_u64(), "an entry past its time: {entry}");
        }
        assert_eq!(self.epoch.get_or_insert_with(|| answer["epoch"].clone()), &answer["epoch"]);
    }
}
