//! The real services, on a clock that tests move, and an offline verifier behind its feed.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use agentwrit_protocol::{
    AppStatus, AppUpdateRequest, Base64, DelegationRequest, Hex, LaunchTokenRequest, Presented, RegistrationRequest,
    RevocationRequest, RevocationTarget,
};
use agentwrit_verify::{
    AgentId, AppId, Clock, Level, PathSegment, ScopeSet, Subject, Thumbprint, UnixTime, VerifyError,
    proof::{PresentedToken, ProofVerifier, Scheme},
    testing::ManualClock,
};
use ed25519_dalek::{Signer, SigningKey};
use tempfile::TempDir;

use super::{
    follower::Follower,
    model::{MAX_TTL, Owner},
};
use crate::{
    config::Config,
    domain::{App, AppName},
    issuer::Issued,
    issuer::nonce::Nonce,
    keys::{Entropy, Secret, SeededEntropy, open_key_files},
    service::{Bearer, Error, Services, apps::NewApp, revocation::Revoked, tests::brokers::shared_keys},
    store::{
        Store, StoreOptions,
        tests::{Home, postgres_server::Schema},
    },
};

/// Address of followers.
const FOLLOWER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// First moment of each history: in the middle of a second.
pub(super) const START: Duration = Duration::from_millis(1_800_000_000_400);

/// Time of the brokers' database, which tests set.
const DATABASE_CLOCK: &str = "CREATE TABLE test_clock (micros bigint); INSERT INTO test_clock VALUES (0); \
     CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS \
     'SELECT timestamptz ''epoch'' + micros * interval ''1 microsecond'' FROM test_clock'; \
     CREATE FUNCTION transaction_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()'";

pub(super) struct World {
    directory: TempDir,
    /// Place of the database that several brokers share.
    schema: Option<Schema>,
    pub(super) clock: ManualClock,
    brokers: Vec<Arc<Services>>,
    pub(super) follower: Follower,
    starts: u64,
    /// Accepts the keys that clients prove to TLS.
    proofs: ProofVerifier,
    calls: Cell<u32>,
}

impl World {
    pub(super) async fn new() -> Self {
        // In memory where there is such a place: the fsyncs of thousands of small transactions prove nothing here.
        let memory = Path::new("/dev/shm");
        let builder = tempfile::Builder::new();
        let directory = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
        let directory = directory.unwrap();
        let clock = ManualClock::new(UnixTime::since_epoch(START));
        Self::begin(directory, None, clock, 1).await
    }

    /// Several brokers on one PostgreSQL database. Each operation goes to one that is chosen at random.
    pub(super) async fn shared(brokers: u64) -> Self {
        let (directory, schema) = (TempDir::new().unwrap(), Schema::create());
        schema.execute(DATABASE_CLOCK);
        let clock = ManualClock::new(UnixTime::since_epoch(START));
        set_clock(&schema, &clock);
        Self::begin(directory, Some(schema), clock, brokers).await
    }

    async fn begin(directory: TempDir, schema: Option<Schema>, clock: ManualClock, brokers: u64) -> Self {
        let mut running = Vec::new();
        for start in 0..brokers {
            running.push(assemble(directory.path(), schema.as_ref(), &clock, start).await);
        }
        let issuer = &running[0].issuer;
        let follower = Follower::new(issuer.name(), &issuer.ring().published, &clock);
        let proofs = ProofVerifier::builder().without_external_url().build();
        let (starts, calls) = (brokers, Cell::new(0));
        Self { directory, schema, clock, brokers: running, follower, starts, proofs, calls }
    }

    /// Returns the number of the broker for the next operation.
    fn next(&self) -> usize {
        self.calls.set(self.calls.get() + 1);
        // The high bits of a multiple: the same numbers in each run of a history.
        let random = self.calls.get().wrapping_mul(0x9e37_79b9) >> 16;
        random as usize % self.brokers.len()
    }

    /// Returns a broker.
    pub(super) fn services(&self) -> &Services {
        &self.brokers[self.next()]
    }

    /// Lets time pass, for brokers and database.
    pub(super) async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        if let Some(schema) = &self.schema {
            set_clock(schema, &self.clock);
        }
        self.settle().await;
    }

    /// Returns the result of an operation when every broker knows of it.
    async fn settled<T>(&self, operation: impl Future<Output = T>) -> T {
        let result = operation.await;
        self.settle().await;
        result
    }

    /// Returns when every broker knows what each of them acknowledged.
    async fn settle(&self) {
        for broker in &self.brokers {
            broker.ledger.confirm().await.unwrap();
        }
    }

    pub(super) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Another process in place of one, on the same store.
    pub(super) async fn restart(&mut self) {
        let number = self.next();
        self.brokers[number].ledger.store.clone().close().await;
        let (directory, schema) = (self.directory.path(), self.schema.as_ref());
        self.brokers[number] = assemble(directory, schema, &self.clock, self.starts).await;
        self.starts += 1;
    }

    /// Runs the broker's housekeeping to its end.
    pub(super) async fn tidy(&self) {
        self.services().housekeeping.delete_expired().await.unwrap();
    }

    pub(super) async fn follow(&mut self) {
        let answer = self.services().feed.since(self.follower.since(), Duration::ZERO, FOLLOWER).await.unwrap();
        self.follower.absorb(&answer.document.text());
    }

    /// A follower that starts now.
    pub(super) async fn newcomer(&self) -> Follower {
        let mut follower =
            Follower::new(self.services().issuer.name(), &self.services().issuer.ring().published, &self.clock);
        let answer = self.services().feed.since(None, Duration::ZERO, FOLLOWER).await.unwrap();
        follower.absorb(&answer.document.text());
        follower
    }

    pub(super) fn verify(&self, token: &str) -> Result<Bearer, VerifyError> {
        let verifier = &self.services().verifier;
        let Some(constraint) = verifier.verify_without_proof(token)?.cnf else {
            return verifier.verify_token(token).map(Bearer::from);
        };
        assert!(
            matches!(verifier.verify_token(token), Err(VerifyError::ProofRequired { .. })),
            "a bound token as bearer"
        );
        let presented = PresentedToken::new(Scheme::Dpop, token, "POST", "/").client_key(constraint.jkt);
        verifier.verify_presented_token(&presented, &self.proofs).map(Bearer::from)
    }

    pub(super) async fn create_app(&self, name: &str, scopes: &ScopeSet) -> (App, Secret) {
        let name = AppName::parse(name).unwrap();
        let new = NewApp { name, scopes: scopes.clone(), token_ttl: Some(60), sender_constrained: false };
        let created = self.services().apps.create(None, new, self.client()).await.unwrap();
        self.settle().await;
        created
    }

    pub(super) async fn set_ceiling(&self, app: &AppId, scopes: ScopeSet) -> Result<App, Error> {
        let change = AppUpdateRequest { scopes: Some(scopes), ..AppUpdateRequest::default() };
        self.settled(self.services().apps.update(None, app.clone(), change, self.client())).await
    }

    pub(super) async fn set_binding(&self, app: &AppId, binds: bool) -> Result<App, Error> {
        let change = AppUpdateRequest { sender_constrained: Some(binds), ..AppUpdateRequest::default() };
        self.settled(self.services().apps.update(None, app.clone(), change, self.client())).await
    }

    pub(super) async fn rotate_secret(&self, app: &AppId, overlap: u64) -> Result<Secret, Error> {
        let rotation = self.services().apps.rotate_secret(None, app.clone(), Some(overlap), self.client());
        self.settled(rotation).await.map(|(_, secret)| secret)
    }

    pub(super) async fn suspend(&self, app: &AppId) -> Result<App, Error> {
        self.settled(self.services().apps.set_status(None, app.clone(), AppStatus::Suspended, self.client())).await
    }

    pub(super) async fn resume(&self, app: &AppId) -> Result<App, Error> {
        self.settled(self.services().apps.set_status(None, app.clone(), AppStatus::Active, self.client())).await
    }

    pub(super) async fn deregister(&self, app: &AppId) {
        self.settled(self.services().apps.set_status(None, app.clone(), AppStatus::Inactive, self.client()))
            .await
            .unwrap();
    }

    pub(super) async fn admin_token(&self) -> Issued {
        self.services().logins.issue_admin_token(self.client()).await.unwrap()
    }

    pub(super) async fn app_token(&self, app: &App, secret: &Secret) -> Result<Issued, Error> {
        let secret = Secret::new(secret.expose().to_owned());
        self.services().logins.authenticate_app(self.client(), app.client_id.clone(), secret).await
    }

    pub(super) async fn launch_token(
        &self,
        owner: &Owner,
        bearer: Option<Bearer>,
        request: LaunchRequest,
    ) -> Result<Secret, Error> {
        let creator = match owner {
            Owner::Operator => Subject::Admin,
            Owner::App { app_id, .. } => Subject::App(app_id.clone()),
        };
        let policy = LaunchTokenRequest {
            agent_name: "a model".into(),
            allowed_scope: request.scopes,
            max_ttl: Some(request.max_ttl),
            single_use: request.single_use,
            ttl: Some(request.ttl),
            orch_id: None,
            task_id: None,
            sender_constrained: request.binds,
        };
        Ok(self.services().launch_tokens.issue(creator, bearer, policy, self.client()).await?.1)
    }

    pub(super) async fn register(
        &self,
        launch_token: &Secret,
        scopes: &ScopeSet,
        task: &str,
    ) -> Result<(AgentId, Issued), Error> {
        self.register_with(launch_token, &self.nonce(), scopes, task).await
    }

    /// Registers an agent, which may ask for bound tokens. Returns the thumbprint of its key too.
    pub(super) async fn register_key(
        &self,
        launch_token: &Secret,
        scopes: &ScopeSet,
        task: &str,
        binds: bool,
    ) -> Result<(AgentId, Thumbprint, Issued), Error> {
        let registration = self.registration(launch_token, &self.nonce(), scopes, task);
        let Presented::WellFormed(Base64(key)) = registration.public_key else { unreachable!() };
        let registration = RegistrationRequest { sender_constrained: binds, ..registration };
        let registered = self.services().registrations.register(registration, None, self.client());
        let (id, issued) = self.settled(registered).await?;
        Ok((id, Thumbprint::of_ed25519(&key), issued))
    }

    /// As `GET /v1/challenge` does.
    pub(super) fn nonce(&self) -> Nonce {
        self.services().challenges.issue()
    }

    pub(super) async fn register_with(
        &self,
        launch_token: &Secret,
        nonce: &Nonce,
        scopes: &ScopeSet,
        task: &str,
    ) -> Result<(AgentId, Issued), Error> {
        let registration = self.registration(launch_token, nonce, scopes, task);
        self.settled(self.services().registrations.register(registration, None, self.client())).await
    }

    fn registration(&self, launch_token: &Secret, nonce: &Nonce, scopes: &ScopeSet, task: &str) -> RegistrationRequest {
        let key = SigningKey::from_bytes(&self.services().issuer.random());
        RegistrationRequest {
            launch_token: Some(launch_token.expose().into()),
            attestation: None,
            nonce: Presented::WellFormed(Hex(*nonce)),
            public_key: Presented::WellFormed(Base64(key.verifying_key().to_bytes())),
            signature: Presented::WellFormed(Base64(key.sign(nonce).to_bytes())),
            orch_id: Some(PathSegment::parse("orch").unwrap()),
            task_id: Some(PathSegment::parse(task).unwrap()),
            requested_scope: scopes.clone(),
            sender_constrained: false,
        }
    }

    pub(super) async fn renew(&self, bearer: Bearer) -> Result<Issued, Error> {
        self.settled(self.services().tokens.renew(bearer, self.client())).await
    }

    pub(super) async fn release(&self, bearer: Bearer) -> Result<(), Error> {
        self.settled(self.services().tokens.release(bearer, self.client())).await
    }

    pub(super) async fn delegate(&self, bearer: Bearer, request: DelegationRequest) -> Result<Issued, Error> {
        Ok(self.settled(self.services().delegations.delegate(bearer, request, self.client())).await?.0)
    }

    pub(super) async fn revoke(&self, level: Level, target: &str) -> Revoked {
        let request = RevocationRequest {
            level,
            target: RevocationTarget::parse(level, target),
            text: target.to_owned(),
            reason: None,
            wait: None,
            dry_run: false,
        };
        self.settled(self.services().revocations.revoke(Subject::Admin, None, request, self.client()))
            .await
            .unwrap()
            .ended
    }

    /// Each request from another address: limits are not what is tested here.
    fn client(&self) -> IpAddr {
        self.calls.set(self.calls.get() + 1);
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + self.calls.get()))
    }
}

/// Members of a request for a launch token.
#[derive(Clone, Debug)]
pub(super) struct LaunchRequest {
    pub(super) scopes: ScopeSet,
    pub(super) max_ttl: u64,
    pub(super) single_use: bool,
    pub(super) ttl: u64,
    pub(super) binds: bool,
}

async fn assemble(directory: &Path, schema: Option<&Schema>, clock: &ManualClock, start: u64) -> Arc<Services> {
    let mut config = Config::for_development(directory, "a secret for the model").unwrap();
    config.session_budget = None;
    config.max_ttl = Some(MAX_TTL);
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(start));
    let options = StoreOptions { clock: Arc::new(clock.clone()), ..StoreOptions::default() };
    let (store, keys) = if let Some(schema) = schema {
        let store = schema.open(options);
        let keys = shared_keys(&store, &config.issuer, &entropy).await;
        (store, keys)
    } else {
        let store = Store::open(&config.db_path, options).unwrap();
        let keys = open_key_files(&store, &config.signing_key_path, &entropy).await.unwrap();
        (store, keys)
    };
    let services = Services::build(&config, store, keys, entropy).await.unwrap();
    Arc::new(services)
}

/// Sets the time of the database to that of the brokers.
fn set_clock(schema: &Schema, clock: &ManualClock) {
    let micros = clock.now().elapsed_since_epoch().as_micros();
    schema.execute(&format!("UPDATE test_clock SET micros = {micros}"));
}
