//! Verifiers: enrolment, their reports, and the fleet that confirmations and key rotations count.
//!
//! 1. The operator enrols a verifier with its public key. Its instances sign their reports with that key.
//! 2. A report counts once it is where every broker counts it: in memory with one broker, in the database with several. The
//!    response names the end of the revocation log, read afterwards.
//! 3. An instance without a bound is kept durably until it leaves or its verifier is removed.
//! 4. The checks that cost least come first. A request costs at most one signature, whatever it contains.

mod capacity;
mod fleet;
mod report;

use std::{net::IpAddr, sync::Arc};

use agentwrit_protocol::VerifierEnrolmentRequest;
use agentwrit_verify::{PublicKey, Subject, UnixTime, report::VerifierName};
use tokio::sync::watch;

use self::fleet::FleetMemory;
pub(crate) use self::{
    fleet::{FleetSnapshot, KnownVerifier},
    report::ReportRejection,
};
use super::{Bearer, Error, checks::transact_as};
use crate::{
    audit::{EventType, NewEvent},
    domain::{Enrolment, InstanceState},
    feed::FeedPublisher,
    issuer::Issuer,
    ledger::Ledger,
    limits::rate_limit::RateTable,
    store::{FleetMirror, Store, StoreError, StoredFleet, Wants},
    telemetry::metrics::{Metrics, VerifierFigures},
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

    /// Returns a receiver that changes of the fleet wake. While there is one, reports of other brokers arrive within 20 ms.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.memory.changed()
    }

    /// Enrols a verifier.
    pub(crate) async fn enrol(
        self: &Arc<Self>,
        bearer: Option<Bearer>,
        request: VerifierEnrolmentRequest,
        client: IpAddr,
    ) -> Result<Enrolment, Error> {
        let public_key = PublicKey::from_bytes(&request.public_key.0).map_err(|_| {
            Error::invalid("public_key", "is not an Ed25519 public key that signatures may be verified with")
        })?;
        let VerifierEnrolmentRequest { name, max_bound, .. } = request;
        let enrolment = Enrolment { name, public_key, max_bound, added_at: UnixTime::default() };
        let service = Arc::clone(self);
        let enrolled = transact_as(&self.ledger, &self.issuer, bearer, Wants::none(), move |tx, now| {
            let known = tx.enrolments()?;
            if let Some(same) = known.iter().find(|known| known.name == enrolment.name) {
                let same_key = same.public_key.as_bytes() == enrolment.public_key.as_bytes();
                return Err(Error::VerifierExists { same_key });
            }
            if known.len() >= capacity::MAX_VERIFIERS {
                return Err(Error::TooManyVerifiers);
            }
            let added_at = tx.insert_verifier(&Enrolment { added_at: now, ..enrolment.clone() })?;
            let enrolment = Enrolment { added_at, ..enrolment };
            let event = NewEvent::success(EventType::VerifierEnrolled, now, &Subject::Admin, "verifier enrolled");
            let event = event.resource(&enrolment.name).word("kid", enrolment.public_key.id().as_str());
            let event = match enrolment.max_bound {
                Some(seconds) => event.word("max_bound", seconds),
                None => event,
            };
            service.ledger.record(tx, event.from(client))?;
            if !service.store().is_shared() {
                let (memory, enrolment) = (Arc::clone(&service.memory), enrolment.clone());
                tx.after_commit(move || memory.enrol(enrolment));
            }
            Ok(enrolment)
        })
        .await?;
        self.read_reports().await;
        Ok(enrolled)
    }

    /// Removes a verifier, and forgets its instances.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        bearer: Option<Bearer>,
        name: VerifierName,
        client: IpAddr,
    ) -> Result<(), Error> {
        let service = Arc::clone(self);
        transact_as(&self.ledger, &self.issuer, bearer, Wants::none(), move |tx, now| {
            if !tx.delete_verifier(&name)? {
                return Err(Error::NoSuchVerifier);
            }
            let event = NewEvent::success(EventType::VerifierRemoved, now, &Subject::Admin, "verifier removed");
            service.ledger.record(tx, event.resource(&name).from(client))?;
            if !service.store().is_shared() {
                let memory = Arc::clone(&service.memory);
                tx.after_commit(move || memory.remove(&name));
            }
            Ok(())
        })
        .await?;
        self.read_reports().await;
        Ok(())
    }

    /// Brings memory up to date after a commit. If that fails, it is tried again at intervals.
    async fn read_reports(&self) {
        if let Err(error) = self.store().confirm_reports().await {
            tracing::debug!(component = "verifiers", %error, "memory does not show the change yet");
        }
    }

    /// Returns the verifiers in the order of their enrolment.
    pub(crate) async fn list(&self) -> Result<Vec<KnownVerifier>, Error> {
        self.store().confirm_reports().await?;
        Ok(self.memory.verifiers())
    }

    /// Sets the metrics of the fleet as this broker knows it.
    pub(crate) fn measure(&self) {
        let (end, verifiers) = (self.feed.end(), self.memory.verifiers());
        let lag = |state: &InstanceState| {
            let is_same_log = *state.applied.epoch() == *end.epoch && !state.is_ahead;
            end.cursor.saturating_sub(if is_same_log { state.applied.position() } else { 0 })
        };
        self.metrics.verifiers().set_fleet(verifiers.iter().map(|verifier| {
            let is_unbounded = |state: &&Arc<InstanceState>| state.is_ahead || state.is_unbounded();
            let unbounded = verifier.instances.iter().filter(is_unbounded).count();
            let figures = VerifierFigures {
                instances: verifier.instances.len() as u64,
                unbounded: unbounded as u64,
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
    /// Reads verifiers and instances. Of one broker, reports are kept since its start.
    async fn read(ledger: &Ledger) -> Result<Self, StoreError> {
        let kept_since = ledger.now();
        let fleet = ledger.read(move |reader| {
            let (enrolments, instances) = (reader.enrolments()?, reader.verifier_instances()?);
            Ok::<_, StoreError>(StoredFleet { enrolments, instances, kept_since })
        });
        Ok(Self::new(Arc::clone(&ledger.clock), fleet.await?))
    }
}
