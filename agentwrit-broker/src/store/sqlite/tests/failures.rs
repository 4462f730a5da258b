//! Failed commits, and databases that can't be written for a time.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rusqlite::Connection;
use tokio::task::JoinSet;

use super::*;
use crate::store::tests::on_sqlite::writer::{enqueue, internal, occupy};

#[tokio::test]
async fn failed_commit_fails_every_job_and_changes_nothing() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    let (release, running) = occupy(&fixture.store).await;
    let before = enqueue(&fixture.store, |tx| register(tx, 2)).await;
    let refused = enqueue(&fixture.store, |tx| {
        assert!(tx.agent(&agent_id(2))?.is_some());
        Err::<(), _>(internal("known already"))
    })
    .await;
    let poison = enqueue(&fixture.store, |tx| {
        // A dangling reference that only COMMIT checks.
        tx.execute_batch("PRAGMA defer_foreign_keys = ON")?;
        tx.execute_batch("INSERT INTO token_delegators (jti, hop, agent, sid) VALUES (x'00', 0, 1, x'00')")
    })
    .await;
    let after = enqueue(&fixture.store, |tx| register(tx, 3)).await;
    drop(release);

    let failed =
        |outcome: &StoreError| matches!(outcome, StoreError::Internal { cause } if cause.contains("FOREIGN KEY"));
    assert!(failed(&running.await.unwrap().unwrap_err()));
    assert!(failed(&before.await.unwrap().unwrap_err()));
    assert!(failed(&refused.await.unwrap().unwrap_err()), "its reason was never true");
    assert!(failed(&poison.await.unwrap().unwrap_err()));
    assert!(failed(&after.await.unwrap().unwrap_err()));
    assert!(!fixture.store.is_writable());

    assert!(fixture.write(|tx| register(tx, 2)).await);
    assert!(fixture.store.is_writable());
    assert_eq!(fixture.read(whole_trail).await, 4);
    let fixture = fixture.reopen().await;
    assert_eq!(fixture.read(whole_trail).await, 4);
}

#[tokio::test]
async fn transaction_that_ends_early_fails_every_job() {
    let fixture = Fixture::new();
    let (release, running) = occupy(&fixture.store).await;
    let before = enqueue(&fixture.store, |tx| register(tx, 1)).await;
    let overlooking = enqueue(&fixture.store, |tx| tx.execute_batch("ROLLBACK")).await;
    let after = enqueue(&fixture.store, |tx| register(tx, 2)).await;
    drop(release);
    // On a slow machine the first job's batch is over by then, and it commits alone.
    drop(running.await.unwrap());
    before.await.unwrap().unwrap_err();
    overlooking.await.unwrap().unwrap_err();
    after.await.unwrap().unwrap_err();
    assert_eq!(fixture.read(whole_trail).await, 0);
    assert!(fixture.write(|tx| register(tx, 1)).await);
}

#[tokio::test]
async fn full_disk_fails_writes_until_space_is_free() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 0)).await;
    let limit_pages = |tx: &mut Tx<'_>, pages: &str| tx.execute_batch(&format!("PRAGMA max_page_count = {pages}"));
    fixture.write(move |tx| limit_pages(tx, "60")).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut registrations = JoinSet::new();
    for number in 1..=500 {
        let (store, acknowledged) = (fixture.store.clone(), Arc::clone(&acknowledged));
        registrations.spawn(async move {
            let outcome = store.transact(move |tx| register(tx, number)).await;
            match &outcome {
                Ok(_) => _ = acknowledged.fetch_add(1, Ordering::Relaxed),
                Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}"),
            }
            outcome.is_ok().then_some(number)
        });
    }
    let outcomes = registrations.join_all().await;
    assert!(outcomes.contains(&None));
    let kept: Vec<u64> = outcomes.into_iter().flatten().collect();
    let events = 2 * (kept.len() as u64 + 1);
    fixture
        .read(move |reader| {
            for number in 1..=500 {
                assert_eq!(reader.agent(&agent_id(number))?.is_some(), kept.contains(&number), "{number}");
            }
            assert_eq!(whole_trail(reader)?, events);
            Ok(())
        })
        .await;

    fixture.write(move |tx| limit_pages(tx, "100000")).await;
    assert!(fixture.write(|tx| register(tx, 1000)).await);
    assert_eq!(fixture.read(whole_trail).await, events + 2);
}

#[tokio::test]
async fn read_only_store_fails_writes() {
    let fixture = Fixture::new();
    fixture.write(|tx| tx.execute_batch("PRAGMA query_only = ON")).await;
    for number in 1..3 {
        let refused = fixture.store.transact(move |tx| register(tx, number)).await;
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    }
    assert!(matches!(fixture.store.probe().await, Err(StoreError::Unavailable { .. })));
    assert!(!fixture.store.is_writable());
    assert_eq!(fixture.read(total).await, 0);
}

#[tokio::test]
async fn locked_store_fails_writes_until_unlocked() {
    let fixture = Fixture::new();
    fixture.write(|tx| tx.execute_batch("PRAGMA busy_timeout = 0")).await;
    let backup = Connection::open(fixture.path()).unwrap();
    backup.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = fixture.store.transact(|tx| register(tx, 1)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(!fixture.store.is_writable());
    backup.execute_batch("ROLLBACK").unwrap();
    assert!(fixture.write(|tx| register(tx, 1)).await);
    assert_eq!(fixture.store.probe().await, Ok(()));
    assert!(fixture.store.is_writable());
}
