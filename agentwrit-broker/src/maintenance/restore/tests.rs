use std::net::{IpAddr, Ipv4Addr};

use agentwrit_verify::{AgentId, ScopeSet, TokenId, audit::ChainBreakId};
use tempfile::TempDir;

use super::*;
use crate::audit::{AuditChainError, ChainHead, EventId};
use crate::config::{DatabaseUrl, OnLostHistory, SharedStore};
use crate::domain::{
    App, AppName, AppStatus, Digest, IssuedToken, LaunchToken, LaunchTokenId, RegisteredAgent, RegisteredWith,
};
use crate::store::tests::{Home as _, postgres_server::Schema};

const DAY: u64 = 86_400;

fn at(seconds: u64) -> UnixTime {
    UnixTime::from_seconds(1_795_248_000 + seconds)
}

fn agent_id() -> AgentId {
    AgentId::parse("spiffe://agentwrit.local/agent/orch/task/0123456789abcdef").unwrap()
}

fn token(number: u8, issued_at: UnixTime) -> IssuedToken {
    IssuedToken {
        jti: TokenId::from_bytes([number; 16]),
        sid: TokenId::from_bytes([number; 16]),
        subject: Subject::Agent(agent_id()),
        app_id: None,
        task_id: None,
        root: None,
        delegators: Vec::new(),
        delegator_sids: Vec::new(),
        issued_at,
        expires_at: issued_at.saturating_add(Duration::from_secs(300)),
        original_ttl: 300,
        session_started_at: issued_at,
        scope: None,
        sender_constrained: false,
    }
}

fn launch_token() -> LaunchToken {
    LaunchToken {
        id: LaunchTokenId::from_bytes([1; 8]),
        digest: Digest::of(b"launch token"),
        agent_name: "a test".into(),
        allowed_scope: ScopeSet::parse(["read:data:x"]).unwrap(),
        max_ttl: 300,
        single_use: false,
        sender_constrained: false,
        created_at: at(0),
        expires_at: at(3600),
        created_by: Subject::Admin,
        minted_in: None,
        app_id: None,
        orch_id: None,
        task_id: None,
        consumed_at: None,
    }
}

fn app(name: &str, status: AppStatus) -> App {
    App {
        app_id: AppId::new(name, [1, 2, 3]).unwrap(),
        name: AppName::parse(name).unwrap(),
        client_id: format!("{name}-client"),
        secret_digest: Digest::of(name.as_bytes()),
        former_secret: None,
        scopes: ScopeSet::parse(["read:data:*"]).unwrap(),
        token_ttl: 1800,
        sender_constrained: false,
        status,
        created_at: at(0),
        updated_at: at(0),
        deregistered_at: (status == AppStatus::Inactive).then(|| at(0)),
    }
}

/// A store with an app of each status, an agent, a launch token and a live token, whose newest record is of `at(0)`.
async fn backup() -> (TempDir, Store) {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&directory.path().join("data.db"), StoreOptions::default()).unwrap();
    store
        .transact(|tx| {
            let statuses = [("one", AppStatus::Active), ("two", AppStatus::Suspended), ("six", AppStatus::Inactive)];
            for (name, status) in statuses {
                tx.insert_app(&app(name, status))?;
            }
            tx.insert_agent(&RegisteredAgent {
                agent_id: agent_id(),
                app_id: None,
                scope: ScopeSet::parse(["read:data:x"]).unwrap(),
                public_key: [7; 32],
                sender_constrained: false,
                registered_with: RegisteredWith::LaunchToken(LaunchTokenId::from_bytes([1; 8])),
                registered_at: at(0),
                expires_at: at(300),
                revoked_at: None,
            })?;
            tx.insert_token(&token(1, at(0)))?;
            tx.insert_launch_token(&launch_token())?;
            tx.append(NewEvent::success(EventType::AdminAuth, at(0), Subject::Admin, "newest record"))?;
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    (directory, store)
}

async fn marked(store: &Store, now: UnixTime, clock_is_right: bool) -> Result<Restored, RestoreError> {
    store.transact(move |tx| mark(tx, &[], now, clock_is_right)).await
}

async fn issuer_marks(store: &Store) -> Vec<UnixTime> {
    let rows = store.read(|reader| reader.live_revocations(UnixTime::default())).await.unwrap();
    let marks = rows.into_iter().map(|row| row.revocation).filter(|entry| entry.level == Level::Issuer);
    marks.map(|entry| entry.revoked_at).collect()
}

#[tokio::test]
async fn deletes_launch_tokens_bars_agents_expires_nonces_and_suspends_apps() {
    let (_directory, store) = backup().await;
    let epoch = store.read(|reader| reader.epoch()).await.unwrap();
    let restored = marked(&store, at(600), false).await.unwrap();
    let one = AppId::new("one", [1, 2, 3]).unwrap();
    let expected = Restored {
        marked_at: at(600),
        launch_tokens_deleted: 1,
        agents_barred: 1,
        apps_suspended: vec![one.clone()],
        later_marks_deleted: 0,
    };
    assert_eq!(restored, expected);
    assert!(restored.to_string().contains(&format!("apps suspended: 1\n  {one}\n")), "{restored}");
    store
        .read(move |reader| {
            assert_ne!(reader.epoch()?, epoch);
            assert_eq!(reader.launch_token_by_digest(&Digest::of(b"launch token"))?, None);
            assert_eq!(reader.agent(&agent_id())?.unwrap().revoked_at, Some(at(600)));
            assert_eq!(reader.has_ended(&TokenId::from_bytes([1; 16]))?, Some(true));
            assert_eq!(reader.nonces_forgotten_until()?, at(630));
            let statuses: Vec<_> = reader.apps(10, 0)?.0.into_iter().map(|app| app.status).collect();
            assert_eq!(statuses, [AppStatus::Suspended, AppStatus::Suspended, AppStatus::Inactive]);
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    assert_eq!(issuer_marks(&store).await, [at(600)]);
}

#[tokio::test]
async fn rejects_mark_two_days_ahead_of_newest_record_and_changes_nothing() {
    let (_directory, store) = backup().await;
    let before = store.read(|reader| reader.epoch()).await.unwrap();
    let refused = marked(&store, at(2 * DAY), false).await.unwrap_err();
    assert_eq!(refused, RestoreError::ClockAhead { now: at(2 * DAY), recorded: at(0) });
    assert!(refused.to_string().contains("--clock-is-right"), "{refused}");
    assert_eq!(store.read(|reader| reader.epoch()).await.unwrap(), before);
    assert_eq!(issuer_marks(&store).await, []);
}

#[tokio::test]
async fn rejects_mark_behind_newest_record_and_moves_one_within_ten_minutes() {
    let (_directory, store) = backup().await;
    let early = UnixTime::since_epoch(at(0).elapsed_since_epoch().saturating_sub(Duration::from_secs(601)));
    let refused = marked(&store, early, false).await.unwrap_err();
    assert_eq!(refused, RestoreError::ClockBehind { now: early, recorded: at(0) });
    let a_little = UnixTime::since_epoch(at(0).elapsed_since_epoch().saturating_sub(Duration::from_secs(600)));
    assert_eq!(marked(&store, a_little, false).await.unwrap().marked_at, at(0));
}

#[tokio::test]
async fn accepts_backup_of_last_night_without_flag_and_older_one_with_it() {
    let (_directory, store) = backup().await;
    assert_eq!(marked(&store, at(DAY), false).await.unwrap().marked_at, at(DAY));
    assert_eq!(marked(&store, at(9 * DAY), true).await.unwrap().marked_at, at(9 * DAY));
}

#[tokio::test]
async fn corrects_wrong_mark_and_revokes_tokens_dated_after_it() {
    let (_directory, store) = backup().await;
    marked(&store, at(2 * DAY), true).await.unwrap();
    // Tokens that the broker issued in between are dated after the wrong mark.
    let ahead = token(2, at(2 * DAY + 1));
    store.transact(move |tx| tx.insert_token(&ahead)).await.unwrap();
    assert_eq!(marked(&store, at(60), true).await.unwrap().later_marks_deleted, 1);
    assert_eq!(issuer_marks(&store).await, [at(60)]);
    store
        .read(|reader| {
            assert_eq!(reader.latest_not_before_mark("admin")?, Some(at(60)));
            let entries = reader.live_revocations(at(60))?.into_iter().map(|row| row.revocation);
            let tokens: Vec<_> = entries.filter(|entry| entry.level == Level::Token).collect();
            assert_eq!(tokens.len(), 1);
            assert_eq!(tokens[0].target, TokenId::from_bytes([2; 16]).to_string());
            assert_eq!(tokens[0].expires_at, at(2 * DAY + 301));
            assert_eq!(reader.recorded_time()?.certain, Some(at(60)));
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn confirmed_clock_is_recorded_as_certain() {
    let (_directory, store) = backup().await;
    store.transact(|tx| tx.record_certain_time(at(0))).await.unwrap();
    let confirmed = store.transact(|tx| confirm(tx, &[], at(DAY))).await.unwrap();
    assert_eq!(confirmed, ConfirmedClock { before: Some(at(0)), now: at(DAY) });
    let recorded = store.read(|reader| reader.recorded_time()).await.unwrap();
    assert_eq!(recorded.certain, Some(at(DAY)));
}

/// A break of a trail, as an operator accepts it.
fn broken() -> ChainBreak {
    let event = EventId::from_sequence(1);
    let id = ChainBreakId::parse(&format!("{event}:{}", "07".repeat(32))).unwrap();
    ChainBreak { id, fault: AuditChainError::Altered { id: event }, before: ChainHead::GENESIS }
}

/// Records a rejected login at `now`, as a broker does that was started with a wrong clock.
async fn record_rejected_login(store: &Store, now: UnixTime) {
    let event =
        NewEvent::denied(EventType::AdminAuthFailed, now, IpAddr::V4(Ipv4Addr::LOCALHOST), "invalid credentials");
    store.transact(move |tx| tx.append(event)).await.unwrap();
}

#[tokio::test]
async fn rejects_mark_of_clock_ahead_after_a_rejected_login_was_recorded_with_its_time() {
    let (_directory, store) = backup().await;
    store.transact(|tx| tx.record_certain_time(at(60))).await.unwrap();
    record_rejected_login(&store, at(2 * DAY)).await;
    let refused = marked(&store, at(2 * DAY), false).await.unwrap_err();
    assert_eq!(refused, RestoreError::ClockAhead { now: at(2 * DAY), recorded: at(60) });
    assert_eq!(issuer_marks(&store).await, []);
}

#[tokio::test]
async fn rejects_mark_of_clock_behind_after_a_rejected_login_was_recorded_with_its_time() {
    let (_directory, store) = backup().await;
    store.transact(|tx| tx.record_certain_time(at(2 * DAY))).await.unwrap();
    record_rejected_login(&store, at(DAY)).await;
    let refused = marked(&store, at(DAY), false).await.unwrap_err();
    assert_eq!(refused, RestoreError::ClockBehind { now: at(DAY), recorded: at(2 * DAY) });
}

#[tokio::test]
async fn rejected_mark_records_no_acceptance_and_accepted_mark_records_it_once() {
    let (_directory, store) = backup().await;
    let mark_accepting = |now: UnixTime| store.transact(move |tx| mark(tx, &[broken()], now, false));
    let events =
        async || store.read(|reader| Ok::<_, StoreError>((reader.accepted_breaks()?, reader.audit_total()?))).await;
    let before = events().await.unwrap();
    mark_accepting(at(2 * DAY)).await.unwrap_err();
    assert_eq!(events().await.unwrap(), before);
    mark_accepting(at(600)).await.unwrap();
    assert_eq!(events().await.unwrap().0, 1);
}

#[tokio::test]
async fn marks_shared_database_when_configured_and_no_file() {
    let directory = TempDir::new().unwrap();
    let schema = Schema::create();
    let url = schema.url_through(Schema::socket().parent().unwrap());
    let mut config = Config::for_development(directory.path(), "a secret for the tests").unwrap();
    config.shared_store = Some(SharedStore {
        url: DatabaseUrl::parse(&url).unwrap(),
        state_path: directory.path().join("broker.state"),
        key_encryption_key_path: directory.path().join("key"),
        on_lost_history: OnLostHistory::RevokeAll,
    });
    let empty = mark_restored(&config, false).await;
    assert!(matches!(empty, Err(RestoreError::EmptyShared)), "{empty:?}");

    let store = spawn_blocking(move || Store::connect(&url, StoreOptions::default())).await.unwrap().unwrap();
    let login = |tx: &mut Tx<'_>| {
        tx.append(NewEvent::success(EventType::AdminAuth, tx.now(), Subject::Admin, "login")).map(|_| ())
    };
    store.transact(login).await.unwrap();
    let restored = mark_restored(&config, false).await.unwrap();
    assert_eq!(restored.database, None);
    assert!(restored.to_string().ends_with("\ndatabase: PostgreSQL (AA_DATABASE_URL)"), "{restored}");
    let events = store.read(|reader| reader.audit_events_after(0, 10)).await.unwrap();
    let types: Vec<_> = events.iter().map(|event| event.event_type).collect();
    assert_eq!(types, [EventType::AdminAuth, EventType::TokenRevoked]);
    assert!(!config.db_path.exists());
    store.close().await;
}
