//! Migration from SQLite to PostgreSQL.
#![expect(clippy::disallowed_types, reason = "the tests change the source beneath the store")]

use std::{convert::Infallible, path::Path, thread};

use agentwrit_verify::{Level, audit::AuditChainError};
use rusqlite::Connection;

use super::{on_sqlite::Fixture, postgres_server::Schema, *};
use crate::{
    domain::{KeyPurpose, KeyState, Revocation, StoredKey},
    store::{ALL_ROWS, AuditQuery, Copied, MigrationError, OpenError, Page, copied_tables::TABLES, migrate},
};

type Migration = Result<Copied, MigrationError<Infallible>>;

fn key(now: UnixTime) -> StoredKey {
    StoredKey {
        kid: "a key".to_owned(),
        purpose: KeyPurpose::Token,
        public: Some([1; 32]),
        sealed: vec![0, 255],
        state: KeyState::Active,
        created_at: now,
        activates_at: None,
        activated_at: Some(now),
        retire_at: None,
        changed_at: now,
        cursor: 0,
    }
}

fn migrate_to(schema: &Schema, path: &Path) -> Migration {
    let (path, url) = (path.to_owned(), schema.url());
    thread::spawn(move || migrate(&path, &url, |rows, now| Ok([rows, &[key(now)]].concat()))).join().unwrap()
}

fn revocation(target: &str) -> Revocation {
    Revocation {
        level: Level::Task,
        target: target.to_owned(),
        revoked_at: at(3),
        expires_at: at(400),
        revoked_by: Subject::Admin,
        reason: None,
        listed: true,
    }
}

/// Fills every table.
fn fill(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.insert_app(&app("web"))?;
    for number in 0..30 {
        register(tx, number)?;
        tx.insert_launch_token(&LaunchToken { app_id: Some(app_id("web")), ..launch_token(number) })?;
    }
    tx.insert_agent(&RegisteredAgent { app_id: Some(app_id("web")), ..attested_agent(30, "pod") })?;
    tx.insert_token(&IssuedToken {
        root: Some(agent_id(1)),
        delegators: vec![agent_id(1)],
        delegator_sids: vec![token(1).jti],
        ..token(30)
    })?;
    tx.end_token(&token(3).jti, at(2))?;
    for number in 0..5 {
        tx.insert_revocation(&revocation(&format!("task-{number}")))?;
    }
    tx.consume_launch_token(launch_token(4).id, at(1))?;
    tx.delete_launch_token(launch_token(29).id)?;
    tx.append(NewEvent::success(EventType::TokenRevoked, at(0), &agent_id(30), "after it").task(Some(segment("t"))))?;
    tx.append(NewEvent::success(
        EventType::AdminAuth,
        UnixTime::from_seconds(9),
        Subject::Admin,
        "the clock was set back",
    ))?;
    tx.insert_verifier(&enrolment("payments-api", 1, at(3)))?;
    tx.put_verifier_instance(&instance("payments-api", 1))?;
    tx.note_confirmation(3)?;
    tx.insert_trust_rule(trust_rule("ci"))?;
    tx.insert_trust_rule(trust_rule("second"))?;
    tx.use_assertion(&Digest::of(b"an assertion"), at(400))?;
    tx.record_certain_time(at(4))?;
    tx.expire_nonces_until(at(5))
}

#[tokio::test]
async fn copies_every_column_of_each_table() {
    let fixture = Fixture::new();
    let connection = Connection::open(fixture.path()).unwrap();
    for table in TABLES {
        let mut copied: Vec<String> = table.columns().map(|(name, _)| name.to_owned()).collect();
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
        let mut present: Vec<String> =
            statement.query_map([table.name], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        copied.sort();
        present.sort();
        assert_eq!(copied, present, "{}", table.name);
    }
}

#[tokio::test]
async fn copies_every_table_but_those_whose_rows_are_made_anew() {
    let fixture = Fixture::new();
    let connection = Connection::open(fixture.path()).unwrap();
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let mut present: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    present.retain(|name| TABLES.iter().all(|table| table.name != name));
    assert_eq!(present, ["meta", "signing_keys", "sqlite_sequence"]);
}

/// Everything that the reads of a store return.
fn records(reader: &dyn Reader) -> Result<String, StoreError> {
    let page = Page { limit: 100, offset: 0, after: 0 };
    let tokens = (0..31)
        .map(|number| Ok((reader.token(&token(number).jti)?, reader.has_ended(&token(number).jti)?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    let agents = (0..31).map(|number| reader.agent(&agent_id(number))).collect::<Result<Vec<_>, _>>()?;
    let query = |query: AuditQuery| reader.audit_events(&AuditQuery { limit: 100, ..query });
    let queries = (
        query(AuditQuery { agent_id: Some(agent_id(30).to_string()), ..AuditQuery::default() })?,
        query(AuditQuery { task_id: Some("t".to_owned()), ..AuditQuery::default() })?,
        query(AuditQuery { app_id: Some(app_id("web")), ..AuditQuery::default() })?,
        query(AuditQuery { event_type: Some(EventType::TokenIssued), until: Some(at(0)), ..AuditQuery::default() })?,
    );
    let times = (reader.recorded_time()?, reader.nonces_forgotten_until()?);
    let revocations = (reader.epoch()?, reader.latest_cursor()?, reader.live_revocations(at(0))?);
    let lists = (reader.apps(100, 0)?, reader.launch_tokens(at(0), &page)?, reader.agents(&of_web(), &page)?);
    let trust = (reader.trust_rules(&page)?, reader.is_used_assertion(&Digest::of(b"an assertion"))?);
    let verifiers = (reader.enrolments()?, reader.verifier_instances()?);
    let trail = (whole_trail(reader)?, reader.audit_events_after(0, ALL_ROWS)?);
    Ok(format!(
        "{tokens:#?} {agents:#?} {queries:#?} {times:#?} {revocations:#?} {lists:#?} {trust:#?} {verifiers:#?} {trail:#?}"
    ))
}

#[tokio::test]
async fn migration_copies_all_records_and_numbers_go_on() {
    let source = Fixture::new();
    source.write(fill).await;
    let before = source.read(records).await;
    let path = source.path();
    source.store.close().await;
    let schema = Schema::create();
    let copied = migrate_to(&schema, &path).unwrap();
    let rows = |table: &str| copied.rows.iter().find(|(name, _)| *name == table).unwrap().1;
    assert_eq!((rows("tokens"), rows("launch_tokens"), rows("token_delegators"), copied.cursor), (31, 29, 1, 5));

    let target = FixtureOn { store: schema.open(StoreOptions::default()), directory: schema };
    assert_eq!(target.read(records).await, before);
    let (spent, event, cursor) = target
        .write(|tx| {
            let spent = register(tx, 31)?;
            tx.insert_launch_token(&launch_token(31))?;
            Ok((spent, tx.append(event("goes on"))?, tx.insert_revocation(&revocation("task-31"))?))
        })
        .await;
    assert_eq!((spent, event.sequence(), cursor), (true, copied.trail.sequence + 3, 6));
    assert!(!target.write(|tx| tx.spend_nonce(&[0; 32], at(30))).await, "a nonce that was spent before");
    let noted = target.write(|tx| Ok([tx.note_confirmation(3)?, tx.note_confirmation(4)?])).await;
    assert_eq!(noted, [false, true], "a confirmation that was recorded before");
    target.read(whole_trail).await;
}

#[tokio::test]
async fn migration_rejects_target_with_records() {
    let source = Fixture::new();
    source.write(fill).await;
    let path = source.path();
    source.store.close().await;
    let schema = Schema::create();
    migrate_to(&schema, &path).unwrap();
    assert!(matches!(migrate_to(&schema, &path), Err(MigrationError::NotEmpty)));

    let used = FixtureOn::<Schema>::new();
    used.write(|tx| tx.append(event("a broker ran here"))).await;
    used.store.close().await;
    assert!(matches!(migrate_to(&used.directory, &path), Err(MigrationError::NotEmpty)));
}

#[tokio::test]
async fn migration_rejects_source_in_use() {
    let source = Fixture::new();
    let rejected = migrate_to(&Schema::create(), &source.path()).unwrap_err();
    assert!(matches!(rejected, MigrationError::Open(OpenError::InUse { .. })), "{rejected:?}");
}

#[tokio::test]
async fn migration_rejects_broken_trail_and_leaves_target_empty() {
    let source = Fixture::new();
    source.write(fill).await;
    // Beyond the end that a start verifies.
    source.write(|tx| (0..1500).try_for_each(|_| tx.append(event("later")).map(drop))).await;
    let path = source.path();
    source.store.close().await;
    let alter = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    alter("UPDATE audit_events SET detail = detail || 'x' WHERE seq = 2");
    let schema = Schema::create();
    let MigrationError::Open(OpenError::BrokenAudit { breaks }) = migrate_to(&schema, &path).unwrap_err() else {
        panic!()
    };
    let altered = AuditChainError::Altered { id: crate::audit::EventId::from_sequence(2) };
    assert_eq!(breaks.iter().map(|broken| broken.fault).collect::<Vec<_>>(), [altered]);

    alter("UPDATE audit_events SET detail = substr(detail, 1, length(detail) - 1) WHERE seq = 2");
    migrate_to(&schema, &path).unwrap();
}

#[tokio::test]
async fn migration_that_fails_at_a_late_row_copies_nothing() {
    let source = Fixture::new();
    source.write(fill).await;
    let path = source.path();
    source.store.close().await;
    let alter = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    // No UTF-8.
    alter("UPDATE revocations SET target = CAST(x'ff' AS TEXT) WHERE cursor = 5");
    let schema = Schema::create();
    assert!(matches!(migrate_to(&schema, &path), Err(MigrationError::Open(OpenError::Store(_)))));
    alter("UPDATE revocations SET target = 'task-4' WHERE cursor = 5");
    migrate_to(&schema, &path).unwrap();
}

#[tokio::test]
async fn migration_hands_over_keys_of_every_state_and_the_cursor_of_their_change() {
    let source = Fixture::new();
    let keys = ["prepared", "active", "retiring", "retired", "withdrawn"].map(|state| StoredKey {
        kid: state.to_owned(),
        state: KeyState::parse(state).unwrap(),
        cursor: 2,
        ..key(at(1))
    });
    let put = keys.clone();
    source
        .write(move |tx| {
            tx.insert_revocation(&revocation("task"))?;
            tx.advance_cursor()?;
            put.iter().try_for_each(|key| tx.put_signing_key(key))
        })
        .await;
    let path = source.path();
    source.store.close().await;
    let schema = Schema::create();
    let copied = migrate_to(&schema, &path).unwrap();
    assert_eq!(copied.cursor, 2);
    let target = FixtureOn { store: schema.open(StoreOptions::default()), directory: schema };
    let (mut rows, keys_cursor, next) = target
        .write(|tx| Ok((tx.signing_keys()?, tx.keys_cursor()?, tx.insert_revocation(&revocation("next"))?)))
        .await;
    rows.retain(|row| row.kid != "a key");
    let mut expected = keys.to_vec();
    expected.sort_by(|a, b| a.kid.cmp(&b.kid));
    assert_eq!((rows, keys_cursor, next), (expected, 2, 3));
}
