//! A verifier and its instances in memory, and until when they count.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_verify::{
    confirmation::EnrolledVerifier,
    report::{InstanceId, Report, ReportedBound},
};

use crate::domain::{Enrolment, InstanceState};

/// Time after its lease for which an instance is kept: confirmations compare whole seconds.
const MARGIN: Duration = Duration::from_secs(2);
/// Time for which an enrolment that ended may have instances: a report that was being stored then may be a little later.
const KEPT_AFTER_END: Duration = Report::LEASE.saturating_add(Report::MAX_CLOCK_DIFFERENCE);
/// Time for which an instance that has left is kept: no report of it counts by then.
const KEPT_AFTER_LEAVING: Duration = Report::MAX_CLOCK_DIFFERENCE.saturating_mul(2);

/// A verifier with its instances.
#[derive(Clone, Debug)]
pub(crate) struct KnownVerifier {
    pub(crate) enrolment: Enrolment,
    pub(crate) instances: Vec<Arc<InstanceState>>,
}

/// A verifier in memory.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) enrolment: Enrolment,
    pub(super) instances: BTreeMap<InstanceId, Heard>,
    /// True if it may have had instances before reports were kept.
    may_have_unknown: bool,
    /// Moment at which the latest end of an enrolment of this name became known.
    ended_at: Instant,
}

impl Verifier {
    /// A verifier of `enrolment`, with the instances of what was known under its name.
    pub(super) fn following(earlier: Option<Self>, enrolment: Enrolment, may_have_unknown: bool, now: Instant) -> Self {
        let end = |enrolment: &Enrolment| enrolment.removed_at.max(enrolment.former.map(|former| former.ended_at));
        match earlier {
            Some(earlier) => {
                let ended_at = if end(&earlier.enrolment) == end(&enrolment) { earlier.ended_at } else { now };
                let may_have_unknown = may_have_unknown || earlier.may_have_unknown;
                Self { enrolment, may_have_unknown, ended_at, instances: earlier.instances }
            }
            None => Self { enrolment, may_have_unknown, ended_at: now, instances: BTreeMap::new() },
        }
    }

    pub(super) fn without_instances(&mut self) -> Self {
        let Self { enrolment, ended_at, .. } = self;
        let (enrolment, ended_at) = (enrolment.clone(), *ended_at);
        Self { enrolment, ended_at, may_have_unknown: false, instances: BTreeMap::new() }
    }

    /// Returns true while instances of it count: it is enrolled, or may have some.
    pub(super) fn counts(&self, now: Instant) -> bool {
        self.enrolment.is_active()
            || self.enrolment.may_have_unbounded
            || self.instances.values().any(|heard| !heard.is_gone(now))
    }

    /// Returns what counts no more since its enrolment ended or changed.
    pub(super) fn settled(&self, now: Instant) -> Option<Settled> {
        let enrolment = self.enrolment.clone();
        if now.saturating_duration_since(self.ended_at) < KEPT_AFTER_END {
            None
        } else if !self.counts(now) {
            Some(Settled::Removed(enrolment))
        } else {
            enrolment.former.map(|_| Settled::Changed(enrolment))
        }
    }

    pub(super) fn to_known(&self, now: Instant) -> KnownVerifier {
        let heard = self.instances.values().filter(|heard| !heard.is_gone(now));
        KnownVerifier {
            enrolment: self.enrolment.clone(),
            instances: heard.map(|heard| Arc::clone(&heard.state)).collect(),
        }
    }

    pub(super) fn to_enrolled(&self) -> EnrolledVerifier {
        EnrolledVerifier {
            name: self.enrolment.name.clone(),
            max_bound: self.enrolment.largest_bound(),
            may_have_unknown: self.may_have_unknown,
            may_have_unbounded: self.enrolment.may_have_unbounded,
        }
    }
}

/// Enrolment that ended so long ago that no instance has its bound any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// A removed verifier without instances.
    Removed(Enrolment),
    /// A verifier whose former bound counts no more.
    Changed(Enrolment),
}

/// Latest report of an instance.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) state: Arc<InstanceState>,
    /// Moment at which the report became known.
    pub(super) at: Instant,
}

impl Heard {
    /// Returns true once the instance accepts no token any more.
    pub(super) fn is_gone(&self, now: Instant) -> bool {
        let silence = now.saturating_duration_since(self.at);
        self.state.leaving
            || (self.state.bound != ReportedBound::Unbounded && silence >= Report::LEASE.saturating_add(MARGIN))
    }

    pub(super) fn is_forgettable(&self, now: Instant) -> bool {
        let since_left = now.saturating_duration_since(self.at);
        self.is_gone(now) && (!self.state.leaving || since_left >= KEPT_AFTER_LEAVING)
    }

    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at).min(Report::LEASE)
    }
}
