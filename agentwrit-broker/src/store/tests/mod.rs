//! One suite of the store as a whole, on SQLite (real files) and on PostgreSQL (a real server).

#![expect(clippy::duplicate_mod, reason = "the suite runs on two stores")]

mod migrate;
mod on_postgres;
pub(in crate::store) mod on_sqlite;
pub(crate) mod postgres_server;

use std::path::PathBuf;

use agentwrit_protocol::{AttestationKind, ClaimMatch, ClaimValue, JwkSetText};
use agentwrit_verify::{
    AgentId, AppId, FeedCursor, PathSegment, ScopeSet, Subject, TokenId, UnixTime,
    issue::SigningKey,
    report::{InstanceId, KeySetDigest, ReportedBound, VerifierName},
};
use tempfile::TempDir;

use super::{AgentFilter, Reader, Store, StoreError, StoreOptions, Tx, Wants};
use crate::{
    audit::{EventType, NewEvent},
    domain::{
        App, AppName, AppStatus, AttestedIdentity, ClaimName, Digest, Enrolment, IdTemplate, InstanceState,
        IssuedToken, LaunchToken, LaunchTokenId, RegisteredAgent, RegisteredWith, RuleKeys, TrustRule, TrustRuleId,
    },
};

/// A place of a store.
pub(crate) trait Home {
    fn create() -> Self;

    fn open(&self, options: StoreOptions) -> Store;
}

impl Home for TempDir {
    fn create() -> Self {
        Self::new().unwrap()
    }

    fn open(&self, options: StoreOptions) -> Store {
        Store::open(&self.path().join("data.db"), options).unwrap()
    }
}

/// A store in a place of its own.
pub(in crate::store) struct FixtureOn<H> {
    pub(in crate::store) directory: H,
    pub(in crate::store) store: Store,
}

impl FixtureOn<TempDir> {
    pub(in crate::store) fn path(&self) -> PathBuf {
        self.directory.path().join("data.db")
    }
}

impl<H: Home> FixtureOn<H> {
    pub(in crate::store) fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    pub(in crate::store) fn with(options: StoreOptions) -> Self {
        let directory = H::create();
        let store = directory.open(options);
        Self { directory, store }
    }

    pub(in crate::store) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> T {
        self.store.transact(job).await.unwrap()
    }

    pub(in crate::store) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.store.read(job).await.unwrap()
    }

    pub(in crate::store) async fn reopen(self) -> Self {
        self.store.close().await;
        let store = self.directory.open(StoreOptions::default());
        Self { directory: self.directory, store }
    }
}

pub(in crate::store) fn at(seconds: u64) -> UnixTime {
    // In the past: a PostgreSQL server deletes no revocation before its time.
    UnixTime::from_seconds(1_735_718_400 + seconds)
}

pub(in crate::store) fn scopes() -> ScopeSet {
    ScopeSet::parse(["read:data:*", "write:data:x"]).unwrap()
}

pub(in crate::store) fn segment(text: &str) -> PathSegment {
    PathSegment::parse(text).unwrap()
}

pub(in crate::store) fn app_id(name: &str) -> AppId {
    AppId::new(name, [1, 2, 3]).unwrap()
}

/// Agents of the app `web`.
pub(in crate::store) fn of_web() -> AgentFilter {
    AgentFilter { app_id: Some(app_id("web")), ..AgentFilter::default() }
}

pub(in crate::store) fn agent_id(number: u64) -> AgentId {
    AgentId::parse(&format!("spiffe://agentwrit.local/agent/orch/task-{number}/{number:016x}")).unwrap()
}

pub(in crate::store) fn app(name: &str) -> App {
    App {
        app_id: app_id(name),
        name: AppName::parse(name).unwrap(),
        client_id: format!("{name}-client"),
        secret_digest: Digest::of(name.as_bytes()),
        former_secret: None,
        scopes: scopes(),
        token_ttl: 1800,
        sender_constrained: name == "web",
        status: AppStatus::Active,
        created_at: at(0),
        updated_at: at(0),
        deregistered_at: None,
    }
}

pub(in crate::store) fn enrolment(name: &str, seed: u8, added_at: UnixTime) -> Enrolment {
    let key = SigningKey::from_seed(&[seed; 32]).unwrap();
    Enrolment::new(VerifierName::parse(name).unwrap(), key.public_key().clone(), Some(60), added_at)
}

pub(in crate::store) fn instance(verifier: &str, number: u8) -> InstanceState {
    InstanceState {
        verifier: VerifierName::parse(verifier).unwrap(),
        instance: InstanceId::from_bytes([number; 16]),
        sequence: 7,
        applied: FeedCursor::new("an-epoch", 8).unwrap(),
        bound: ReportedBound::Seconds(30),
        key_set: Some(KeySetDigest::parse(&"A".repeat(22)).unwrap()),
        drained: Some(6),
        leaving: false,
        heard_at: at(9),
        signed: format!("report-{number}").into(),
        public_key: [number; 32],
        is_ahead: false,
    }
}

pub(in crate::store) fn launch_token(number: u64) -> LaunchToken {
    LaunchToken {
        id: LaunchTokenId::from_bytes(number.to_be_bytes()),
        digest: Digest::of(&number.to_be_bytes()),
        agent_name: "agent".to_owned(),
        allowed_scope: scopes(),
        max_ttl: 300,
        single_use: true,
        sender_constrained: number.is_multiple_of(2),
        created_at: at(0),
        expires_at: at(30),
        created_by: Subject::Admin,
        app_id: None,
        orch_id: Some(segment("orch")),
        task_id: None,
        consumed_at: None,
        minted_in: None,
    }
}

pub(in crate::store) fn agent(number: u64) -> RegisteredAgent {
    RegisteredAgent {
        agent_id: agent_id(number),
        app_id: None,
        scope: scopes(),
        public_key: [7; 32],
        sender_constrained: number.is_multiple_of(2),
        registered_with: RegisteredWith::LaunchToken(LaunchTokenId::from_bytes(number.to_be_bytes())),
        registered_at: at(0),
        expires_at: at(300),
        revoked_at: None,
    }
}

pub(in crate::store) fn attested_agent(number: u64, pod: &str) -> RegisteredAgent {
    let identity = AttestedIdentity {
        rule: trust_rule("ci").id,
        issuer: "https://cluster.example".to_owned(),
        subject: format!("system:serviceaccount:prod:{number}"),
        pod_uid: Some(pod.to_owned()),
    };
    RegisteredAgent { registered_with: RegisteredWith::Attestation(identity), ..agent(number) }
}

pub(in crate::store) fn trust_rule(name: &str) -> TrustRule {
    let name = AppName::parse(name).unwrap();
    let condition = |name, condition| (ClaimName::parse(name).unwrap(), condition);
    let keys = JwkSetText::parse(br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#).unwrap();
    TrustRule {
        id: TrustRuleId::new(&name, [1, 2, 3]),
        app_id: app_id("web"),
        kind: AttestationKind::Oidc,
        issuer: "https://id.example".to_owned(),
        keys: if name.as_str() == "second" {
            RuleKeys::Set(keys)
        } else {
            RuleKeys::Url("https://id.example/k".into())
        },
        audience: "agentwrit".to_owned(),
        claims: vec![
            condition("sub", ClaimMatch::Prefix("repo:acme/".to_owned())),
            condition("/a/b", ClaimMatch::Equals(ClaimValue::Flag(true))),
            condition("run", ClaimMatch::Equals(ClaimValue::Number(7))),
            condition("ref", ClaimMatch::Equals(ClaimValue::Text("größe".to_owned()))),
        ],
        allowed_scope: scopes(),
        max_ttl: 300,
        task_template: Some(IdTemplate::parse("ci-{run}").unwrap()),
        orch_template: None,
        token_review: name.as_str() == "third",
        created_at: at(0),
        created_by: Subject::Admin,
        name,
    }
}

pub(in crate::store) fn token(number: u64) -> IssuedToken {
    let mut jti = [0; 16];
    jti[8..].copy_from_slice(&number.to_be_bytes());
    let jti = TokenId::from_bytes(jti);
    IssuedToken {
        jti,
        sid: jti,
        subject: Subject::Agent(agent_id(number)),
        app_id: None,
        task_id: Some(segment(&format!("task-{number}"))),
        root: None,
        delegators: Vec::new(),
        delegator_sids: Vec::new(),
        issued_at: at(0),
        expires_at: at(300),
        original_ttl: 300,
        session_started_at: at(0),
        scope: None,
        sender_constrained: number.is_multiple_of(2),
    }
}

pub(in crate::store) fn event(detail: &str) -> NewEvent {
    NewEvent::success(EventType::AdminAuth, at(0), Subject::Admin, detail)
}

/// Makes the changes of a registration.
pub(in crate::store) fn register(tx: &mut Tx<'_>, number: u64) -> Result<bool, StoreError> {
    let mut nonce = [0; 32];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    let spent = tx.spend_nonce(&nonce, at(30))?;
    tx.insert_agent(&agent(number))?;
    tx.insert_token(&token(number))?;
    let event = |event_type, detail| NewEvent::success(event_type, at(0), &agent_id(number), detail);
    tx.append(event(EventType::AgentRegistered, "agent registered"))?;
    tx.append(event(EventType::TokenIssued, "token issued"))?;
    Ok(spent)
}

/// The rows that [`register`] reads.
pub(in crate::store) fn wants_of_registration(number: u64) -> Wants {
    let mut nonce = [0; 32];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    let subject = Subject::Agent(agent_id(number));
    let wants = Wants::none().nonce(&nonce, at(30)).agent(&agent_id(number)).token(&token(number).jti);
    let wants = wants.name(&format!("task-{number}")).event(EventType::AgentRegistered, &subject, None, None);
    wants.event(EventType::TokenIssued, &subject, None, None)
}

pub(in crate::store) fn total(reader: &dyn Reader) -> Result<u64, StoreError> {
    reader.audit_total()
}

pub(in crate::store) fn epoch_of(reader: &dyn Reader) -> Result<String, StoreError> {
    reader.epoch()
}

/// Verifies the whole trail. Returns the number of its events.
pub(in crate::store) fn whole_trail(reader: &dyn Reader) -> Result<u64, StoreError> {
    assert!(reader.walk_tail(u64::MAX)?.verdict().is_ok());
    reader.audit_total()
}
