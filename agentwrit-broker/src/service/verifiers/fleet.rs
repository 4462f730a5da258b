//! The verifiers and instances that this broker knows.
//!
//! 1. An instance is forgotten once it accepts no token any more, measured on the monotonic clock since its report became
//!    known: a step of the wall clock forgets none.
//! 2. One that has left is kept for a while longer, so that an earlier report of it does not count again.
//! 3. The removal or change of an enrolment forgets none. An enrolment that ended is kept for a lease, measured in the same
//!    way.
//! 4. A snapshot is never older than the latest change.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use agentwrit_verify::{
    Clock, UnixTime,
    confirmation::Fleet,
    report::{InstanceId, VerifierName},
};
use tokio::sync::watch;

use super::{
    capacity,
    known::{Heard, KnownVerifier, Settled, Verifier},
    snapshot::FleetSnapshot,
};
use crate::{
    domain::{Enrolment, InstanceState},
    store::{FleetMirror, KeptReports, StoredFleet},
};

/// Age after which a snapshot is made anew though no report came.
const SNAPSHOT_AGE: Duration = Duration::from_secs(1);

/// Memory of verifiers and instances.
#[derive(Debug)]
pub(super) struct FleetMemory {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    began: Instant,
    verifiers: BTreeMap<VerifierName, Verifier>,
    /// `None` if the reports are in this memory only.
    kept: Option<KeptReports>,
    /// Moment from which every instance is known.
    complete_at: Option<Instant>,
    snapshot: Option<(Instant, Arc<FleetSnapshot>)>,
}

/// Result of noting a report in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Accepted,
    /// A later report of the instance is known, or the verifier is unknown.
    Superseded,
}

impl FleetMemory {
    /// Memory of a store's verifiers and instances.
    pub(super) fn new(clock: Arc<dyn Clock>, fleet: StoredFleet) -> Self {
        let began = clock.monotonic();
        let state = State { began, verifiers: BTreeMap::new(), kept: None, complete_at: None, snapshot: None };
        let memory = Self { clock, state: Mutex::new(state), changes: watch::Sender::new(0) };
        memory.replace(fleet);
        memory
    }

    /// Returns a receiver that each change wakes.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Returns the enrolment of a verifier unless it was removed.
    pub(super) fn enrolment(&self, name: &VerifierName) -> Option<Enrolment> {
        self.latest_enrolment(name).filter(Enrolment::is_active)
    }

    /// Returns the latest enrolment of a name, also after its removal while instances may accept tokens.
    pub(super) fn latest_enrolment(&self, name: &VerifierName) -> Option<Enrolment> {
        self.state().verifiers.get(name).map(|verifier| verifier.enrolment.clone())
    }

    /// Returns the latest report of an instance.
    pub(super) fn latest(&self, name: &VerifierName, instance: InstanceId) -> Option<Arc<InstanceState>> {
        let state = self.state();
        Some(Arc::clone(&state.verifiers.get(name)?.instances.get(&instance)?.state))
    }

    /// Returns true once every instance that may accept tokens is known.
    pub(super) fn is_complete(&self) -> bool {
        self.state().complete_at.is_some_and(|at| at <= self.clock.monotonic())
    }

    /// Returns whether there is a place for another instance of a verifier.
    pub(super) fn has_place(&self, name: &VerifierName) -> bool {
        let state = &mut *self.state();
        if state.has_place(name) {
            return true;
        }
        state.forget(self.clock.monotonic());
        state.has_place(name)
    }

    /// Number of instances that may accept tokens.
    pub(super) fn len(&self) -> usize {
        self.state().verifiers.values().map(|verifier| verifier.instances.len()).sum()
    }

    /// Adds or changes an enrolment. The instances of its name stay.
    pub(super) fn put(&self, enrolment: Enrolment) {
        self.change(|state, now| {
            let earlier = state.verifiers.remove(&enrolment.name);
            let verifier = Verifier::following(earlier, enrolment, false, now);
            state.verifiers.insert(verifier.enrolment.name.clone(), verifier);
        });
    }

    /// Deletes a verifier whose instances accept no tokens.
    pub(super) fn delete(&self, name: &VerifierName) {
        self.change(|state, _| {
            state.verifiers.remove(name);
        });
    }

    /// Forgets an instance.
    pub(super) fn forget(&self, name: &VerifierName, instance: InstanceId) {
        self.change(|state, _| {
            if let Some(verifier) = state.verifiers.get_mut(name) {
                verifier.instances.remove(&instance);
            }
        });
    }

    /// Returns the verifier of this name, which may be removed.
    pub(super) fn verifier(&self, name: &VerifierName) -> Option<KnownVerifier> {
        let now = self.clock.monotonic();
        self.state().verifiers.get(name).filter(|verifier| verifier.counts(now)).map(|known| known.to_known(now))
    }

    /// Returns the enrolments that ended so long ago that they count no more.
    pub(super) fn settled(&self) -> Vec<Settled> {
        let now = self.clock.monotonic();
        self.state().verifiers.values().filter_map(|verifier| verifier.settled(now)).collect()
    }

    /// Notes an accepted report.
    pub(super) fn note(&self, report: InstanceState) -> Noted {
        self.change(|state, now| state.note(report, now))
    }

    /// Returns the verifiers that are enrolled or have instances, in the order of enrolment.
    pub(super) fn verifiers(&self) -> Vec<KnownVerifier> {
        let now = self.clock.monotonic();
        let state = self.state();
        let counting = state.verifiers.values().filter(|verifier| verifier.counts(now));
        let mut verifiers: Vec<KnownVerifier> = counting.map(|verifier| verifier.to_known(now)).collect();
        verifiers.sort_by_key(|verifier| verifier.enrolment.added_at);
        verifiers
    }

    /// Returns the present fleet.
    pub(super) fn snapshot(&self) -> Arc<FleetSnapshot> {
        let moment = self.clock.monotonic();
        let state = &mut *self.state();
        if let Some((made, snapshot)) = &state.snapshot
            && moment.saturating_duration_since(*made) < SNAPSHOT_AGE
        {
            return Arc::clone(snapshot);
        }
        state.forget(moment);
        let snapshot = Arc::new(state.to_snapshot(moment));
        state.snapshot = Some((moment, Arc::clone(&snapshot)));
        snapshot
    }

    /// Makes a change, then wakes those who wait for one.
    fn change<T>(&self, change: impl FnOnce(&mut State, Instant) -> T) -> T {
        let result = {
            let state = &mut *self.state();
            state.snapshot = None;
            change(state, self.clock.monotonic())
        };
        self.changes.send_modify(|number| *number = number.wrapping_add(1));
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FleetMirror for FleetMemory {
    fn replace(&self, fleet: StoredFleet) {
        let now = self.clock.now();
        self.change(|state, moment| {
            let mut before = std::mem::take(&mut state.verifiers);
            let is_same_loss = state.kept.map(|kept| kept.since) == fleet.kept.map(|kept| kept.since);
            // Reports were lost while this process ran.
            let lost_reports = state.kept.is_some() && !is_same_loss;
            for enrolment in fleet.enrolments {
                let began_before = |kept: KeptReports| enrolment.instances_since < kept.since;
                let may_have_unknown = lost_reports || fleet.kept.is_none_or(began_before);
                let earlier = before.get_mut(&enrolment.name).map(Verifier::without_instances);
                let verifier = Verifier::following(earlier, enrolment, may_have_unknown, moment);
                state.verifiers.insert(verifier.enrolment.name.clone(), verifier);
            }
            for report in fleet.instances {
                let earlier =
                    before.get(&report.verifier).and_then(|verifier| verifier.instances.get(&report.instance));
                let is_same = |heard: &&Heard| heard.state.sequence == report.sequence;
                let at = earlier.filter(is_same).map_or(moment, |heard| heard.at);
                state.note(report, at);
            }
            let is_complete = fleet.kept.is_some_and(|kept| kept.is_complete);
            state.complete_at = match state.complete_at {
                // All instances confirm the earlier commits, too.
                Some(at) if is_complete => Some(at.min(state.began)),
                Some(at) if is_same_loss => Some(at),
                // No clock tells how much of the lease has passed before.
                Some(_) | None => moment.checked_add(Fleet::complete_after(now).saturating_since(now)),
            };
            state.kept = fleet.kept;
        });
    }

    fn is_awaited(&self) -> bool {
        self.changes.receiver_count() > 0
    }

    fn complete_since(&self) -> Option<UnixTime> {
        let state = self.state();
        let kept = state.kept.filter(|kept| !kept.is_complete)?;
        state.complete_at.is_some_and(|at| at <= self.clock.monotonic()).then_some(kept.since)
    }

    fn extend(&self, instances: Vec<InstanceState>) {
        self.change(|state, now| {
            for report in instances {
                state.note(report, now);
            }
        });
    }
}

impl State {
    fn note(&mut self, report: InstanceState, at: Instant) -> Noted {
        let Some(verifier) = self.verifiers.get_mut(&report.verifier) else { return Noted::Superseded };
        let known = verifier.instances.get(&report.instance);
        if known.is_some_and(|known| known.state.sequence >= report.sequence) {
            return Noted::Superseded;
        }
        // A report of an instance that follows another database does not extend its lease.
        let at = known.filter(|_| report.is_ahead).map_or(at, |known| known.at);
        verifier.instances.insert(report.instance, Heard { state: Arc::new(report), at });
        Noted::Accepted
    }

    fn has_place(&self, name: &VerifierName) -> bool {
        let may_have_some = |verifier: &Verifier| verifier.enrolment.is_active() || !verifier.instances.is_empty();
        let of_others = self.verifiers.iter().filter(|(other, verifier)| *other != name && may_have_some(verifier));
        let own = self.verifiers.get(name).map_or(0, |verifier| verifier.instances.len());
        capacity::has_place(own, of_others.map(|(_, verifier)| verifier.instances.len()))
    }

    /// Forgets instances that accept no token any more.
    fn forget(&mut self, now: Instant) {
        for verifier in self.verifiers.values_mut() {
            verifier.instances.retain(|_, heard| !heard.is_forgettable(now));
        }
    }

    fn to_snapshot(&self, moment: Instant) -> FleetSnapshot {
        let heard = || {
            self.verifiers
                .values()
                .flat_map(|verifier| verifier.instances.values())
                .filter(|heard| !heard.is_gone(moment))
        };
        let active = self.verifiers.values().filter(|verifier| verifier.enrolment.is_active());
        FleetSnapshot {
            verifiers: self.verifiers.values().map(Verifier::to_enrolled).collect(),
            active: active.map(|verifier| verifier.enrolment.name.clone()).collect(),
            instances: heard().map(|heard| heard.state.known()).collect(),
            silences: heard().map(|heard| heard.silence(moment)).collect(),
            reports: heard().map(|heard| Arc::clone(&heard.state)).collect(),
            complete_at: self.complete_at,
        }
    }
}
