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
    AgentId, AppId, Claims, Clock, Level, PathSegment, ScopeSet, Subject, TokenId, UnixTime, VerifyError,
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
    service::{Error, Services, apps::NewApp, revocation::Revoked},
    store::{Store, StoreOptions},
};

/// Address of followers.
const FOLLOWER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// First moment of each history: in the middle of a second.
pub(super) const START: Duration = Duration::from_millis(1_800_000_000_400);
pub(super) struct World {
    directory: TempDir,
    pub(super) clock: ManualClock,
    pub(super) services: Arc<Services>,
    pub(super) follower: Follower,
    starts: u64,
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
        let services = assemble(directory.path(), &clock, 0).await;
        let follower = Follower::new(services.issuer.name(), &services.issuer.ring().published, &clock);
        Self { directory, clock, services, follower, starts: 1, calls: Cell::new(0) }
    }

    pub(super) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Another process on the same files.
    pub(super) async fn restart(&mut self) {
        self.services.ledger.store.clone().close().await;
        self.services = assemble(self.directory.path(), &self.clock, self.starts).await;
        self.starts += 1;
    }

    /// Runs the broker's housekeeping to its end.
    pub(super) async fn tidy(&self) {
        self.services.housekeeping.delete_expired().await.unwrap();
    }

    pub(super) async fn follow(&mut self) {
        let answer = self.services.feed.since(self.follower.since(), Duration::ZERO, FOLLOWER).await.unwrap();
        self.follower.absorb(&answer.document.text());
    }

    /// A follower that starts now.
    pub(super) async fn newcomer(&self) -> Follower {
        let mut follower =
            Follower::new(self.services.issuer.name(), &self.services.issuer.ring().published, &self.clock);
        let answer = self.services.feed.since(None, Duration::ZERO, FOLLOWER).await.unwrap();
        follower.absorb(&answer.document.text());
        follower
    }

    pub(super) fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        self.services.verifier.verify(token)
    }

    pub(super) async fn create_app(&self, name: &str, scopes: &ScopeSet) -> (App, Secret) {
        let name = AppName::parse(name).unwrap();
        let new = NewApp { name, scopes: scopes.clone(), token_ttl: Some(60) };
        self.services.apps.create(None, new, self.client()).await.unwrap()
    }

    pub(super) async fn set_ceiling(&self, app: &AppId, scopes: ScopeSet) -> Result<App, Error> {
        let change = AppUpdateRequest { scopes: Some(scopes), token_ttl: None };
        self.services.apps.update(None, app.clone(), change, self.client()).await
    }

    pub(super) async fn suspend(&self, app: &AppId) -> Result<App, Error> {
        self.services.apps.set_status(None, app.clone(), AppStatus::Suspended, self.client()).await
    }

    pub(super) async fn resume(&self, app: &AppId) -> Result<App, Error> {
        self.services.apps.set_status(None, app.clone(), AppStatus::Active, self.client()).await
    }

    pub(super) async fn deregister(&self, app: &AppId) {
        self.services.apps.set_status(None, app.clone(), AppStatus::Inactive, self.client()).await.unwrap();
    }

    pub(super) async fn admin_token(&self) -> Issued {
        self.services.logins.issue_admin_token(self.client()).await.unwrap()
    }

    pub(super) async fn app_token(&self, app: &App, secret: &Secret) -> Result<Issued, Error> {
        let secret = Secret::new(secret.expose().to_owned());
        self.services.logins.authenticate_app(self.client(), app.client_id.clone(), secret).await
    }

    pub(super) async fn launch_token(
        &self,
        owner: &Owner,
        bearer: Option<TokenId>,
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
        };
        Ok(self.services.launch_tokens.issue(creator, bearer, policy, self.client()).await?.1)
    }

    pub(super) async fn register(
        &self,
        launch_token: &Secret,
        scopes: &ScopeSet,
        task: &str,
    ) -> Result<(AgentId, Issued), Error> {
        self.register_with(launch_token, &self.nonce(), scopes, task).await
    }

    /// As `GET /v1/challenge` does.
    pub(super) fn nonce(&self) -> Nonce {
        self.services.challenges.issue()
    }

    pub(super) async fn register_with(
        &self,
        launch_token: &Secret,
        nonce: &Nonce,
        scopes: &ScopeSet,
        task: &str,
    ) -> Result<(AgentId, Issued), Error> {
        let key = SigningKey::from_bytes(&self.services.issuer.random());
        let registration = RegistrationRequest {
            launch_token: launch_token.expose().into(),
            nonce: Presented::WellFormed(Hex(*nonce)),
            public_key: Presented::WellFormed(Base64(key.verifying_key().to_bytes())),
            signature: Presented::WellFormed(Base64(key.sign(nonce).to_bytes())),
            orch_id: PathSegment::parse("orch").unwrap(),
            task_id: PathSegment::parse(task).unwrap(),
            requested_scope: scopes.clone(),
        };
        self.services.registrations.register(registration, self.client()).await
    }

    pub(super) async fn renew(&self, claims: Arc<Claims>) -> Result<Issued, Error> {
        self.services.tokens.renew(claims, self.client()).await
    }

    pub(super) async fn release(&self, claims: Arc<Claims>) -> Result<(), Error> {
        self.services.tokens.release(claims, self.client()).await
    }

    pub(super) async fn delegate(&self, claims: Arc<Claims>, request: DelegationRequest) -> Result<Issued, Error> {
        Ok(self.services.delegations.delegate(claims, request, self.client()).await?.0)
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
        self.services.revocations.revoke(Subject::Admin, None, request, self.client()).await.unwrap().ended
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
}

async fn assemble(directory: &Path, clock: &ManualClock, start: u64) -> Arc<Services> {
    let mut config = Config::for_development(directory, "a secret for the model").unwrap();
    config.session_budget = None;
    config.max_ttl = Some(MAX_TTL);
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(start));
    let store =
        Store::open(&config.db_path, StoreOptions { clock: Arc::new(clock.clone()), ..StoreOptions::default() })
            .unwrap();
    let keys = open_key_files(&store, &config.signing_key_path, &entropy).await.unwrap();
    let services = Services::build(&config, store, keys, entropy).await.unwrap();
    Arc::new(services)
}
