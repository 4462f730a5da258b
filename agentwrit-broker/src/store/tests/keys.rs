//! The broker's keys, and the cursors that their changes take.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use agentwrit_verify::Level;

use super::{
    writer::{enqueue, occupy},
    *,
};
use crate::domain::{KeyPurpose, KeyState, Revocation, StoredKey};

fn key(kid: &str) -> StoredKey {
    StoredKey {
        kid: kid.to_owned(),
        purpose: KeyPurpose::Token,
        public: Some([1; 32]),
        sealed: vec![0, 255],
        state: KeyState::Prepared,
        created_at: at(1),
        activates_at: Some(at(2)),
        activated_at: None,
        retire_at: None,
        changed_at: at(1),
        cursor: 1,
    }
}

fn advance(tx: &mut Tx<'_>) -> Result<u64, StoreError> {
    tx.advance_cursor()
}

fn revocation() -> Revocation {
    Revocation {
        level: Level::Token,
        target: "jti".to_owned(),
        revoked_at: at(3),
        expires_at: at(400),
        revoked_by: Subject::Admin,
        reason: None,
        listed: true,
    }
}

#[tokio::test]
async fn key_is_added_and_replaced_with_every_member() {
    let fixture = Fixture::new();
    // A key that ended stays so.
    let states = [KeyState::Prepared, KeyState::Active, KeyState::Retiring, KeyState::Retired, KeyState::Withdrawn];
    fixture.write(|tx| [key("b"), key("a")].iter().try_for_each(|key| tx.put_signing_key(key))).await;
    for (cursor, state) in (2..).zip(states) {
        let changed = StoredKey {
            state,
            sealed: Vec::new(),
            activates_at: None,
            activated_at: Some(at(3)),
            retire_at: Some(at(4)),
            changed_at: at(5),
            cursor,
            ..key("b")
        };
        let written = changed.clone();
        let seen = fixture
            .write(move |tx| {
                tx.put_signing_key(&changed)?;
                tx.signing_keys()
            })
            .await;
        assert_eq!(seen, [key("a"), written]);
        assert_eq!(fixture.read(|reader| reader.signing_keys()).await, seen);
    }
}

#[tokio::test]
async fn cursor_of_key_change_lies_between_those_of_revocations_also_after_reopening() {
    let fixture = Fixture::new();
    assert_eq!(fixture.write(|tx| tx.insert_revocation(&revocation())).await, 1);
    assert_eq!(fixture.write(advance).await, 2);
    assert_eq!(fixture.read(|reader| reader.latest_cursor()).await, 2);
    let fixture = fixture.reopen().await;
    assert_eq!(fixture.read(|reader| reader.latest_cursor()).await, 2);
    assert_eq!(fixture.write(|tx| tx.insert_revocation(&revocation())).await, 3);
    let fixture = fixture.reopen().await;
    assert_eq!(fixture.write(advance).await, 4);
}

#[tokio::test]
async fn failed_key_change_takes_no_cursor() {
    let fixture = Fixture::new();
    let failed = fixture.store.transact(|tx| {
        tx.put_signing_key(&key("a"))?;
        tx.advance_cursor()?;
        Err::<(), _>(StoreError::internal("refused"))
    });
    failed.await.unwrap_err();
    assert_eq!(fixture.read(|reader| Ok((reader.signing_keys()?, reader.latest_cursor()?))).await, (Vec::new(), 0));
}

#[tokio::test]
async fn job_behind_key_change_runs_after_what_follows_its_commit() {
    let fixture = Fixture::new();
    let (release, running) = occupy(&fixture.store).await;
    let in_memory = Arc::new(AtomicBool::new(false));
    let (set, seen) = (Arc::clone(&in_memory), Arc::clone(&in_memory));
    let change = enqueue(&fixture.store, move |tx| {
        tx.after_commit(move || set.store(true, Ordering::SeqCst));
        tx.advance_cursor()
    })
    .await;
    let behind = enqueue(&fixture.store, move |_| Ok(seen.load(Ordering::SeqCst))).await;
    drop(release);
    running.await.unwrap().unwrap();
    assert_eq!((change.await.unwrap(), behind.await.unwrap()), (Ok(1), Ok(true)));
}

#[tokio::test]
async fn last_expiry_is_that_of_the_token_that_expires_last() {
    let fixture = Fixture::new();
    assert_eq!(fixture.read(|reader| reader.last_expiry_of_tokens()).await, None);
    fixture.write(|tx| tx.insert_token(&IssuedToken { expires_at: at(900), ..token(1) })).await;
    let seen = fixture
        .write(|tx| {
            tx.insert_token(&token(2))?;
            tx.last_expiry_of_tokens()
        })
        .await;
    assert_eq!(seen, Some(at(900)), "also of a token that the job has just added");
    assert_eq!(fixture.read(|reader| reader.last_expiry_of_tokens()).await, Some(at(900)));
}
