//! Operations on the signing keys: preparation, activation, retirement, rotation and withdrawal.
//!
//! 1. A change is decided by [`rules`] in the transaction that makes it, with its audit event.
//! 2. It takes a cursor of the revocation log, so that followers read it at once and confirm it as they confirm a revocation.
//! 3. When an operation returns, this broker signs and verifies with the changed keys, and every other broker does before it
//!    judges a token.
//! 4. A withdrawal depends on nothing but the store: not on verifiers, not on the clock, and not on the files or rows of other
//!    keys.

mod automatic;
mod error;
mod event;
mod faults;
mod readiness;
mod rules;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_verify::{FeedCursor, KeySet, PublicKey, Subject, UnixTime};

pub(crate) use self::error::KeyError;
use self::{
    automatic::Blocked,
    faults::KeyFaults,
    readiness::{InstanceName, Readiness, is_obstacle},
    rules::{Facts, Step},
};
use super::{
    Bearer, Error, Parts,
    checks::transact_as,
    verifiers::{FleetSnapshot, VerifierService},
};
use crate::{
    clock::RETENTION,
    config::Config,
    domain::{KeyPurpose, KeyState, StoredKey},
    feed::FeedPublisher,
    issuer::Issuer,
    keys::UnusableKey,
    ledger::Ledger,
    store::{StoreError, Tx, Wants},
    telemetry::metrics::Metrics,
};

/// Change of the signing keys that an operator requests. Keys are named by their id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyOperation {
    Prepare,
    Activate { kid: String, force: bool },
    Retire { kid: String },
    Rotate,
    Withdraw { kid: String },
}

/// Author of a change, and the reason.
#[derive(Clone, Debug)]
pub(crate) struct ChangeAuthor {
    pub(crate) by: Subject,
    /// Token and address of an operator; none for the broker itself.
    pub(crate) bearer: Option<Bearer>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) reason: Option<String>,
}

/// The key after an operation, and the cursor of the change: the end of the log if nothing was to be changed.
#[derive(Clone, Debug)]
pub(crate) struct KeyChange {
    pub(crate) key: StoredKey,
    pub(crate) cursor: FeedCursor,
}

/// Changes the signing keys.
#[derive(Debug)]
pub(crate) struct KeyService {
    issuer: Arc<Issuer>,
    ledger: Arc<Ledger>,
    feed: FeedPublisher,
    verifiers: Arc<VerifierService>,
    metrics: Arc<Metrics>,
    prepare_for: Duration,
    rotation: Option<Duration>,
    blocked: Blocked,
    faults: KeyFaults,
}

/// The signing keys, and those of them whose private halves do not open.
#[derive(Clone, Debug)]
pub(crate) struct ExaminedKeys {
    pub(crate) keys: Vec<StoredKey>,
    pub(crate) unusable: Vec<UnusableKey>,
}

impl KeyService {
    pub(super) fn new(parts: Parts, config: &Config) -> Self {
        let Parts { issuer, ledger, feed, verifiers, metrics, .. } = parts;
        let (prepare_for, rotation) = (config.key_prepare_for, config.key_rotation);
        let (blocked, faults) = (Blocked::default(), KeyFaults::default());
        Self { issuer, ledger, feed, verifiers, metrics, prepare_for, rotation, blocked, faults }
    }

    /// Returns the signing keys in the order of their creation.
    pub(crate) async fn list(&self) -> Result<ExaminedKeys, Error> {
        let issuer = Arc::clone(&self.issuer);
        let read =
            self.ledger.read(move |reader| Ok::<_, Error>(examined(&issuer, reader.signing_keys()?, &reader.epoch()?)));
        read.await
    }

    /// Changes the keys.
    pub(crate) async fn change(
        self: &Arc<Self>,
        operation: KeyOperation,
        author: ChangeAuthor,
    ) -> Result<KeyChange, Error> {
        let fleet = match operation {
            KeyOperation::Activate { force: false, .. } | KeyOperation::Rotate => Some(self.verifiers.fleet().await?),
            KeyOperation::Prepare
            | KeyOperation::Activate { force: true, .. }
            | KeyOperation::Retire { .. }
            | KeyOperation::Withdraw { .. } => None,
        };
        let service = Arc::clone(self);
        transact_as(&self.ledger, &self.issuer, author.bearer.clone(), Wants::none(), move |tx, now| {
            let keys = as_in_force(&service.issuer, tx.signing_keys()?);
            let examined = examined(&service.issuer, keys, &tx.epoch()?);
            let readiness = readiness_of(fleet.as_deref(), &examined, now, service.ledger.monotonic());
            let last_expiry = tx.last_expiry_of_tokens()?;
            let facts = service.facts(&examined, last_expiry, &readiness, now);
            let (steps, ongoing) = (operation.decide(&facts)?, facts.scheduled().map(|key| key.kid.clone()));
            let (keys, cursor) = service.apply(tx, examined.keys, &steps, &author)?;
            let key = operation.changed(&keys, &steps, ongoing.as_deref()).cloned().ok_or(KeyError::Unknown)?;
            Ok(KeyChange { key, cursor })
        })
        .await
    }

    fn facts<'a>(
        &self,
        ExaminedKeys { keys, unusable }: &'a ExaminedKeys,
        last_expiry: Option<UnixTime>,
        readiness: &'a Readiness,
        now: UnixTime,
    ) -> Facts<'a> {
        // With several brokers, `now` is the database's time.
        let certain = self.ledger.deletable_until().saturating_add(RETENTION).min(now);
        Facts { keys, now, certain, last_expiry, prepare_for: self.prepare_for, readiness, unusable }
    }

    /// Makes the changes of a decision, with their events. Returns all keys afterwards, and the cursor of the change.
    fn apply(
        &self,
        tx: &mut Tx<'_>,
        mut keys: Vec<StoredKey>,
        steps: &[Step],
        author: &ChangeAuthor,
    ) -> Result<(Vec<StoredKey>, FeedCursor), Error> {
        let now = tx.now();
        let mut changed: Vec<StoredKey> = Vec::new();
        for step in steps {
            let before = match step.kid() {
                Some(kid) => keys.iter().find(|key| key.kid == kid).cloned().ok_or(KeyError::Unknown)?,
                None if *step == Step::MakeActive => self.issuer.custody().successor(&keys, now)?,
                None => self.issuer.custody().new_key(&keys, now)?,
            };
            let after = step.applied_to(&before, now);
            if let Some(event) = event::of(step, &after, steps, now, author) {
                self.ledger.record(tx, event)?;
            }
            keys.retain(|key| key.kid != after.kid);
            keys.push(after.clone());
            changed.push(after);
        }
        let position = if changed.is_empty() { tx.latest_cursor()? } else { self.feed.change_keys(tx, changed)? };
        let cursor = FeedCursor::new(&tx.epoch()?, position)
            .map_err(|error| StoreError::Internal { cause: error.to_string() })?;
        Ok((keys, cursor))
    }
}

impl KeyOperation {
    fn decide(&self, facts: &Facts<'_>) -> Result<Vec<Step>, KeyError> {
        match self {
            Self::Prepare => facts.prepare(),
            Self::Activate { kid, force } => facts.activate(kid, *force),
            Self::Retire { kid } => facts.retire(kid),
            Self::Rotate => facts.rotate(),
            Self::Withdraw { kid } => facts.withdraw(kid),
        }
    }

    /// Returns the key that the response describes: the one that was named, the new one, or that of the `ongoing` rotation.
    fn changed<'a>(&self, keys: &'a [StoredKey], steps: &[Step], ongoing: Option<&str>) -> Option<&'a StoredKey> {
        let named = |kid: &str| keys.iter().find(|key| key.kid == kid);
        match self {
            Self::Activate { kid, .. } | Self::Retire { kid } | Self::Withdraw { kid } => named(kid),
            Self::Prepare | Self::Rotate => match steps.last() {
                Some(step) => step.kid().map_or_else(|| keys.last(), named),
                None => ongoing.and_then(named),
            },
        }
    }
}

/// Examines all keys but the nonce secret.
fn examined(issuer: &Issuer, mut keys: Vec<StoredKey>, epoch: &str) -> ExaminedKeys {
    keys.retain(|key| key.purpose == KeyPurpose::Token);
    let unusable = issuer.current_ring().unusable(&keys, epoch);
    ExaminedKeys { keys, unusable }
}

/// Corrects the rows of a transaction that say of a key in force that it was withdrawn: its withdrawal is still to be made.
fn as_in_force(issuer: &Issuer, mut keys: Vec<StoredKey>) -> Vec<StoredKey> {
    let ring = issuer.ring();
    let is_published = |key: &StoredKey| ring.published.iter().any(|public| public.id().as_str() == key.kid);
    for key in keys.iter_mut().filter(|key| key.state == KeyState::Withdrawn && is_published(key)) {
        key.state = KeyState::Retired;
    }
    keys
}

/// Returns whether verifiers have exactly the published keys of these.
fn readiness_of(fleet: Option<&FleetSnapshot>, examined: &ExaminedKeys, now: UnixTime, moment: Instant) -> Readiness {
    let Some(fleet) = fleet else { return Readiness::unknown(now) };
    let ExaminedKeys { keys, unusable } = examined;
    let verifies = |key: &&StoredKey| unusable.iter().all(|unusable| unusable.kid != key.kid || unusable.verifies);
    let published = keys.iter().filter(|key| key.state.is_published()).filter(verifies).filter_map(|key| key.public);
    let key_set = KeySet::new(published.filter_map(|public| PublicKey::from_bytes(&public).ok()));
    let missing = match key_set {
        Ok(key_set) => fleet
            .instances_without(key_set.digest())
            .filter(|state| is_obstacle(state.bound, state.heard_at, now))
            .map(|state| InstanceName { verifier: state.verifier.clone(), instance: state.instance })
            .collect(),
        // Without a published key nothing is verified.
        Err(_) => Vec::new(),
    };
    let known_from = fleet.unknown_for(moment).map(|remaining| now.saturating_add(remaining));
    Readiness { missing, known_from }
}
