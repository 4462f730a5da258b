//! Databases that the store opens and rejects.

use std::{
    fs,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
};

use agentwrit_verify::{TrustDomain, audit::ChainBreak};
use rusqlite::Connection;

use super::*;
use crate::{
    audit::{AuditChainError, EventId},
    store::{AgentFilter, OpenError, Page, Pruned, Work, agents::ReadAgents, probe},
};

fn open(path: &std::path::Path) -> Result<Store, OpenError> {
    Store::open(path, StoreOptions::default())
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A closed store with some events, altered by `sql`.
async fn altered(sql: &str) -> (TempDir, PathBuf) {
    let fixture = Fixture::new();
    for number in 0..5 {
        fixture.write(move |tx| register(tx, number)).await;
    }
    let path = fixture.path();
    fixture.store.close().await;
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    (fixture.directory, path)
}

#[tokio::test]
async fn creates_files_for_owner_only() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    for file in ["data.db", "data.db-wal", "data.db-shm", "data.db.lock"] {
        assert_eq!(mode(&fixture.directory.path().join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn rejects_file_that_others_can_open() {
    let (_directory, path) = altered("").await;
    for (file, bits) in [("data.db", 0o602), ("data.db", 0o604), ("data.db-wal", 0o644), ("data.db.lock", 0o666)] {
        let file = path.with_file_name(file);
        if !file.exists() {
            fs::write(&file, "").unwrap();
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(bits)).unwrap();
        assert_eq!(open(&path).unwrap_err(), OpenError::TooOpen { path: file.clone(), mode: bits });
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    open(&path).unwrap().close().await;
}

#[tokio::test]
async fn opens_files_that_group_can_open() {
    let (_directory, path) = altered("").await;
    for file in ["data.db", "data.db.lock"] {
        fs::set_permissions(path.with_file_name(file), fs::Permissions::from_mode(0o660)).unwrap();
    }
    open(&path).unwrap().close().await;
}

#[tokio::test]
async fn rejects_database_that_is_open_by_another_path() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    let path = fixture.path();
    let elsewhere = TempDir::new().unwrap();
    let (symbolic, hard) = (elsewhere.path().join("symbolic.db"), elsewhere.path().join("hard.db"));
    std::os::unix::fs::symlink(&path, &symbolic).unwrap();
    fs::hard_link(&path, &hard).unwrap();
    assert_eq!(open(&path).unwrap_err(), OpenError::InUse { path: path.clone() });
    assert_eq!(open(&symbolic).unwrap_err(), OpenError::InUse { path: path.clone() });
    assert_eq!(open(&hard).unwrap_err(), OpenError::InUse { path: hard.clone() });
    fs::remove_file(&hard).unwrap();
    fs::remove_file(path.with_file_name("data.db.lock")).unwrap();
    assert_eq!(open(&path).unwrap_err(), OpenError::InUse { path: path.clone() });
    // A rejected attempt does not release the locks of the first.
    fixture.write(|tx| register(tx, 2)).await;
    fixture.reopen().await;
}

#[tokio::test]
async fn rejects_hard_link_of_database_or_file_beside_it() {
    let (_directory, path) = altered("").await;
    let elsewhere = TempDir::new().unwrap();
    let other = elsewhere.path().join("other");
    for name in ["data.db", "data.db-wal", "data.db-shm", "data.db.lock"] {
        let file = path.with_file_name(name);
        fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&file).unwrap();
        fs::hard_link(&file, &other).unwrap();
        let rejected = OpenError::HardLinks { path: file, links: 2 };
        assert_eq!(open(&path).unwrap_err(), rejected);
        assert_eq!(probe(&path, &[]).unwrap_err(), rejected);
        fs::remove_file(&other).unwrap();
    }
    open(&path).unwrap().close().await;
}

#[tokio::test]
async fn rejects_symbolic_link_to_missing_file() {
    let directory = TempDir::new().unwrap();
    let link = directory.path().join("data.db");
    std::os::unix::fs::symlink(directory.path().join("missing.db"), &link).unwrap();
    let OpenError::Io { path, cause } = open(&link).unwrap_err() else { panic!("an error of the file") };
    assert_eq!((path, cause.as_str()), (link, "it is a symbolic link to a file that does not exist"));
}

#[tokio::test]
async fn rejects_symbolic_link_beside_database_and_creates_no_target() {
    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("target");
    for name in ["data.db.lock", "data.db-wal", "data.db-shm"] {
        let (_directory, path) = altered("").await;
        let link = path.with_file_name(name);
        fs::remove_file(&link).ok();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let rejected = open(&path).unwrap_err().to_string();
        assert_eq!(
            rejected,
            format!("`{}` is a symbolic link, which the broker does not follow: remove it", link.display())
        );
        assert_eq!(probe(&path, &[]).unwrap_err().to_string(), rejected);
        assert!(!target.exists(), "{name}");
    }
}

#[tokio::test]
async fn rejects_foreign_newer_and_unreadable_databases() {
    let (_directory, path) = altered("PRAGMA user_version = 99").await;
    assert_eq!(open(&path).unwrap_err(), OpenError::Newer { path: path.clone(), found: 99, supported: 4 });

    let foreign = path.with_file_name("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(open(&foreign).unwrap_err(), OpenError::Foreign { path: foreign.clone() });

    let text = path.with_file_name("text.db");
    fs::write(&text, "no database at all, but longer than a header of SQLite: 0123456789".repeat(9)).unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(open(&text).unwrap_err(), OpenError::Store(StoreError::Corrupt { .. })));

    let nowhere = path.with_file_name("missing").join("data.db");
    assert!(matches!(open(&nowhere).unwrap_err(), OpenError::Io { .. }));
}

/// Returns the breaks because of which the start is rejected.
fn breaks(path: &std::path::Path) -> Vec<ChainBreak> {
    let error = open(path).unwrap_err();
    let OpenError::BrokenAudit { breaks } = error else { panic!("{error}") };
    breaks
}

/// Returns the numbers of accepted breaks and of events.
async fn counts(store: &Store) -> (u64, u64) {
    let counts = store.read(|reader| Ok::<_, StoreError>((reader.accepted_breaks()?, reader.audit_total()?)));
    counts.await.unwrap()
}

/// Opens the store as a broker does whose operator accepts `breaks`.
async fn open_accepting(path: &std::path::Path, breaks: &[ChainBreak]) -> Result<Store, OpenError> {
    let accept_broken_audit = breaks.iter().map(|broken| broken.id).collect();
    let store = Store::open(path, StoreOptions { accept_broken_audit, ..StoreOptions::default() })?;
    store.record_accepted_breaks(at(0)).await?;
    Ok(store)
}

#[tokio::test]
async fn migrates_database_of_version_1_and_keeps_its_records() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("data.db");
    let digest = format!("x'{}'", "00".repeat(32));
    let records = format!(
        "PRAGMA user_version = 1; PRAGMA application_id = 0x41577274;
         INSERT INTO names (id, name) VALUES (1, 'app:app-web-010203'), (2, 'app:app-old-010203');
         INSERT INTO apps VALUES (1, 'app-web-010203', 'web', 'w-1', {digest}, 'read:data:*', 60, 1, 7, 7, NULL),
             (2, 'app-old-010203', 'old', 'o-1', {digest}, 'read:data:*', 60, 0, 7, 8, 8);
         INSERT INTO launch_tokens VALUES
             (1, x'0000000000000001', {digest}, 'a', 'read:data:x', 60, 1, 7, 8, 'admin', NULL, NULL, NULL, NULL);"
    );
    let version_1 = include_str!("../schema.sql");
    Connection::open(&path).unwrap().execute_batch(&format!("{version_1}{records}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for _ in 0..2 {
        let store = open(&path).unwrap();
        let (statuses, launch_token) = store
            .read(|reader| {
                let (apps, _) = reader.apps(10, 0)?;
                let launch_token = reader.launch_token_by_digest(&Digest::from_bytes([0; 32]))?.unwrap();
                Ok::<_, StoreError>((apps.iter().map(|app| app.status).collect::<Vec<_>>(), launch_token))
            })
            .await
            .unwrap();
        assert_eq!(statuses, [AppStatus::Active, AppStatus::Inactive]);
        assert_eq!(launch_token.minted_in, None);
        store.close().await;
    }
}

#[tokio::test]
async fn migrates_database_of_version_2_and_deletes_agents_without_tokens() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("data.db");
    let (released, live) = (include_str!("../schema.sql"), at(100).elapsed_since_epoch().as_micros());
    let records = format!(
        "PRAGMA user_version = 2; PRAGMA application_id = 0x41577274;
         UPDATE meta SET certain_time = 10;
         INSERT INTO names (id, name) VALUES (1, '{}'), (2, '{}');
         INSERT INTO agents VALUES (1, NULL, 'read:data:x', zeroblob(32), x'0000000000000001', 7, 9, NULL),
             (2, NULL, 'read:data:x', zeroblob(32), x'0000000000000001', 7, {live}, NULL);
         INSERT INTO tokens VALUES (zeroblob(16), zeroblob(16), 2, NULL, NULL, NULL, 7, {live}, 60, 7, NULL);
         INSERT INTO spent_nonces VALUES (zeroblob(32), {live});",
        agent_id(1),
        agent_id(2)
    );
    let version_2 = include_str!("../schema_2.sql");
    Connection::open(&path).unwrap().execute_batch(&format!("{released}{version_2}{records}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let store = open(&path).unwrap();
    let found = store.transact(|tx| {
        let agents = (tx.agent(&agent_id(1))?.is_some(), tx.agent(&agent_id(2))?.is_some());
        Ok::<_, StoreError>((agents, tx.spend_nonce(&[0; 32], at(100))?, tx.prune(at(100), at(100))?))
    });
    let work = Work::of(&TrustDomain::parse("agentwrit.local").unwrap(), None, Some(&segment("task-2")));
    let of_task = AgentFilter { work, ..AgentFilter::default() };
    let listed = store.read(move |reader| reader.agents(&of_task, &Page { limit: 9, offset: 0, after: 0 })).await;
    assert_eq!(listed.map(|(agents, total)| (agents.len(), total)), Ok((1, 1)), "it has its task");
    let pruned = Pruned { nonces: 1, agents: 1, tokens: 1, ..Pruned::default() };
    assert_eq!(found.await, Ok(((false, true), false, pruned)));
    store.close().await;
}

#[tokio::test]
async fn migrates_database_of_version_3_and_cursors_go_on() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("data.db");
    let records = "PRAGMA user_version = 3; PRAGMA application_id = 0x41577274;
         INSERT INTO revocations (cursor, level, target, revoked_at, expires_at, revoked_by, listed)
             VALUES (7, 'task', 't', 1, 2, 'admin', 1);";
    let version_3 = [include_str!("../schema.sql"), include_str!("../schema_2.sql"), include_str!("../schema_3.sql")];
    Connection::open(&path).unwrap().execute_batch(&format!("{}{records}", version_3.concat())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for cursor in [8, 9] {
        let store = open(&path).unwrap();
        let found = store.transact(|tx| Ok::<_, StoreError>((tx.signing_keys()?, tx.advance_cursor()?)));
        assert_eq!(found.await, Ok((Vec::new(), cursor)));
        store.close().await;
    }
}

#[tokio::test]
async fn rejects_broken_trail_unless_exactly_its_breaks_are_accepted() {
    let id = EventId::from_sequence;
    let cases = [
        ("UPDATE audit_events SET detail = 'x' WHERE seq = 9", AuditChainError::Altered { id: id(9) }),
        ("DELETE FROM audit_events WHERE seq = 9", AuditChainError::Gap { expected: id(9), found: id(10) }),
        ("UPDATE audit_events SET prev_hash = zeroblob(32) WHERE seq = 9", AuditChainError::Unlinked { id: id(9) }),
        ("UPDATE names SET name = 'root' WHERE id = 3", AuditChainError::Altered { id: id(3) }),
        ("DELETE FROM audit_events WHERE seq < 3", AuditChainError::Gap { expected: id(1), found: id(3) }),
    ];
    for (sql, fault) in cases {
        let (_directory, path) = altered(sql).await;
        let found = breaks(&path);
        assert_eq!(found[0].fault, fault, "{sql}");
        // The break of another trail is not accepted.
        let (_other, other) = altered("UPDATE audit_events SET detail = 'y' WHERE seq = 9").await;
        assert_eq!(
            open_accepting(&path, &breaks(&other)).await.unwrap_err(),
            OpenError::BrokenAudit { breaks: found.clone() }
        );

        let store = open_accepting(&path, &found).await.unwrap();
        let recorded = store.read(|reader| reader.audit_events_after(10, 100)).await.unwrap();
        let accepted: Vec<String> = recorded.iter().filter_map(|event| event.resource.clone()).collect();
        assert_eq!(accepted, found.iter().map(|broken| broken.id.to_string()).collect::<Vec<_>>(), "{sql}");
        assert!(recorded.iter().all(|event| event.event_type == EventType::AuditBreakAccepted));
        let count = found.len() as u64;
        assert_eq!(counts(&store).await.0, count, "{sql}");
        let appended = store.transact(|tx| tx.append(event("goes on"))).await;
        assert_eq!(appended, Ok::<_, StoreError>(id(11 + count)));
        store.close().await;

        // Later starts need no flag, and record no second event.
        open(&path).unwrap().close().await;
        let store = open_accepting(&path, &found).await.unwrap();
        assert_eq!(counts(&store).await, (count, 11 + count), "{sql}");
        store.close().await;
    }
}

#[tokio::test]
async fn rejects_tampering_after_accepted_break() {
    let tamper = |path: &std::path::Path, sql: &str| Connection::open(path).unwrap().execute_batch(sql).unwrap();
    for again in [
        "UPDATE audit_events SET detail = 'z' WHERE seq = 9", // the same event
        "UPDATE audit_events SET detail = 'z' WHERE seq = 8",
        "UPDATE audit_events SET detail = 'z' WHERE seq = 10",
        "UPDATE audit_events SET hash = zeroblob(32) WHERE seq = 9",
        "DELETE FROM audit_events WHERE seq = 9",
        "UPDATE audit_events SET detail = 'z' WHERE seq = 11", // the acceptance
        "UPDATE audit_events SET resource = NULL WHERE seq = 11",
    ] {
        let (_directory, path) = altered("UPDATE audit_events SET detail = 'x' WHERE seq = 9").await;
        let first = breaks(&path);
        let store = open_accepting(&path, &first).await.unwrap();
        store.transact(|tx| tx.append(event("goes on"))).await.unwrap();
        store.close().await;
        tamper(&path, again);
        assert!(!breaks(&path).is_empty(), "{again}");
        let OpenError::BrokenAudit { .. } = open_accepting(&path, &first).await.unwrap_err() else { panic!("{again}") };
    }
}

#[tokio::test]
async fn error_of_broken_trail_names_breaks_to_accept() {
    let (_directory, path) = altered("UPDATE audit_events SET detail = 'x' WHERE seq IN (7, 9)").await;
    let found = breaks(&path);
    assert_eq!(
        open(&path).unwrap_err().to_string(),
        format!(
            "the audit trail is broken: `evt-000007` was altered; `evt-000009` was altered; keep a copy of the database for \
             the investigation, then accept exactly this with `--accept-broken-audit {},{}`",
            found[0].id, found[1].id
        )
    );
}
