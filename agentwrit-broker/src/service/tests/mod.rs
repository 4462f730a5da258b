//! Operations at exact moments: the real services on a clock that stands still until a test moves it.

mod apps;
mod binding;
pub(in crate::service) mod brokers;
mod budgets;
mod clock;
mod confirmation;
mod ended_enrolments;
mod failed_commits;
mod feed;
mod key_faults;
mod key_operations;
mod keys;
mod lifetime;
mod network_model;
mod noise;
mod pods;
mod registration;
mod reviews;
mod revocation;
mod shared_responses;
mod two_databases;
mod unknown_instances;
pub(crate) mod verifiers;
mod withdrawn_bearer;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use agentwrit_protocol::{
    Base64, DelegationRequest, Hex, LaunchTokenRequest, Presented, RegistrationRequest, RevocationRequest,
    RevocationTarget,
};
use agentwrit_verify::{
    AgentId, Claims, Level, PathSegment, ScopeSet, Subject, UnixTime, VerifyError, testing::ManualClock,
};
use ed25519_dalek::{Signer, SigningKey};
use tempfile::TempDir;

use super::{
    Bearer, Error, Services,
    apps::NewApp,
    revocation::{RevocationOutcome, Revoked},
};
use crate::{
    audit::Event,
    config::Config,
    domain::{App, AppName},
    issuer::Issued,
    keys::{Entropy, Secret, SeededEntropy, open_key_files},
    limits::budgets::SessionBudget,
    store::{Store, StoreOptions},
};

pub(in crate::service) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// In the middle of a second.
const START: Duration = Duration::from_millis(1_800_000_000_400);
pub(in crate::service) const SCOPE: &str = "read:data:x";
const ADMIN_SECRET: &str = "a secret for the tests";

pub(in crate::service) struct TestServices {
    pub(in crate::service) clock: ManualClock,
    pub(in crate::service) services: Arc<Services>,
    config: Config,
    starts: u64,
    directory: TempDir,
}

#[derive(Debug)]
struct Agent {
    id: AgentId,
    token: String,
}

impl TestServices {
    pub(in crate::service) async fn new() -> Self {
        Self::with_max_ttl(Some(86_400)).await
    }

    async fn with_max_ttl(max_ttl: Option<u64>) -> Self {
        Self::with(|config| config.max_ttl = max_ttl).await
    }

    async fn with_budget(budget: Option<SessionBudget>) -> Self {
        Self::with(|config| config.session_budget = budget).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let clock = ManualClock::new(UnixTime::since_epoch(START));
        Self::open(TempDir::new().unwrap(), clock, change).await
    }

    async fn open(directory: TempDir, clock: ManualClock, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::for_development(directory.path(), ADMIN_SECRET).unwrap();
        change(&mut config);
        let services = assemble(&config, &clock, 7).await;
        Self { clock, services, config, starts: 8, directory }
    }

    /// Stops as the program does, and starts with the clock at another time.
    async fn restart_at(&mut self, wall: UnixTime) {
        self.services.ledger.record_time_now().await.unwrap();
        self.restart_without_recording_at(wall).await;
    }

    async fn restart_without_recording_at(&mut self, wall: UnixTime) {
        self.services.ledger.store.clone().close().await;
        self.clock.set(wall);
        self.services = assemble(&self.config, &self.clock, self.starts).await;
        self.starts += 1;
    }

    /// A new agent of the operator's, for [`SCOPE`].
    async fn enrol(&self, task: &str, ttl: u64) -> Agent {
        self.try_enrol(task, ttl).await.unwrap()
    }

    async fn try_enrol(&self, task: &str, ttl: u64) -> Result<Agent, Error> {
        let launch_token = self.launch_token(task, ttl, true).await;
        self.register(&launch_token, task).await
    }

    async fn launch_token(&self, task: &str, ttl: u64, single_use: bool) -> Secret {
        let policy = LaunchTokenRequest { agent_name: task.into(), max_ttl: Some(ttl), ..launch_policy(single_use) };
        self.services.launch_tokens.issue(Subject::Admin, None, policy, CLIENT).await.unwrap().1
    }

    /// Registers an app whose ceiling is [`SCOPE`].
    pub(in crate::service) async fn create_app(&self) -> (App, Secret) {
        let (name, scopes) = (AppName::parse("an-app").unwrap(), ScopeSet::parse([SCOPE]).unwrap());
        self.services
            .apps
            .create(None, NewApp { name, scopes, token_ttl: None, sender_constrained: false }, CLIENT)
            .await
            .unwrap()
    }

    /// Issues a launch token on behalf of `creator`.
    async fn issue_launch_token(&self, creator: Subject, single_use: bool) -> Result<Secret, Error> {
        let issued = self.services.launch_tokens.issue(creator, None, launch_policy(single_use), CLIENT).await?;
        Ok(issued.1)
    }

    fn registration(&self, launch_token: &Secret, task: &str) -> RegistrationRequest {
        let nonce = self.services.challenges.issue();
        let key = SigningKey::from_bytes(&self.services.issuer.random());
        RegistrationRequest {
            launch_token: Some(launch_token.expose().into()),
            attestation: None,
            nonce: Presented::WellFormed(Hex(nonce)),
            public_key: Presented::WellFormed(Base64(key.verifying_key().to_bytes())),
            signature: Presented::WellFormed(Base64(key.sign(&nonce).to_bytes())),
            orch_id: Some(PathSegment::parse("orch").unwrap()),
            task_id: Some(PathSegment::parse(task).unwrap()),
            requested_scope: ScopeSet::parse([SCOPE]).unwrap(),
            sender_constrained: false,
        }
    }

    async fn register(&self, launch_token: &Secret, task: &str) -> Result<Agent, Error> {
        let (id, issued) =
            self.services.registrations.register(self.registration(launch_token, task), None, CLIENT).await?;
        Ok(Agent { id, token: issued.access_token })
    }

    fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        self.services.verifier.verify(token)
    }

    fn bearer(&self, token: &str) -> Bearer {
        self.services.verifier.verify_token(token).unwrap().into()
    }

    /// The bearer of a new token of the operator.
    async fn operator(&self) -> Bearer {
        self.bearer(&self.services.logins.issue_admin_token(CLIENT).await.unwrap().access_token)
    }

    async fn renew(&self, bearer: &Bearer) -> Result<Issued, Error> {
        self.services.tokens.renew(bearer.clone(), CLIENT).await
    }

    async fn delegate(&self, bearer: &Bearer, to: &Agent, ttl: u64) -> Result<Issued, Error> {
        let scope = ScopeSet::parse([SCOPE]).unwrap();
        let delegation = DelegationRequest { delegate_to: to.id.clone(), scope, ttl: Some(ttl) };
        Ok(self.services.delegations.delegate(bearer.clone(), delegation, CLIENT).await?.0)
    }

    async fn revoke(&self, level: Level, target: impl ToString) -> Revoked {
        self.request_revocation(level, target, false).await.ended
    }

    async fn request_revocation(&self, level: Level, target: impl ToString, dry_run: bool) -> RevocationOutcome {
        let text = target.to_string();
        let target = RevocationTarget::parse(level, &text);
        let request = RevocationRequest { level, target, text, reason: None, wait: None, dry_run };
        self.services.revocations.revoke(Subject::Admin, None, request, CLIENT).await.unwrap()
    }

    /// Moves to the very beginning of the second in which a token expires.
    fn expire(&self, claims: &Claims) {
        self.clock.set(claims.expires_at());
    }

    pub(in crate::service) async fn trail(&self) -> Vec<Event> {
        self.services.ledger.store.read(|reader| Ok::<_, Error>(reader.audit_events_after(0, 10_000)?)).await.unwrap()
    }
}

fn launch_policy(single_use: bool) -> LaunchTokenRequest {
    LaunchTokenRequest {
        agent_name: "a test".into(),
        allowed_scope: ScopeSet::parse([SCOPE]).unwrap(),
        max_ttl: None,
        single_use,
        ttl: Some(30),
        orch_id: None,
        task_id: None,
        sender_constrained: false,
    }
}

async fn assemble(config: &Config, clock: &ManualClock, seed: u64) -> Arc<Services> {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed));
    let store =
        Store::open(&config.db_path, StoreOptions { clock: Arc::new(clock.clone()), ..StoreOptions::default() })
            .unwrap();
    let keys = open_key_files(&store, &config.signing_key_path, &entropy).await.unwrap();
    Arc::new(Services::build(config, store, keys, entropy).await.unwrap())
}
