//! Reports of instances.

use std::{net::IpAddr, sync::Arc};

use agentwrit_protocol::limits::MAX_VERIFIER_BOUND;
use agentwrit_verify::{
    FeedCursor, UnixTime,
    report::{Report, ReportError, ReportedBound, UnverifiedReport},
};

use super::{VerifierService, acceptance::AcceptedReport, fleet::Noted};
use crate::{
    audit::{EventType, NewEvent},
    domain::{Enrolment, InstanceState},
    limits::rate_limit::{Rate, RetryAfter},
    service::Error,
    store::{LogEnd, StoreError, StoredReport},
};

/// Largest `seq`, and largest other number: what a store keeps.
const MAX_NUMBER: u64 = i64::MAX.unsigned_abs();
/// Reports of an instance at once: one more than it sends, since delays vary. Then one a second.
const BURST: u32 = 5;
/// New instances of a verifier in a second, and at once: the first report of 10,000 comes within the least part of a lease
/// after a broker's start.
const NEW_INSTANCES: (u32, u32) = (50, 1000);
/// Number of readings in a second that reports of unknown verifiers cause.
const READINGS_PER_SECOND: u32 = 20;

/// Reason for not accepting a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReportRejection {
    /// The text is not a report, or a verified report has members that can't be accepted.
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("`seq` is at most {MAX_NUMBER}")]
    SequenceTooLarge,
    /// The bound is larger than the verifier is enrolled with, or than any that is permitted.
    #[error("bound is larger than the {max_bound} s that the verifier may have")]
    BoundTooLarge { max_bound: u64 },
    /// No verifier of this name, or a signature of another key: the response does not tell which.
    #[error("no enrolled verifier signed this report")]
    NotEnrolled,
    #[error("a report of this instance with the same or a higher `seq` was accepted before")]
    Superseded,
    /// The log has not reached the reported cursor.
    #[error("the report names a cursor that this broker has not reached: the verifier follows another database")]
    Ahead,
    /// The list was true after a commit of this log that it lacks.
    #[error(
        "the reported list is newer than a commit of this broker that it lacks: the verifier follows another database"
    )]
    OtherDatabase,
    #[error("the instance reports more often than once a second")]
    TooOften { retry_after: RetryAfter },
    #[error("too many new instances of this verifier report at once")]
    TooManyNewInstances { retry_after: RetryAfter },
    #[error("there are reports of too many instances")]
    TooManyInstances,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReportRejection {
    /// Returns a reason for metrics, out of a fixed list.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Report(error) => error.reason(),
            Self::SequenceTooLarge => "malformed",
            Self::BoundTooLarge { .. } => "bound_too_large",
            Self::NotEnrolled => "not_enrolled",
            Self::Superseded => "superseded",
            Self::Ahead => "ahead_of_log",
            Self::OtherDatabase => "other_database",
            Self::TooOften { .. } => "too_often",
            Self::TooManyNewInstances { .. } => "too_many_new_instances",
            Self::TooManyInstances => "too_many_instances",
            Self::Store(_) => "store",
        }
    }
}

impl VerifierService {
    /// Accepts a report, so that every broker counts it.
    pub(crate) async fn report(self: &Arc<Self>, text: &str, client: IpAddr) -> Result<AcceptedReport, Error> {
        let heard_at = self.ledger.now();
        let outcome = self.judge(text, heard_at, client).await;
        match &outcome {
            Ok(_) => self.metrics.verifiers().accepted(),
            Err(rejection) => self.metrics.verifiers().rejected(rejection.reason()),
        }
        Ok(self.accepted(text, outcome?))
    }

    async fn judge(
        self: &Arc<Self>,
        text: &str,
        heard_at: UnixTime,
        client: IpAddr,
    ) -> Result<FeedCursor, ReportRejection> {
        let unverified = UnverifiedReport::decode(text)?;
        let (name, instance, sequence) = (unverified.verifier(), unverified.instance(), unverified.sequence());
        let Some(enrolment) = self.enrolment(&unverified).await? else {
            self.deny("unknown verifier", heard_at, client);
            return Err(ReportRejection::NotEnrolled);
        };
        let known = self.memory.latest(name, instance);
        if known.as_ref().is_some_and(|known| known.sequence >= sequence) {
            return Err(ReportRejection::Superseded);
        }
        let (pace, moment) = ((name.clone(), instance), self.ledger.monotonic());
        self.rates
            .peek(pace_of_instances(), &pace, moment)
            .map_err(|retry_after| ReportRejection::TooOften { retry_after })?;
        if known.is_none() {
            self.rates
                .peek(pace_of_new_instances(), name, moment)
                .map_err(|retry_after| ReportRejection::TooManyNewInstances { retry_after })?;
            if !self.memory.has_place(name) {
                return Err(ReportRejection::TooManyInstances);
            }
        }
        let report = match unverified.verify(&enrolment.public_key, self.issuer.name(), self.ledger.now()) {
            Ok(report) => report,
            Err(ReportError::OtherKey { .. } | ReportError::BadSignature) => {
                self.deny("not signed with the enrolled key", heard_at, client);
                return Err(ReportRejection::NotEnrolled);
            }
            Err(error) => return Err(error.into()),
        };
        check(&report, &enrolment)?;
        self.rates
            .check(pace_of_instances(), &pace, moment)
            .map_err(|retry_after| ReportRejection::TooOften { retry_after })?;
        if known.is_none() {
            // An earlier report may be being written: without a bound it would count until the operator forgets it.
            let may_be_unbounded = report.bound == ReportedBound::Unbounded && enrolment.largest_bound().is_none();
            if report.leaving && !may_be_unbounded && !self.is_known_to_any_broker(&report).await? {
                // It does not count, and an earlier report of it counts until its bound at most.
                return Ok(self.log_end()?);
            }
            self.rates
                .check(pace_of_new_instances(), &report.verifier, moment)
                .map_err(|retry_after| ReportRejection::TooManyNewInstances { retry_after })?;
        }
        let is_ahead = self.lacks_earlier_commit(&report);
        let state = InstanceState { is_ahead, ..InstanceState::of(report, text, &enrolment.public_key, heard_at) };
        self.store_report(state, known).await
    }

    /// Returns the verifier that a report names, if it is enrolled with the key that the report names. Another broker may
    /// have enrolled it just before.
    async fn enrolment(&self, report: &UnverifiedReport<'_>) -> Result<Option<Enrolment>, StoreError> {
        let find = || self.memory.enrolment(report.verifier()).filter(|known| report.names_key(&known.public_key));
        if let Some(enrolment) = find() {
            return Ok(Some(enrolment));
        }
        // Unauthenticated clients can have the database read a few times a second.
        let refresh =
            || self.rates.check(Rate::per_second(READINGS_PER_SECOND), "unknown verifier", self.ledger.monotonic());
        if !self.store().is_shared() || refresh().is_err() {
            return Ok(None);
        }
        self.store().confirm_reports().await?;
        Ok(find())
    }

    /// Returns whether another broker has accepted a report of the instance.
    async fn is_known_to_any_broker(&self, report: &Report) -> Result<bool, StoreError> {
        if !self.store().is_shared() {
            return Ok(false);
        }
        self.store().confirm_reports().await?;
        Ok(self.memory.latest(&report.verifier, report.instance).is_some())
    }

    /// Stores a verified report where every broker counts it. Returns the end of the log, read afterwards.
    async fn store_report(
        self: &Arc<Self>,
        state: InstanceState,
        known: Option<Arc<InstanceState>>,
    ) -> Result<FeedCursor, ReportRejection> {
        let stored = match self.store().put_report(state.clone()).await? {
            Some(stored) => stored,
            None => self.keep_in_memory(state.clone(), known).await?,
        };
        match stored {
            StoredReport::Accepted { end } => Ok(end),
            // Memory is as late as the attempt.
            StoredReport::Superseded if self.memory.enrolment(&state.verifier).is_none() => {
                Err(ReportRejection::NotEnrolled)
            }
            StoredReport::Superseded => Err(ReportRejection::Superseded),
            StoredReport::Ahead => {
                let rejection = if state.is_ahead { ReportRejection::OtherDatabase } else { ReportRejection::Ahead };
                let (verifier, instance) = (state.verifier.as_str(), state.instance.to_string());
                let cursor = state.applied.to_string();
                tracing::error!(
                    component = "verifiers",
                    verifier,
                    instance,
                    cursor,
                    cause = %rejection,
                    "a verifier follows another database, or this one lost commits: stop every broker of the other one"
                );
                Err(rejection)
            }
        }
    }

    /// Keeps a report in the memory of the only broker, and durably where memory alone does not do.
    async fn keep_in_memory(
        self: &Arc<Self>,
        state: InstanceState,
        known: Option<Arc<InstanceState>>,
    ) -> Result<StoredReport, StoreError> {
        let end = self.log_end()?;
        if state.is_ahead || (state.applied.epoch() == end.epoch() && !end.has_reached(&state.applied)) {
            // Once all instances are known, one of which no report was accepted has no lease, and accepts no token.
            if known.is_some() || !self.memory.is_complete() {
                let known = known.map_or_else(|| state.clone(), Arc::unwrap_or_clone);
                self.memory.note(InstanceState { sequence: state.sequence, is_ahead: true, ..known });
            }
            return Ok(StoredReport::Ahead);
        }
        let was_kept = known.is_some_and(|known| known.is_unbounded());
        if state.is_unbounded() && !was_kept {
            let kept = state.clone();
            self.ledger.transact(move |tx| tx.put_verifier_instance(&kept)).await?;
        } else if !state.is_unbounded() && (was_kept || state.bound == ReportedBound::Unbounded) {
            // Also if its first report is still being written: that was queued before.
            let (verifier, instance) = (state.verifier.clone(), state.instance);
            self.ledger.transact(move |tx| tx.delete_verifier_instance(&verifier, instance)).await?;
        }
        match self.memory.note(state) {
            Noted::Accepted => Ok(StoredReport::Accepted { end: self.log_end()? }),
            Noted::Superseded => Ok(StoredReport::Superseded),
        }
    }

    fn log_end(&self) -> Result<FeedCursor, StoreError> {
        let LogEnd { epoch, cursor } = self.feed.end();
        FeedCursor::new(&epoch, cursor).map_err(|error| StoreError::Corrupt { cause: error.to_string() })
    }

    /// Audits a report that no enrolled verifier signed.
    fn deny(&self, reason: &'static str, now: UnixTime, client: IpAddr) {
        let event = NewEvent::denied(EventType::VerifierReportDenied, now, client, "report of a verifier refused");
        self.ledger.deny(event.word("reason", reason));
    }
}

fn pace_of_new_instances() -> Rate {
    let (per_second, at_once) = NEW_INSTANCES;
    Rate::per_second(per_second).burst(at_once)
}

fn pace_of_instances() -> Rate {
    Rate::per_second(1).burst(BURST)
}

/// Checks a verified report against its enrolment.
fn check(report: &Report, enrolment: &Enrolment) -> Result<(), ReportRejection> {
    if report.sequence > MAX_NUMBER {
        return Err(ReportRejection::SequenceTooLarge);
    }
    let is_within = match (report.bound, enrolment.max_bound) {
        // It accepts no token any more.
        _ if report.leaving => true,
        (ReportedBound::Seconds(seconds), max_bound) => seconds <= max_bound.unwrap_or(MAX_VERIFIER_BOUND),
        (ReportedBound::Unbounded, max_bound) => max_bound.is_none(),
    };
    let max_bound = enrolment.max_bound.unwrap_or(MAX_VERIFIER_BOUND);
    if is_within { Ok(()) } else { Err(ReportRejection::BoundTooLarge { max_bound }) }
}
