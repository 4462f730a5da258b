//! Instances that read the feed of another database: a copy of this one, whose brokers sign with the same key.
//!
//! A fence rests on the age of a list. That of a list from another log says nothing about this one.

use std::time::Duration;

use agentwrit_verify::{FeedCursor, report::Report};

use super::VerifierService;

/// Largest difference between the clocks of brokers on one database.
const CLOCK_MARGIN: Duration = Duration::from_secs(1);

impl VerifierService {
    /// Returns true if the reported list was true after a commit of this log that it lacks, or after another log ended for this
    /// one: a response of this database's feed would have brought that.
    pub(super) fn lacks_earlier_commit(&self, report: &Report) -> bool {
        let Some(true_at) = report.true_at.filter(|_| !report.leaving) else { return false };
        let end = self.feed.end();
        let is_same_log = *report.applied.epoch() == *end.epoch;
        let next = if is_same_log { report.applied.position().saturating_add(1) } else { 0 };
        let lacked = FeedCursor::new(&end.epoch, next).ok().and_then(|lacked| self.feed.commit_time(&lacked).ok());
        let (now, moment) = (self.ledger.now(), self.ledger.monotonic());
        // By both clocks: the wall clock may have been wrong at the commit.
        lacked.is_some_and(|commit| {
            let age = now.saturating_since(true_at).saturating_add(CLOCK_MARGIN);
            true_at > commit.at.saturating_add(CLOCK_MARGIN) && age < moment.saturating_duration_since(commit.since)
        })
    }
}
