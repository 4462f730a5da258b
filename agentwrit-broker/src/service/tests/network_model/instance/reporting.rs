//! Reports of an instance, and responses to them.

use std::time::Instant;

use agentwrit_verify::{Clock as _, report::AcceptanceError};

use super::{
    super::{
        super::{verifiers::key, *},
        Chance,
    },
    Instance, take_arrived,
};
use crate::service::verifiers::ReportRejection;

/// A report, and the monotonic time at which it was sent.
pub(super) type SentReport = (String, Instant);

/// Response to a report.
pub(super) enum ReportResponse {
    /// 204 to a report, with the signed acceptance.
    Accepted(SentReport, String),
    /// Rejection that lasts.
    Rejected,
}

impl Instance {
    /// Reports after news, else from time to time.
    pub(super) fn report(&mut self, now: i64, chance: &mut Chance) {
        for response in take_arrived(&mut self.report_responses, now) {
            match response {
                ReportResponse::Accepted((report, sent), acceptance) => {
                    let received = self.follower.receive_acceptance(sent, &report, &acceptance);
                    self.wants_new_keys |= matches!(received, Err(AcceptanceError::UnknownKey { .. }));
                }
                ReportResponse::Rejected => self.follower.report_rejected(),
            }
        }
        let cursor = self.follower.feed().list().cursor().map(|cursor| cursor.to_string());
        if now < self.disconnected_until || (cursor == self.reported && now < self.next_report) {
            return;
        }
        self.reported = cursor;
        self.next_report = now + chance.between(500, 5_000);
        self.send_report(now, chance);
    }

    /// Sends a report, which may be lost, late or sent twice.
    fn send_report(&mut self, now: i64, chance: &mut Chance) {
        let sent = self.clock.monotonic();
        let Some(report) = self.follower.report() else { return };
        let text = report.sign(&key(1));
        if chance.percent(25) {
            return;
        }
        for _ in 0..=u64::from(chance.percent(10)) {
            let longest = if chance.percent(80) { 100 } else { 20_000 };
            self.reports.push((now + chance.between(0, longest), (text.clone(), sent)));
        }
    }

    pub(super) async fn deliver_reports(&mut self, now: i64, broker: &Services, chance: &mut Chance) {
        for (text, sent) in take_arrived(&mut self.reports, now) {
            let forged = self.forger.as_mut().and_then(|forger| forger.respond(now, &text, broker, chance));
            if let Some(forged) = forged {
                self.report_responses.push((now, ReportResponse::Accepted((text, sent), forged)));
                continue;
            }
            let response = match broker.verifiers.report(&text, CLIENT).await {
                Ok(accepted) => {
                    if let Some(forger) = &mut self.forger {
                        forger.overhear(&accepted.signed);
                    }
                    ReportResponse::Accepted((text, sent), accepted.signed)
                }
                Err(Error::Report(ReportRejection::NotEnrolled | ReportRejection::BoundTooLarge { .. })) => {
                    self.rejected_reports += 1;
                    ReportResponse::Rejected
                }
                // Reports that were overtaken, are too frequent or too old.
                Err(_) => continue,
            };
            if chance.percent(85) {
                let longest = if chance.percent(80) { 100 } else { 20_000 };
                self.report_responses.push((now + chance.between(0, longest), response));
            }
        }
    }

    /// Ends with a last report.
    pub(in super::super) async fn leave(&mut self, now: i64, broker: &Services, chance: &mut Chance) {
        self.follower.leave();
        self.send_report(now, chance);
        self.deliver_reports(now + 100, broker, chance).await;
    }
}
