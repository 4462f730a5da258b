//! A feed over a restart.

use std::time::Duration;

use super::{ClockReading, Entry, Feed, KeyAnnouncement, Staleness};
use crate::{
    clock::UnixTime,
    staleness::{ClockLowerBound, Position},
};

/// State of a [`Feed`] that is stored across restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedState {
    pub(crate) epoch: String,
    pub(crate) cursor: u64,
    pub(crate) true_at: UnixTime,
    /// Duration from `true_at` during which the state may be relied on.
    pub(crate) validity: Duration,
    pub(crate) entries: Vec<Entry>,
    pub(crate) announced: Option<KeyAnnouncement>,
}

impl Feed {
    pub(crate) fn response_limit(&self) -> usize {
        self.longest
    }

    /// A feed that goes on where one was before a restart.
    pub(crate) fn restored(issuer: &str, staleness: Staleness, state: FeedState, now: ClockReading) -> Self {
        let mut feed = Self::new(issuer, staleness);
        feed.announced = state.announced;
        let position = Position { epoch: state.epoch, cursor: state.cursor, true_at: state.true_at };
        if let Some(freshness) = feed.list.freshness() {
            freshness.set_true_at(state.true_at);
            feed.list.replace(state.entries.into_iter());
            let ahead = state.true_at > now.wall.saturating_add(staleness.clock_leeway());
            // This clock is behind a time that has passed for certain, so the age of the state is unknown.
            let validity = (!ahead).then_some(state.validity);
            freshness.resume(position, state.true_at, validity, now);
            feed.clock_bound = Some(ClockLowerBound::of(state.true_at, now.monotonic));
        }
        feed
    }

    pub(crate) fn state(&self) -> Option<FeedState> {
        let position = self.position()?;
        Some(FeedState {
            epoch: position.epoch,
            cursor: position.cursor,
            true_at: self.freshness()?.true_at(),
            validity: self.freshness()?.bound(),
            entries: self.list.entries(),
            announced: self.announced.clone(),
        })
    }
}
