//! The verifiers and instances that this broker knows, and snapshots of them for confirmations.
//!
//! 1. An instance is forgotten once it accepts no token any more, measured on the monotonic clock since its report became
//!    known: a step of the wall clock forgets none.
//! 2. One that has left is kept for a while longer, so that an earlier report of it does not count again.
//! 3. A snapshot is never older than the latest change.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use agentwrit_verify::{
    Clock, UnixTime,
    confirmation::{EnrolledVerifier, Fleet, KnownInstance},
    report::{InstanceId, KeySetDigest, Report, ReportedBound, VerifierName},
};
use tokio::sync::watch;

use super::capacity;
use crate::{
    domain::{Enrolment, InstanceState},
    store::{FleetMirror, StoredFleet},
};

/// Time after its lease for which an instance is kept: confirmations compare whole seconds.
const MARGIN: Duration = Duration::from_secs(2);
/// Time for which an instance that has left is kept: no report of it counts by then.
const KEPT_AFTER_LEAVING: Duration = Report::MAX_CLOCK_DIFFERENCE.saturating_mul(2);
/// Age after which a snapshot is made anew though no report came.
const SNAPSHOT_AGE: Duration = Duration::from_secs(1);

/// Enrolled verifiers and the instances that may accept tokens.
#[derive(Clone, Debug)]
pub(crate) struct FleetSnapshot {
    /// Enrolled verifiers.
    pub(crate) enrolled: Vec<EnrolledVerifier>,
    /// Instances, in the order of verifier and id.
    pub(crate) instances: Vec<KnownInstance>,
    /// Their latest reports, in the same order.
    pub(crate) reports: Vec<Arc<InstanceState>>,
    /// Time since these were heard, in the same order, at most that of a lease.
    silences: Vec<Duration>,
    /// Time from which every instance is known.
    pub(crate) complete_from: UnixTime,
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

    /// Returns the snapshot as confirmations use it.
    pub(crate) fn as_fleet(&self) -> Fleet<'_> {
        Fleet { enrolled: &self.enrolled, instances: &self.instances, complete_from: self.complete_from }
    }

    /// Returns the instances that have other keys in force.
    pub(crate) fn instances_without(&self, key_set: KeySetDigest) -> impl Iterator<Item = &InstanceState> {
        let has_others = move |state: &&InstanceState| !state.leaving && state.key_set != Some(key_set);
        self.reports.iter().map(Arc::as_ref).filter(has_others)
    }
}

/// A verifier with its instances.
#[derive(Clone, Debug)]
pub(crate) struct KnownVerifier {
    pub(crate) enrolment: Enrolment,
    pub(crate) instances: Vec<Arc<InstanceState>>,
}

/// Memory of verifiers and instances.
#[derive(Debug)]
pub(super) struct FleetMemory {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    verifiers: BTreeMap<VerifierName, Verifier>,
    /// Time since which no report was lost.
    kept_since: UnixTime,
    /// Moment from which every instance is known.
    complete_at: Option<Instant>,
    snapshot: Option<(Instant, Arc<FleetSnapshot>)>,
}

#[derive(Debug)]
struct Verifier {
    enrolment: Enrolment,
    instances: BTreeMap<InstanceId, Heard>,
}

#[derive(Clone, Debug)]
struct Heard {
    state: Arc<InstanceState>,
    /// Moment at which the report became known.
    at: Instant,
}

impl Heard {
    /// Returns true once the instance accepts no token any more.
    fn is_gone(&self, now: Instant) -> bool {
        let silence = now.saturating_duration_since(self.at);
        self.state.leaving
            || (self.state.bound != ReportedBound::Unbounded && silence >= Report::LEASE.saturating_add(MARGIN))
    }

    fn is_forgettable(&self, now: Instant) -> bool {
        let since_left = now.saturating_duration_since(self.at);
        self.is_gone(now) && (!self.state.leaving || since_left >= KEPT_AFTER_LEAVING)
    }

    fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at).min(Report::LEASE)
    }
}

/// Result of noting a report in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Accepted,
    /// A later report of the instance is known, or the verifier is not enrolled any more.
    Superseded,
}

impl FleetMemory {
    /// Memory of a store whose reports have been kept since `kept_since`.
    pub(super) fn new(clock: Arc<dyn Clock>, fleet: StoredFleet) -> Self {
        let state =
            State { verifiers: BTreeMap::new(), kept_since: UnixTime::default(), complete_at: None, snapshot: None };
        let memory = Self { clock, state: Mutex::new(state), changes: watch::Sender::new(0) };
        memory.replace(fleet);
        memory
    }

    /// Returns a receiver that each change wakes.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn enrolment(&self, name: &VerifierName) -> Option<Enrolment> {
        self.state().verifiers.get(name).map(|verifier| verifier.enrolment.clone())
    }

    /// Returns the latest report of an instance.
    pub(super) fn latest(&self, name: &VerifierName, instance: InstanceId) -> Option<Arc<InstanceState>> {
        let state = self.state();
        Some(Arc::clone(&state.verifiers.get(name)?.instances.get(&instance)?.state))
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

    pub(super) fn enrol(&self, enrolment: Enrolment) {
        self.change(|state, _| {
            let verifier = Verifier { enrolment, instances: BTreeMap::new() };
            state.verifiers.insert(verifier.enrolment.name.clone(), verifier);
        });
    }

    pub(super) fn remove(&self, name: &VerifierName) {
        self.change(|state, _| {
            state.verifiers.remove(name);
        });
    }

    /// Notes an accepted report.
    pub(super) fn note(&self, report: InstanceState) -> Noted {
        self.change(|state, now| state.note(report, now))
    }

    /// Returns every verifier in the order of enrolment.
    pub(super) fn verifiers(&self) -> Vec<KnownVerifier> {
        let now = self.clock.monotonic();
        let of = |verifier: &Verifier| KnownVerifier {
            enrolment: verifier.enrolment.clone(),
            instances: verifier
                .instances
                .values()
                .filter(|heard| !heard.is_gone(now))
                .map(|heard| Arc::clone(&heard.state))
                .collect(),
        };
        let mut verifiers: Vec<KnownVerifier> = self.state().verifiers.values().map(of).collect();
        verifiers.sort_by_key(|verifier| verifier.enrolment.added_at);
        verifiers
    }

    /// Returns the present fleet.
    pub(super) fn snapshot(&self) -> Arc<FleetSnapshot> {
        let (now, moment) = (self.clock.now(), self.clock.monotonic());
        let state = &mut *self.state();
        if let Some((made, snapshot)) = &state.snapshot
            && moment.saturating_duration_since(*made) < SNAPSHOT_AGE
        {
            return Arc::clone(snapshot);
        }
        state.forget(moment);
        let snapshot = Arc::new(state.to_snapshot(now, moment));
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
            let before = std::mem::take(&mut state.verifiers);
            for enrolment in fleet.enrolments {
                let verifier = Verifier { enrolment, instances: BTreeMap::new() };
                state.verifiers.insert(verifier.enrolment.name.clone(), verifier);
            }
            for report in fleet.instances {
                let earlier =
                    before.get(&report.verifier).and_then(|verifier| verifier.instances.get(&report.instance));
                let is_same = |heard: &&Heard| heard.state.sequence == report.sequence;
                let at = earlier.filter(is_same).map_or(moment, |heard| heard.at);
                state.note(report, at);
            }
            let remaining = Fleet::complete_after(fleet.kept_since).saturating_since(now);
            if fleet.kept_since != state.kept_since || state.complete_at.is_none() {
                state.kept_since = fleet.kept_since;
                state.complete_at = moment.checked_add(remaining);
            }
        });
    }

    fn is_awaited(&self) -> bool {
        self.changes.receiver_count() > 0
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
        let of_others = self.verifiers.iter().filter(|(other, _)| *other != name);
        let own = self.verifiers.get(name).map_or(0, |verifier| verifier.instances.len());
        capacity::has_place(own, of_others.map(|(_, verifier)| verifier.instances.len()))
    }

    /// Forgets instances that accept no token any more.
    fn forget(&mut self, now: Instant) {
        for verifier in self.verifiers.values_mut() {
            verifier.instances.retain(|_, heard| !heard.is_forgettable(now));
        }
    }

    fn to_snapshot(&self, now: UnixTime, moment: Instant) -> FleetSnapshot {
        let enrolled = self.verifiers.values().map(|Verifier { enrolment, .. }| EnrolledVerifier {
            name: enrolment.name.clone(),
            max_bound: enrolment.max_bound,
            added_at: enrolment.added_at,
        });
        let heard = || {
            self.verifiers
                .values()
                .flat_map(|verifier| verifier.instances.values())
                .filter(|heard| !heard.is_gone(moment))
        };
        FleetSnapshot {
            enrolled: enrolled.collect(),
            instances: heard().map(|heard| heard.state.known()).collect(),
            silences: heard().map(|heard| heard.silence(moment)).collect(),
            reports: heard().map(|heard| Arc::clone(&heard.state)).collect(),
            complete_from: self.complete_from(now, moment),
        }
    }

    /// Returns the time from which every instance is known, on the wall clock as it is now: a step of it does not bring that
    /// nearer.
    fn complete_from(&self, now: UnixTime, moment: Instant) -> UnixTime {
        let by_clock = Fleet::complete_after(self.kept_since);
        let remaining = self.complete_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(moment));
        let by_interval = now.saturating_add(remaining);
        let was_set_forward = !remaining.is_zero() && by_interval.saturating_since(by_clock) > MARGIN;
        if was_set_forward { by_interval } else { by_clock }
    }
}
