//! Verifiers: enrolment, their reports, and the fleet that confirmations and key rotations count.
//!
//! 1. The operator enrols a verifier with its public key. Its instances sign their reports with that key.
//! 2. A report counts once it is where every broker counts it: in memory with one broker, in the database with several. The
//!    response names the end of the revocation log, read afterwards.
//! 3. An instance without a bound is kept durably until it leaves or the operator forgets it, because its process has ended.
//! 4. The removal of a verifier, or another key or bound, ends no instance. Those that the broker rejects from then on count
//!    until they accept no token for certain.
//! 5. The checks that cost least come first. A request costs at most one signature, whatever it contains.

mod acceptance;
mod capacity;
mod enrolment;
mod fleet;
mod known;
mod other_database;
mod report;
mod snapshot;

use std::sync::Arc;

use agentwrit_verify::report::VerifierName;
use tokio::sync::watch;

use self::fleet::FleetMemory;
pub(crate) use self::{
    enrolment::ForgottenInstance, known::KnownVerifier, report::ReportRejection, snapshot::FleetSnapshot,
};
use super::Error;
use crate::{
    domain::{Enrolment, InstanceState},
    feed::FeedPublisher,
    issuer::Issuer,
    ledger::Ledger,
    limits::rate_limit::RateTable,
    store::{FleetMirror, Store, StoreError, StoredFleet},
    telemetry::metrics::{Metrics, VerifierFigures, VerifierMetrics},
};

/// Enrols verifiers and takes their reports.
#[derive(Debug)]
pub(crate) struct VerifierService {
    ledger: Arc<Ledger>,
    feed: FeedPublisher,
    issuer: Arc<Issuer>,
    memory: Arc<FleetMemory>,
    rates: RateTable,
    metrics: Arc<Metrics>,
}

impl VerifierService {
    /// Reads the fleet and follows it.
    pub(super) async fn start(
        ledger: Arc<Ledger>,
        feed: FeedPublisher,
        issuer: Arc<Issuer>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let memory = Arc::new(FleetMemory::read(&ledger).await?);
        ledger.store.follow_reports(Arc::clone(&memory) as Arc<dyn FleetMirror>);
        ledger.store.confirm_reports().await?;
        Ok(Self { ledger, feed, issuer, memory, rates: RateTable::default(), metrics })
    }

    /// Returns the fleet. It contains each report that any broker accepted before the call: a confirmation that is decided
    /// later needs another call.
    pub(crate) async fn fleet(&self) -> Result<Arc<FleetSnapshot>, Error> {
        self.store().confirm_reports().await?;
        Ok(self.memory.snapshot())
    }

    /// Returns the latest enrolment of a verifier of the fleet.
    pub(crate) fn latest_enrolment(&self, name: &VerifierName) -> Option<Enrolment> {
        self.memory.latest_enrolment(name)
    }

    /// Returns a receiver that changes of the fleet wake. While there is one, reports of other brokers arrive within 20 ms.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.memory.changed()
    }

    /// Brings memory up to date after a commit. If that fails, it is tried again at intervals.
    async fn read_reports(&self) {
        if let Err(error) = self.store().confirm_reports().await {
            tracing::debug!(component = "verifiers", %error, "memory does not show the change yet");
        }
    }

    /// Returns the verifiers that are enrolled or have instances, in the order of enrolment.
    pub(crate) async fn list(&self) -> Result<Vec<KnownVerifier>, Error> {
        self.store().confirm_reports().await?;
        Ok(self.memory.verifiers())
    }

    /// Returns the metrics of verifiers and confirmations.
    pub(crate) fn metrics(&self) -> &VerifierMetrics {
        self.metrics.verifiers()
    }

    /// Sets the metrics of the fleet as this broker knows it.
    pub(crate) fn measure(&self) {
        let (end, verifiers) = (self.feed.end(), self.memory.verifiers());
        let lag = |state: &InstanceState| {
            let is_same_log = *state.applied.epoch() == *end.epoch && !state.is_ahead;
            end.cursor.saturating_sub(if is_same_log { state.applied.position() } else { 0 })
        };
        self.metrics.verifiers().set_fleet(verifiers.iter().map(|verifier| {
            let unbounded = verifier.instances.iter().filter(|state| state.may_accept_without_end()).count();
            let figures = VerifierFigures {
                instances: verifier.instances.len() as u64,
                unbounded: unbounded as u64 + u64::from(verifier.enrolment.may_have_unbounded),
                lag: verifier.instances.iter().map(|state| lag(state)).max().unwrap_or_default(),
            };
            (verifier.enrolment.name.as_str(), figures)
        }));
    }

    fn store(&self) -> &Store {
        &self.ledger.store
    }
}

impl FleetMemory {
    /// Reads verifiers and instances.
    async fn read(ledger: &Ledger) -> Result<Self, StoreError> {
        let fleet = ledger.read(|reader| {
            let (enrolments, instances) = (reader.enrolments()?, reader.verifier_instances()?);
            Ok::<_, StoreError>(StoredFleet { enrolments, instances, kept: None })
        });
        Ok(Self::new(Arc::clone(&ledger.clock), fleet.await?))
    }
}
