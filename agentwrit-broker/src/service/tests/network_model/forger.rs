//! A proxy that acknowledges reports without forwarding them.

use agentwrit_verify::{FeedCursor, issue::SigningKey, report::ReportAcceptance, testing::TestIssuer};

use super::{super::*, Chance};

/// Proxy between an instance and its broker. While it forges, the broker gets no report of the instance.
pub(super) struct Forger {
    /// Times at which it begins and ends to forge.
    forges: (i64, i64),
    /// Acceptances by the broker that passed.
    overheard: Vec<String>,
    forged: u64,
}

impl Forger {
    pub(super) fn new(now: i64, chance: &mut Chance) -> Self {
        let from = now + if chance.percent(50) { 0 } else { chance.between(1_000, 60_000) };
        Self { forges: (from, from + chance.between(10_000, 400_000)), overheard: Vec::new(), forged: 0 }
    }

    pub(super) fn forged(&self) -> u64 {
        self.forged
    }

    pub(super) fn overhear(&mut self, acceptance: &str) {
        self.overheard.push(acceptance.to_owned());
    }

    /// Returns a forged acceptance: none at all, one of another report, or one with a key of the proxy's own.
    pub(super) fn respond(&mut self, now: i64, report: &str, broker: &Services, chance: &mut Chance) -> Option<String> {
        let (from, until) = self.forges;
        if now < from || now >= until {
            return None;
        }
        self.forged += 1;
        let repeated = self.overheard.last().filter(|_| chance.percent(40));
        if repeated.is_some() || chance.percent(20) {
            return Some(repeated.cloned().unwrap_or_default());
        }
        let end = broker.feed.end();
        let acceptance = ReportAcceptance {
            issuer: TestIssuer::ISSUER.to_owned(),
            issued_at: broker.ledger.now(),
            report: ReportAcceptance::digest(report),
            at_least: FeedCursor::new(&end.epoch, end.cursor).unwrap(),
            interval: Duration::from_secs(8),
        };
        Some(acceptance.sign(&SigningKey::from_seed(&[66; 32]).unwrap()))
    }
}
