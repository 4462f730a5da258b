//! Acceptances of reports: signed, with the interval after which the instance should report again.

use std::time::Duration;

use agentwrit_verify::{FeedCursor, report::ReportAcceptance};

use super::{VerifierService, capacity::MAX_INSTANCES};

/// Interval after which an instance without news reports, unless there are many.
const LEAST_INTERVAL: Duration = Duration::from_secs(8);
/// Longest such interval: an instance sends several reports in a lease, so that it may lose some.
const LONGEST_INTERVAL: Duration = Duration::from_secs(100);
/// Number of reports without news that brokers take in a second: a few per cent of a core.
const REPORTS_PER_SECOND: usize = 100;
const _: () = assert!(MAX_INSTANCES / REPORTS_PER_SECOND <= 100);

/// Response to a report that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcceptedReport {
    /// End of the revocation log, read after the report was stored.
    pub(crate) at_least: FeedCursor,
    /// Interval after which the instance should report again if it has no news.
    pub(crate) interval: Duration,
    /// Both, signed for this report: [`ReportAcceptance`].
    pub(crate) signed: String,
}

impl VerifierService {
    /// Signs the acceptance of a report that is stored.
    pub(super) fn accepted(&self, report: &str, at_least: FeedCursor) -> AcceptedReport {
        let interval = interval(self.memory.len());
        let acceptance = ReportAcceptance {
            issuer: self.issuer.name().to_owned(),
            issued_at: self.ledger.now(),
            report: ReportAcceptance::digest(report),
            at_least,
            interval,
        };
        let signed = acceptance.sign(&self.issuer.ring().active);
        AcceptedReport { at_least: acceptance.at_least, interval, signed }
    }
}

/// Returns the interval at which instances without news should report, so that brokers take few reports a second.
fn interval(instances: usize) -> Duration {
    let seconds = u64::try_from(instances.div_ceil(REPORTS_PER_SECOND)).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).clamp(LEAST_INTERVAL, LONGEST_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_grows_with_number_of_instances() {
        let seconds = |instances| interval(instances).as_secs();
        assert_eq!([0, 800, 801, 5000, 10_000, 100_000].map(seconds), [8, 8, 9, 50, 100, 100]);
    }
}
