//! The authority: what every operation of the broker has at hand.
//!
//! 1. What an operation acknowledges is durable: state, token record and audit event are one transaction of the
//!    [`Store`], and a token is signed after the commit.
//! 2. The time of an operation is read inside its transaction. One writer runs them one after another, so that the
//!    order of times is the order of commits.
//! 3. What memory mirrors (revocations) changes after the commit and before the answer, whether or not the client still
//!    waits for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_verify::{
    AgentId, AppId, ClaimSet, Claims, Clock, DelegationRecord, KeySet, PathSegment, RevocationList, ScopeSet, Subject,
    TokenId, TrustDomain, UnixTime, Verifier, VerifyError,
    issue::{PayloadWriter, SigningKey},
};
use data_encoding::HEXLOWER;

use tokio::sync::watch;

use crate::{
    active_agents::ActiveAgents,
    audit::NewEvent,
    config::{Config, TlsConfig},
    denials::Denials,
    domain::IssuedToken,
    entropy::{Entropy, random},
    feed::{Entry, Feed, RecentEntries},
    limits::{budgets::Budgets, capacity::Capacity, logins::LoginLimits, pools::Pools},
    nonce::Nonces,
    secret::AdminSecret,
    service::{Error, renewal::live_token},
    signing::KeyFile,
    store::{Store, StoreError, Tx},
    telemetry::metrics::Metrics,
    timekeeping::{NonceTime, Timekeeper, WatchedClock, issue_time},
};

/// Everything that the operations of the broker share.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) policy: Policy,
    pub(crate) admin_secret: AdminSecret,
    pub(crate) nonces: Nonces,
    pub(crate) nonce_time: NonceTime,
    pub(crate) timekeeper: Arc<Timekeeper>,
    pub(crate) keys: KeySet,
    pub(crate) verifier: Verifier,
    pub(crate) revocations: RevocationList,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: LoginLimits,
    pub(crate) budgets: Budgets,
    pub(crate) pools: Pools,
    pub(crate) denials: Denials,
    pub(crate) feed: Arc<Feed>,
    /// Identifies the revocation log.
    pub(crate) epoch: String,
    /// Turns true when the broker stops: what waits should end.
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) started: Instant,
    pub(crate) active_agents: Arc<ActiveAgents>,
    signing_key: SigningKey,
}

/// What the operator decided about tokens. Lifetimes are in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) issuer: String,
    pub(crate) audience: Option<String>,
    pub(crate) default_ttl: u64,
    pub(crate) max_ttl: Option<u64>,
    pub(crate) admin_token_ttl: u64,
    pub(crate) app_token_ttl: u64,
}

impl Policy {
    /// No lifetime beyond the operator's ceiling.
    pub(crate) fn clamp(&self, ttl: u64) -> u64 {
        self.max_ttl.map_or(ttl, |ceiling| ttl.min(ceiling))
    }
}

/// What a new token is to say.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) subject: Subject,
    pub(crate) scope: ScopeSet,
    pub(crate) ttl: u64,
    pub(crate) app_id: Option<AppId>,
    pub(crate) task_id: Option<PathSegment>,
    pub(crate) orch_id: Option<PathSegment>,
}

/// A token that may leave the broker: its record is durable.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) expires_in: u64,
}

impl Authority {
    /// Brings the parts together; what was revoked before the start stays revoked.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the revocations can't be read.
    pub(crate) async fn assemble(
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
        let past = timekeeper.forgotten_until(clock.as_ref());
        let Memory { revocations, recent, latest, epoch, events, accepted_breaks } =
            Memory::of(&store, &config.issuer, past).await?;
        metrics.set_audit_events_loaded(events);
        metrics.set_audit_breaks_accepted(accepted_breaks);
        let signing_key = key_file.signing_key;
        let keys = KeySet::new([signing_key.public_key().clone()])
            .map_err(|error| StoreError::Internal { cause: error.to_string() })?;
        let verifier = Verifier::builder()
            .issuer(&config.issuer)
            .keys(keys.clone())
            .revocations(revocations.clone())
            .accept_any_audience()
            .clock(Arc::clone(&clock))
            .build();
        Ok(Self {
            policy: Policy {
                trust_domain: config.trust_domain.clone(),
                issuer: config.issuer.clone(),
                audience: config.audience.clone(),
                default_ttl: config.default_ttl,
                max_ttl: config.max_ttl,
                admin_token_ttl: config.admin_token_ttl,
                app_token_ttl: config.app_token_ttl,
            },
            admin_secret: config.admin_secret.clone(),
            nonces: Nonces::new(key_file.nonce_key.expose()),
            nonce_time: NonceTime::new(nonces_until, clock.as_ref()),
            timekeeper: Arc::new(timekeeper),
            started: clock.monotonic(),
            active_agents: Arc::default(),
            denials: Denials::default(),
            feed: Arc::new(Feed::new(&config.issuer, latest, recent)),
            epoch,
            stopping: watch::Sender::new(false),
            limits: LoginLimits::default(),
            budgets: Budgets::new(config.session_budget),
            pools: Pools::new(Capacity::of_this_process(config.tls != TlsConfig::None)),
            store,
            clock,
            entropy,
            keys,
            verifier,
            revocations,
            metrics,
            signing_key,
        })
    }

    /// How long this process has served, in whole seconds.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_secs(self.clock.monotonic().saturating_duration_since(self.started).as_secs())
    }

    /// Judges a token with the verifier that resource servers use.
    pub(crate) fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        self.verifier.verify(token)
    }

    /// When a token for a subject or task is issued, so that no not-before mark kills it: within a second, or the few
    /// that the clock was set back.
    pub(crate) fn issue_time(&self, tx: &Tx<'_>, target: &str) -> Result<UnixTime, Error> {
        let latest_mark = tx.latest_mark(target)?;
        issue_time(self.clock.now(), latest_mark).map_err(|behind| Error::ClockBehind { by: behind.by })
    }

    /// The latest moment whose dead need not be known any more.
    pub(crate) fn forgotten_until(&self) -> UnixTime {
        self.timekeeper.forgotten_until(self.clock.as_ref())
    }

    /// Claims of a first token, which starts a session.
    pub(crate) fn draft(&self, grant: Grant, now: UnixTime) -> Draft {
        let jti = TokenId::from_bytes(random(self.entropy.as_ref()));
        let iat = now.seconds();
        let claims = ClaimSet {
            iss: self.policy.issuer.clone(),
            sub: grant.subject,
            aud: self.policy.audience.clone().into_iter().collect(),
            exp: iat.saturating_add(grant.ttl),
            nbf: iat,
            iat,
            jti,
            scope: grant.scope,
            task_id: grant.task_id,
            orch_id: grant.orch_id,
            sid: jti,
            delegation_chain: Vec::new(),
            chain_hash: None,
        };
        Draft { claims, app_id: grant.app_id }
    }

    /// Signs what a committed transaction recorded.
    pub(crate) fn sign(&self, draft: &Draft) -> Issued {
        self.metrics.token_issued(&draft.claims.scope);
        let expires_in = draft.claims.exp.saturating_sub(draft.claims.iat);
        Issued { access_token: self.signing_key.sign_token(&draft.claims), expires_in }
    }

    /// Signs a hop of a delegation chain.
    pub(crate) fn sign_record(&self, chain: &[DelegationRecord], record: DelegationRecord) -> DelegationRecord {
        let signed = record.signed_bytes(&self.policy.issuer, chain.len(), chain.last());
        DelegationRecord { signature: HEXLOWER.encode(&self.signing_key.sign(&signed)), ..record }
    }

    /// Signs a document that is no token, and is written piece by piece.
    pub(crate) fn write_document<E>(
        &self,
        media_type: &str,
        length: usize,
        payload: impl FnOnce(&mut PayloadWriter<'_>) -> Result<(), E>,
    ) -> Result<String, E> {
        self.signing_key.write_document(media_type, length, payload)
    }

    /// How long the token would be, in bytes. Ids and times have a fixed length, so any draft of a grant tells.
    pub(crate) fn length_of(&self, draft: &Draft) -> usize {
        self.signing_key.token_length(&draft.claims)
    }

    /// Names a new agent.
    pub(crate) fn new_agent_id(&self, orch_id: &PathSegment, task_id: &PathSegment) -> AgentId {
        AgentId::new(&self.policy.trust_domain, orch_id, task_id, random(self.entropy.as_ref()))
    }

    /// Runs an operation in one transaction of the store; see the [module](self).
    pub(crate) async fn transact<T: Send + 'static>(
        self: &Arc<Self>,
        operation: impl FnOnce(&Arc<Self>, &mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (authority, started) = (Arc::clone(self), self.clock.monotonic());
        let outcome = self.store.transact(move |tx| operation(&authority, tx)).await;
        match &outcome {
            Ok(_) => self.metrics.audit_write(self.clock.monotonic().saturating_duration_since(started)),
            Err(Error::Store(_)) => self.metrics.db_error("write"),
            Err(_) => {}
        }
        outcome
    }

    /// The same on behalf of a token, which must still be alive when its turn comes: a revocation that was acknowledged
    /// while the request was on its way counts. Without a token the broker itself acts.
    pub(crate) async fn transact_for<T: Send + 'static>(
        self: &Arc<Self>,
        bearer: Option<TokenId>,
        operation: impl FnOnce(&Arc<Self>, &mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.transact(move |authority, tx| {
            if let Some(bearer) = &bearer {
                live_token(tx, bearer, authority.clock.now())?.ok_or(Error::TokenEnded)?;
            }
            operation(authority, tx)
        })
        .await
    }

    /// Appends to the audit trail, in the transaction that the event speaks of.
    pub(crate) fn record(&self, tx: &mut Tx<'_>, event: NewEvent) -> Result<(), StoreError> {
        let (event_type, at, metrics) = (event.event_type(), event.at, Arc::clone(&self.metrics));
        let timekeeper = Arc::clone(&self.timekeeper);
        tx.append(event)?;
        tx.after_commit(move || {
            metrics.audit_event(event_type.as_str());
            timekeeper.recorded(at);
        });
        Ok(())
    }

    /// Notes a refusal for the audit trail. Repeated ones fold, so that strangers can't flood it.
    pub(crate) fn deny(&self, event: NewEvent) {
        self.denials.add(event, self.clock.monotonic());
    }
}

/// No limit on how many rows are read.
pub(crate) const ALL_ROWS: u64 = i64::MAX.unsigned_abs();

/// What a start takes from the store into memory.
struct Memory {
    revocations: RevocationList,
    /// The last entries of the revocation log.
    recent: RecentEntries,
    /// The end of the revocation log.
    latest: u64,
    epoch: String,
    /// How many audit events there are.
    events: u64,
    /// How many breaks of the audit trail were accepted.
    accepted_breaks: u64,
}

impl Memory {
    /// Leaves out what has expired for certain until `past`.
    async fn of(store: &Store, issuer: &str, past: UnixTime) -> Result<Self, StoreError> {
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

/// A token whose record is being written.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) claims: ClaimSet,
    app_id: Option<AppId>,
}

impl Draft {
    /// A token on behalf of an app's ceiling, if it has one.
    pub(crate) fn of(claims: ClaimSet, app_id: Option<AppId>) -> Self {
        Self { claims, app_id }
    }

    /// What the store keeps of it.
    pub(crate) fn as_record(&self) -> IssuedToken {
        let claims = &self.claims;
        let issued_at = UnixTime::from_seconds(claims.iat);
        IssuedToken {
            jti: claims.jti,
            sid: claims.sid,
            subject: claims.sub.clone(),
            app_id: self.app_id.clone(),
            task_id: claims.task_id.clone(),
            root: claims.delegation_chain.first().map(|record| record.agent.clone()),
            delegators: claims.delegation_chain.iter().map(|record| record.agent.clone()).collect(),
            delegator_sids: claims.delegation_chain.iter().map(|record| record.sid).collect(),
            issued_at,
            expires_at: UnixTime::from_seconds(claims.exp),
            original_ttl: claims.exp.saturating_sub(claims.iat),
            session_started_at: issued_at,
        }
    }
}
