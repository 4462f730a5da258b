//! Tests of the store as a whole, on real files.

mod durability;
mod opening;
mod plans;
mod queries;
mod readers;
mod trail;
mod verbs;
mod writer;

use std::{path::PathBuf, time::Duration};

use agentwrit_verify::{AgentId, AppId, PathSegment, ScopeSet, Subject, TokenId, UnixTime};
use tempfile::TempDir;

use super::{Reader, Store, StoreError, StoreOptions, Tx};
use crate::{
    audit::{EventType, NewEvent},
    domain::{App, AppName, AppStatus, Digest, IssuedToken, LaunchToken, LaunchTokenId, RegisteredAgent},
};

/// A store in a directory of its own.
struct Fixture {
    directory: TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    fn with(options: StoreOptions) -> Self {
        let directory = TempDir::new().unwrap();
        let store = Store::open(&directory.path().join("data.db"), options).unwrap();
        Self { directory, store }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("data.db")
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.store.transact(job).await.unwrap()
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.store.read(job).await.unwrap()
    }

    async fn reopen(self) -> Self {
        self.store.close().await;
        let store = Store::open(&self.directory.path().join("data.db"), StoreOptions::default()).unwrap();
        Self { directory: self.directory, store }
    }
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::from_seconds(1_795_248_000 + seconds)
}

fn scopes() -> ScopeSet {
    ScopeSet::parse(["read:data:*", "write:data:x"]).unwrap()
}

fn segment(text: &str) -> PathSegment {
    PathSegment::parse(text).unwrap()
}

fn app_id(name: &str) -> AppId {
    AppId::new(name, [1, 2, 3]).unwrap()
}

fn agent_id(number: u64) -> AgentId {
    AgentId::parse(&format!("spiffe://agentwrit.local/agent/orch/task-{number}/{number:016x}")).unwrap()
}

fn app(name: &str) -> App {
    App {
        app_id: app_id(name),
        name: AppName::parse(name).unwrap(),
        client_id: format!("{name}-client"),
        secret_digest: Digest::of(name.as_bytes()),
        scopes: scopes(),
        token_ttl: 1800,
        status: AppStatus::Active,
        created_at: at(0),
        updated_at: at(0),
        deregistered_at: None,
    }
}

fn launch_token(number: u64) -> LaunchToken {
    LaunchToken {
        id: LaunchTokenId::from_bytes(number.to_be_bytes()),
        digest: Digest::of(&number.to_be_bytes()),
        agent_name: "agent".to_owned(),
        allowed_scope: scopes(),
        max_ttl: 300,
        single_use: true,
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

fn agent(number: u64) -> RegisteredAgent {
    RegisteredAgent {
        agent_id: agent_id(number),
        app_id: None,
        scope: scopes(),
        public_key: [7; 32],
        launch_token_id: LaunchTokenId::from_bytes(number.to_be_bytes()),
        registered_at: at(0),
        expires_at: at(300),
        revoked_at: None,
    }
}

fn token(number: u64) -> IssuedToken {
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
    }
}

fn event(detail: &str) -> NewEvent {
    NewEvent::success(EventType::AdminAuth, at(0), Subject::Admin, detail)
}

/// Makes the changes of a registration.
fn register(tx: &mut Tx<'_>, number: u64) -> Result<bool, StoreError> {
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

fn total(reader: &Reader<'_>) -> Result<u64, StoreError> {
    reader.audit_total()
}

fn epoch_of(reader: &Reader<'_>) -> Result<String, StoreError> {
    reader.epoch()
}

/// Verifies the whole trail. Returns the number of its events.
fn whole_trail(reader: &Reader<'_>) -> Result<u64, StoreError> {
    assert!(reader.walk_tail(u64::MAX)?.verdict().is_ok());
    reader.audit_total()
}
