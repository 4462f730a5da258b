//! The fleet at one moment, for confirmations and key rotations.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_verify::{
    UnixTime,
    confirmation::{EnrolledVerifier, Fleet, KnownInstance},
    report::{KeySetDigest, VerifierName},
};

use crate::domain::InstanceState;

/// Verifiers and the instances that may accept tokens.
#[derive(Clone, Debug)]
pub(crate) struct FleetSnapshot {
    /// Verifiers that are enrolled, or whose instances may accept tokens.
    pub(crate) verifiers: Vec<EnrolledVerifier>,
    /// Names of those that are enrolled.
    pub(super) active: HashSet<VerifierName>,
    /// Instances, in the order of verifier and id.
    pub(crate) instances: Vec<KnownInstance>,
    /// Their latest reports, in the same order.
    pub(crate) reports: Vec<Arc<InstanceState>>,
    /// Time since these were heard, in the same order, at most that of a lease.
    pub(super) silences: Vec<Duration>,
    /// Moment from which every instance is known: a wall clock that is set does not move it.
    pub(super) complete_at: Option<Instant>,
}

impl FleetSnapshot {
    /// Returns the fleet as it counts at `now`, on the clock of a commit. What the wall clock was set by since the commit ends
    /// no lease.
    pub(crate) fn at(self: Arc<Self>, now: UnixTime) -> Arc<Self> {
        if !self.instances.iter().any(|known| known.is_gone(now)) {
            return self;
        }
        let heard = |(known, silence): (&KnownInstance, &Duration)| {
            let heard_at = if known.is_gone(now) { now.saturating_sub(*silence) } else { known.heard_at };
            KnownInstance { heard_at, ..known.clone() }
        };
        let instances = self.instances.iter().zip(&self.silences).map(heard).collect();
        Arc::new(Self { instances, ..Self::clone(&self) })
    }

    /// Returns the snapshot as the confirmation of a commit uses it, whose time is the moment `since`.
    pub(crate) fn as_fleet(&self, commit: UnixTime, since: Instant) -> Fleet<'_> {
        let complete_from = commit.saturating_add(self.incomplete_for(since));
        Fleet { enrolled: &self.verifiers, instances: &self.instances, complete_from }
    }

    /// Returns the duration after `since` until every instance is known.
    pub(crate) fn incomplete_for(&self, since: Instant) -> Duration {
        self.complete_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(since))
    }

    /// Returns the duration after `since` until every instance of enrolled verifiers is known, if it is not over.
    pub(crate) fn unknown_for(&self, since: Instant) -> Option<Duration> {
        let may_have_unknown =
            |verifier: &EnrolledVerifier| verifier.may_have_unknown && self.active.contains(&verifier.name);
        let remaining = self.incomplete_for(since);
        (!remaining.is_zero() && self.verifiers.iter().any(may_have_unknown)).then_some(remaining)
    }

    /// Returns the instances of enrolled verifiers that have other keys in force.
    pub(crate) fn instances_without(&self, key_set: KeySetDigest) -> impl Iterator<Item = &InstanceState> {
        let has_others = move |state: &&InstanceState| {
            !state.leaving && state.key_set != Some(key_set) && self.active.contains(&state.verifier)
        };
        self.reports.iter().map(Arc::as_ref).filter(has_others)
    }
}
