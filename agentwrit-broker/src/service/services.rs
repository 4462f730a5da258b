//! The services, built in one place from the parts that they share.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_verify::{Clock, KeySet, RevocationList, UnixTime, Verifier};
use tokio::sync::watch;

use super::{
    active_agents::ActiveAgents, apps::AppService, delegation::DelegationService, launch_tokens::LaunchTokenService,
    login::LoginService, registration::RegistrationService, revocation::RevocationService, tokens::TokenService,
};
use crate::{
    config::{Config, TlsConfig},
    feed::{Entry, Feed, FeedParts, FeedPublisher, RecentEntries},
    housekeeping::Housekeeping,
    issuer::{Challenges, Issuer, Policy, nonce::Nonces},
    keys::{Entropy, KeyFile},
    ledger::Ledger,
    limits::{budgets::Budgets, capacity::Capacity, logins::LoginLimits, pools::Pools},
    store::{ALL_ROWS, Store, StoreError},
    telemetry::metrics::Metrics,
    timekeeping::{NonceTime, Timekeeper, WatchedClock},
};

/// The state of the HTTP interface and of the broker's background tasks.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) logins: Arc<LoginService>,
    pub(crate) apps: Arc<AppService>,
    pub(crate) launch_tokens: Arc<LaunchTokenService>,
    pub(crate) registrations: Arc<RegistrationService>,
    pub(crate) tokens: Arc<TokenService>,
    pub(crate) delegations: Arc<DelegationService>,
    pub(crate) revocations: Arc<RevocationService>,
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
    /// [`StoreError`] when the revocations can't be read.
    pub(crate) async fn build(
        config: &Config,
        store: Store,
        key_file: KeyFile,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StoreError> {
        let metrics = Arc::new(Metrics::new());
        let clock: Arc<dyn Clock> = Arc::new(WatchedClock::new(clock, Arc::clone(&metrics)));
        let (recorded, nonces_until) = store
            .read(|reader| Ok::<_, StoreError>((reader.recorded_time()?, reader.nonces_forgotten_until()?)))
            .await?;
        let timekeeper = Timekeeper::new(recorded, clock.as_ref());
        if timekeeper.behind_records(clock.now()).is_some() {
            metrics.clock_skew();
        }
        // After the recorded time was read: the event would pass for the newest record.
        store.record_accepted_breaks(clock.now()).await?;
        let memory = Memory::read(&store, &config.issuer, timekeeper.forgotten_until(clock.as_ref())).await?;
        metrics.set_audit_events_loaded(memory.events);
        metrics.set_audit_breaks_accepted(memory.accepted_breaks);
        let keys = KeySet::new([key_file.signing_key.public_key().clone()])
            .map_err(|error| StoreError::Internal { cause: error.to_string() })?;
        let issuer =
            Issuer::new(Policy::of(config), key_file.signing_key, keys, Arc::clone(&entropy), Arc::clone(&metrics));
        let time = NonceTime::new(nonces_until, clock.as_ref());
        let nonces = Nonces::new(key_file.nonce_key.expose());
        let challenges = Challenges::new(nonces, time, Arc::clone(&clock), entropy, Arc::clone(&metrics));
        let ledger = Ledger::new(store, Arc::clone(&clock), Arc::new(timekeeper), Arc::clone(&metrics));
        let budgets = Budgets::new(config.session_budget, clock, Arc::clone(&metrics));
        Ok(Parts {
            issuer: Arc::new(issuer),
            ledger: Arc::new(ledger),
            challenges: Arc::new(challenges),
            budgets: Arc::new(budgets),
            metrics,
        }
        .into_services(config, memory))
    }

    /// Time for which this process has served, in whole seconds.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_secs(self.ledger.monotonic().saturating_duration_since(self.started).as_secs())
    }
}

/// The parts that several services share.
struct Parts {
    issuer: Arc<Issuer>,
    ledger: Arc<Ledger>,
    challenges: Arc<Challenges>,
    budgets: Arc<Budgets>,
    metrics: Arc<Metrics>,
}

impl Parts {
    fn into_services(self, config: &Config, memory: Memory) -> Services {
        let Self { issuer, ledger, challenges, budgets, metrics } = self;
        let Memory { revocations, recent, latest, epoch, .. } = memory;
        let verifier = Verifier::builder()
            .issuer(issuer.name())
            .keys(issuer.keys().clone())
            .revocations(revocations.clone())
            .accept_any_audience()
            .clock(Arc::clone(&ledger.clock))
            .build();
        let pools = Arc::new(Pools::new(Capacity::of_this_process(config.tls != TlsConfig::None)));
        let stopping = watch::Sender::new(false);
        let feed = FeedPublisher::new(
            Feed::new(issuer.name(), latest, recent),
            epoch,
            FeedParts {
                revocations: revocations.clone(),
                issuer: Arc::clone(&issuer),
                store: ledger.store.clone(),
                clock: Arc::clone(&ledger.clock),
                pools: Arc::clone(&pools),
                stopping: stopping.subscribe(),
            },
        );
        let active_agents = Arc::new(ActiveAgents::new(Arc::clone(&ledger), Arc::clone(&metrics)));
        Services {
            logins: Arc::new(LoginService {
                issuer: Arc::clone(&issuer),
                ledger: Arc::clone(&ledger),
                budgets: Arc::clone(&budgets),
                limits: LoginLimits::default(),
                admin_secret: config.admin_secret.clone(),
                metrics: Arc::clone(&metrics),
            }),
            apps: Arc::new(AppService {
                issuer: Arc::clone(&issuer),
                ledger: Arc::clone(&ledger),
                feed: feed.clone(),
                active_agents: Arc::clone(&active_agents),
            }),
            launch_tokens: Arc::new(LaunchTokenService {
                issuer: Arc::clone(&issuer),
                ledger: Arc::clone(&ledger),
                budgets: Arc::clone(&budgets),
                metrics: Arc::clone(&metrics),
            }),
            registrations: Arc::new(RegistrationService {
                issuer: Arc::clone(&issuer),
                ledger: Arc::clone(&ledger),
                challenges: Arc::clone(&challenges),
                budgets: Arc::clone(&budgets),
                metrics: Arc::clone(&metrics),
            }),
            tokens: Arc::new(TokenService {
                issuer: Arc::clone(&issuer),
                ledger: Arc::clone(&ledger),
                budgets: Arc::clone(&budgets),
                feed: feed.clone(),
                active_agents: Arc::clone(&active_agents),
            }),
            delegations: Arc::new(DelegationService {
                issuer: Arc::clone(&issuer),
                ledger: Arc::clone(&ledger),
                budgets,
            }),
            revocations: Arc::new(RevocationService {
                ledger: Arc::clone(&ledger),
                feed: feed.clone(),
                active_agents: Arc::clone(&active_agents),
                metrics: Arc::clone(&metrics),
            }),
            housekeeping: Arc::new(Housekeeping {
                ledger: Arc::clone(&ledger),
                revocations,
                challenges: Arc::clone(&challenges),
            }),
            started: ledger.monotonic(),
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
    revocations: RevocationList,
    /// The last entries of the revocation log.
    recent: RecentEntries,
    /// The end of the revocation log.
    latest: u64,
    epoch: String,
    /// Number of audit events.
    events: u64,
    /// Number of accepted breaks of the audit trail.
    accepted_breaks: u64,
}

impl Memory {
    /// Leaves out what has expired for certain until `past`.
    async fn read(store: &Store, issuer: &str, past: UnixTime) -> Result<Self, StoreError> {
        let revocations = RevocationList::authoritative(issuer);
        let (list, issuer) = (revocations.clone(), issuer.to_owned());
        let read = store.read(move |reader| {
            let mut recent = RecentEntries::default();
            reader.visit_revocations(0, past, ALL_ROWS, |row| {
                list.insert(row.level, row.target, row.revoked_at, row.expires_at);
                recent.push(row.cursor, Entry::of_row(&issuer, &row));
            })?;
            let audit = (reader.audit_total()?, reader.accepted_breaks()?);
            Ok::<_, StoreError>((recent, reader.latest_cursor()?, reader.epoch()?, audit))
        });
        let (recent, latest, epoch, (events, accepted_breaks)) = read.await?;
        Ok(Self { revocations, recent, latest, epoch, events, accepted_breaks })
    }
}
