//! The services, built in one place from the parts that they share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_verify::{Clock, RevocationList, UnixTime, Verifier};
use tokio::sync::watch;

use super::{
    active_agents::ActiveAgents, apps::AppService, confirmation::ConfirmationService, delegation::DelegationService,
    housekeeping::Housekeeping, keys::KeyService, launch_tokens::LaunchTokenService, login::LoginService,
    pods::PodService, recent_launch_tokens::RecentLaunchTokens, registration::RegistrationService,
    revocation::RevocationService, tokens::TokenService, trust_rules::TrustRuleService, verifiers::VerifierService,
};
use crate::{
    attestation::Attestor,
    clock::{ClockMonitor, NonceTime, WatchedClock},
    config::{Config, TlsConfig},
    domain::StoredKey,
    feed::{BrokerMemory, FeedParts, FeedPublisher, LogMemory, LogReader},
    issuer::{Challenges, CurrentRing, Issuer, Policy, nonce::Nonces},
    keys::{BrokerKeys, Entropy},
    ledger::Ledger,
    limits::{budgets::Budgets, capacity::Capacity, pools::Pools},
    store::{ALL_ROWS, KeysVersion, LogEnd, Store, StoreError},
    telemetry::metrics::Metrics,
};

/// The state of the HTTP interface and of the broker's background tasks.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) logins: Arc<LoginService>,
    pub(crate) apps: Arc<AppService>,
    pub(crate) launch_tokens: Arc<LaunchTokenService>,
    pub(crate) trust_rules: Arc<TrustRuleService>,
    pub(crate) registrations: Arc<RegistrationService>,
    pub(crate) tokens: Arc<TokenService>,
    pub(crate) delegations: Arc<DelegationService>,
    pub(crate) revocations: Arc<RevocationService>,
    pub(crate) keys: Arc<KeyService>,
    pub(crate) verifiers: Arc<VerifierService>,
    pub(crate) confirmations: Arc<ConfirmationService>,
    pub(crate) pods: PodService,
    pub(crate) attestor: Arc<Attestor>,
    pub(crate) active_agents: Arc<ActiveAgents>,
    pub(crate) housekeeping: Arc<Housekeeping>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) feed: FeedPublisher,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) ledger: Arc<Ledger>,
    /// Judges tokens as resource servers do, with the revocations of this broker.
    pub(crate) verifier: Verifier,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pools: Arc<Pools>,
    /// Turns true when the broker stops: waiting requests end then.
    pub(crate) stopping: watch::Sender<bool>,
    started: Instant,
}

impl Services {
    /// Builds the services on a store. What was revoked before the start stays revoked.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the revocations or the keys can't be read.
    pub(crate) async fn build(
        config: &Config,
        store: Store,
        keys: BrokerKeys,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        let metrics = Arc::new(Metrics::new());
        let clock: Arc<dyn Clock> = Arc::new(WatchedClock::new(store.clock(), Arc::clone(&metrics)));
        let (recorded, nonces_until) = store
            .read(|reader| Ok::<_, StoreError>((reader.recorded_time()?, reader.nonces_forgotten_until()?)))
            .await?;
        let clock_monitor = ClockMonitor::new(recorded, clock.as_ref());
        if clock_monitor.behind_records(clock.now()).is_some() {
            metrics.clock_skew();
        }
        // After the recorded time was read: the event would pass for the newest record.
        store.record_accepted_breaks(clock.now()).await?;
        let past = clock_monitor.deletable_until(clock.as_ref());
        let memory = Memory::read(&store, &config.issuer, past, Arc::clone(&clock)).await?;
        metrics.set_audit_events_loaded(memory.events);
        metrics.set_audit_breaks_accepted(memory.accepted_breaks);
        let (BrokerKeys { custody, nonce_key }, withdrawn) = (keys, store.withdrawn_keys());
        let ring = CurrentRing::open(custody, &memory.keys, memory.keys_version, withdrawn, Arc::clone(&clock))?;
        let ring = Arc::new(ring);
        let issuer = Issuer::new(Policy::of(config), Arc::clone(&ring), Arc::clone(&entropy), Arc::clone(&metrics));
        // Brokers of one database agree about the time of a nonce, and a deleted use is found by the head row. After lost
        // history that row is ahead of the time: a broker that starts then would be ahead of the others.
        let nonces_until = if store.is_shared() { UnixTime::default() } else { nonces_until };
        let time = NonceTime::new(nonces_until, clock.as_ref());
        let nonces = Nonces::new(nonce_key.expose());
        let challenges = Challenges::new(nonces, time, Arc::clone(&clock), entropy, Arc::clone(&metrics));
        let ledger = Ledger::new(store, Arc::clone(&clock), Arc::new(clock_monitor), Arc::clone(&metrics));
        let attestor = Attestor::new(&config.attestation, Arc::clone(&clock), Arc::clone(&metrics));
        let keys = ring.trusted();
        ledger.store.follow(Arc::new(BrokerMemory { log: memory.log.clone(), keys: ring }));
        let revocations = memory.log.list().clone();
        let verifier = Verifier::builder()
            .issuer(issuer.name())
            .keys(keys)
            .revocations(revocations.clone())
            .accept_any_audience()
            .clock(ledger.store.expiry_clock().unwrap_or_else(|| Arc::clone(&ledger.clock)))
            .build();
        let pools = Arc::new(Pools::new(Capacity::of_this_process(config.tls != TlsConfig::None)));
        let (issuer, ledger, stopping) = (Arc::new(issuer), Arc::new(ledger), watch::Sender::new(false));
        let feed = FeedPublisher::new(FeedParts {
            memory: memory.log,
            issuer: Arc::clone(&issuer),
            store: ledger.store.clone(),
            clock: Arc::clone(&ledger.clock),
            pools: Arc::clone(&pools),
            stopping: stopping.subscribe(),
        });
        let (log, verdicts) = (Arc::clone(&ledger), Arc::clone(&metrics));
        let parts = Parts {
            verifiers: Arc::new(VerifierService::start(log, feed.clone(), Arc::clone(&issuer), verdicts).await?),
            active_agents: Arc::new(ActiveAgents::new(Arc::clone(&ledger), Arc::clone(&pools), Arc::clone(&metrics))),
            issuer,
            ledger,
            challenges: Arc::new(challenges),
            budgets: Arc::new(Budgets::new(config.session_budget, clock, Arc::clone(&metrics))),
            recent_launch_tokens: Arc::default(),
            attestor: Arc::new(attestor),
            feed,
            metrics,
        };
        Ok(parts.into_services(config, revocations, verifier, pools, stopping))
    }

    /// Time for which this process has served, in whole seconds.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_secs(self.ledger.monotonic().saturating_duration_since(self.started).as_secs())
    }
}

/// The parts that several services share.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) issuer: Arc<Issuer>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) budgets: Arc<Budgets>,
    pub(super) recent_launch_tokens: Arc<RecentLaunchTokens>,
    pub(super) attestor: Arc<Attestor>,
    pub(super) feed: FeedPublisher,
    pub(super) verifiers: Arc<VerifierService>,
    pub(super) active_agents: Arc<ActiveAgents>,
    pub(super) metrics: Arc<Metrics>,
}

impl Parts {
    fn into_services(
        self,
        config: &Config,
        revocations: RevocationList,
        verifier: Verifier,
        pools: Arc<Pools>,
        stopping: watch::Sender<bool>,
    ) -> Services {
        let Self { issuer, ledger, challenges, feed, verifiers, active_agents, attestor, metrics, .. } = self.clone();
        let revocations_service = Arc::new(RevocationService::new(self.clone()));
        let confirmations = ConfirmationService::new(
            Arc::clone(&ledger),
            feed.clone(),
            Arc::clone(&verifiers),
            Arc::clone(&issuer),
            stopping.subscribe(),
        );
        Services {
            confirmations: Arc::new(confirmations),
            logins: Arc::new(LoginService::new(self.clone(), config.admin_secret.clone())),
            apps: Arc::new(AppService::new(self.clone())),
            launch_tokens: Arc::new(LaunchTokenService::new(self.clone())),
            trust_rules: Arc::new(TrustRuleService::new(self.clone())),
            registrations: Arc::new(RegistrationService::new(self.clone())),
            tokens: Arc::new(TokenService::new(self.clone())),
            delegations: Arc::new(DelegationService::new(self.clone())),
            pods: PodService::new(self.clone(), Arc::clone(&revocations_service)),
            revocations: revocations_service,
            attestor,
            keys: Arc::new(KeyService::new(self.clone(), config)),
            housekeeping: Arc::new(Housekeeping::new(self, revocations)),
            started: ledger.monotonic(),
            verifiers,
            active_agents,
            challenges,
            feed,
            issuer,
            ledger,
            verifier,
            metrics,
            pools,
            stopping,
        }
    }
}

/// The state that a start reads from the store into memory.
struct Memory {
    log: LogMemory,
    keys: Vec<StoredKey>,
    keys_version: KeysVersion,
    /// Number of audit events.
    events: u64,
    /// Number of accepted breaks of the audit trail.
    accepted_breaks: u64,
}

impl Memory {
    /// Leaves out what has expired for certain until `past`.
    async fn read(store: &Store, issuer: &str, past: UnixTime, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let mut log = LogReader::new(issuer);
        let read = store.read(move |reader| {
            reader.visit_revocations(0, past, ALL_ROWS, &mut |row| log.push(row))?;
            let epoch: Arc<str> = reader.epoch()?.into();
            let keys_version = KeysVersion { epoch: Arc::clone(&epoch), cursor: reader.keys_cursor()? };
            let log = log.finish(LogEnd { epoch, cursor: reader.latest_cursor()? }, clock);
            let (events, accepted_breaks) = (reader.audit_total()?, reader.accepted_breaks()?);
            Ok(Self { log, keys: reader.signing_keys()?, keys_version, events, accepted_breaks })
        });
        read.await
    }
}
