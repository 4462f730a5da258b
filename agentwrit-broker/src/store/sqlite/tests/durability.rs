//! Acknowledged changes after a crash.

use std::{fs, sync::Arc};

use agentwrit_verify::SystemClock;
use tokio::task::JoinSet;

use super::*;
use crate::store::sqlite::Database;

/// Simulates a crash: copies the files as they are, without closing the store, and opens the copy.
fn crash(fixture: Fixture) -> Fixture {
    let directory = TempDir::new().unwrap();
    for file in ["data.db", "data.db-wal"] {
        fs::copy(fixture.directory.path().join(file), directory.path().join(file)).unwrap();
    }
    drop(fixture);
    let store = Store::open(&directory.path().join("data.db"), StoreOptions::default()).unwrap();
    Fixture { directory, store }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_changes_survive_crash() {
    let mut fixture = Fixture::new();
    for round in 0..4_u64 {
        let numbers = round * 1000..round * 1000 + 500;
        let mut registrations = JoinSet::new();
        for number in numbers.clone() {
            let store = fixture.store.clone();
            registrations.spawn(async move { store.transact(move |tx| register(tx, number)).await });
        }
        assert!(registrations.join_all().await.into_iter().all(|outcome| outcome == Ok(true)));
        fixture = crash(fixture);
        fixture
            .read(move |reader| {
                for number in numbers {
                    assert_eq!(reader.agent(&agent_id(number))?, Some(agent(number)));
                    assert_eq!(reader.token(&token(number).jti)?, Some(token(number)));
                }
                assert_eq!(whole_trail(reader)?, (round + 1) * 1000);
                Ok(())
            })
            .await;
    }
}

#[tokio::test]
async fn closing_leaves_one_file_and_rejects_later_operations() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    let other = fixture.store.clone();
    fixture.store.close().await;
    let closed = StoreError::closed();
    assert_eq!(other.transact(|tx| register(tx, 2)).await, Err(closed.clone()));
    assert_eq!(other.read(total).await, Err(closed));
    other.close().await;

    let mut files: Vec<_> =
        fs::read_dir(fixture.directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["data.db", "data.db.lock"]);
    let store = Store::open(&fixture.directory.path().join("data.db"), StoreOptions::default()).unwrap();
    let fixture = Fixture { directory: fixture.directory, store };
    assert_eq!(fixture.read(whole_trail).await, 2);
}

#[tokio::test]
async fn write_ahead_log_stays_bounded() {
    let fixture = Fixture::new();
    // 40 MB in total.
    for number in 0..400 {
        let token = LaunchToken { agent_name: "x".repeat(100_000), ..launch_token(number) };
        fixture.write(move |tx| tx.insert_launch_token(&token)).await;
    }
    let log = fs::metadata(fixture.directory.path().join("data.db-wal")).unwrap().len();
    assert!(log < 20_000_000, "{log}");
}

#[test]
fn commits_are_synchronous() {
    let directory = TempDir::new().unwrap();
    let database = Database::open(&directory.path().join("data.db"), 1, &[], Arc::new(SystemClock)).unwrap();
    let connection = database.writer.connection();
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((pragma("synchronous"), pragma("foreign_keys"), pragma("fullfsync")), (2, 1, 1));
}
