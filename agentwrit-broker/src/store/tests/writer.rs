//! The writer under failure, panic and load.

use std::sync::{Arc, Mutex, mpsc};

use tokio::task::JoinSet;

use super::*;

pub(in crate::store) fn internal(cause: &str) -> StoreError {
    StoreError::internal(cause)
}

/// Occupies the writer with a job until the sender is dropped.
pub(in crate::store) async fn occupy(
    store: &Store,
) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), StoreError>>) {
    let (release, wait) = mpsc::channel::<()>();
    let (started, mut running) = tokio::sync::mpsc::channel(1);
    let (store, wait) = (store.clone(), Arc::new(Mutex::new(wait)));
    let job = tokio::spawn(async move {
        store
            .transact(move |_| {
                // An error means that it runs again.
                started.try_send(()).unwrap_or_default();
                wait.lock().unwrap().recv().unwrap_err();
                Ok(())
            })
            .await
    });
    running.recv().await.unwrap();
    (release, job)
}

/// Queues a job behind the waiting ones.
pub(in crate::store) async fn enqueue<T: Send + 'static>(
    store: &Store,
    job: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Clone + Send + 'static,
) -> tokio::task::JoinHandle<Result<T, StoreError>> {
    enqueue_with(store, Wants::none(), job).await
}

/// Queues a job with hints behind the waiting ones.
pub(in crate::store) async fn enqueue_with<T: Send + 'static>(
    store: &Store,
    wants: Wants,
    job: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Clone + Send + 'static,
) -> tokio::task::JoinHandle<Result<T, StoreError>> {
    let (before, store) = (store.inner.queue.capacity(), store.clone());
    let inner = Arc::clone(&store.inner);
    let waiting = tokio::spawn(async move { store.transact_with(wants, job).await });
    while inner.queue.capacity() == before {
        tokio::task::yield_now().await;
    }
    waiting
}

#[tokio::test]
async fn failed_job_changes_nothing_and_others_commit() {
    let fixture = Fixture::new();
    let (release, running) = occupy(&fixture.store).await;
    let first = enqueue(&fixture.store, |tx| register(tx, 1)).await;
    let failing = enqueue(&fixture.store, |tx| {
        register(tx, 2)?;
        Err::<(), _>(internal("refused"))
    })
    .await;
    let panicking = enqueue(&fixture.store, |tx| {
        register(tx, 3)?;
        panic!("a defect");
        #[expect(unreachable_code, reason = "gives the closure its type")]
        Ok(())
    })
    .await;
    let last = enqueue(&fixture.store, |tx| register(tx, 4)).await;
    drop(release);
    running.await.unwrap().unwrap();
    assert_eq!(first.await.unwrap(), Ok(true));
    assert_eq!(failing.await.unwrap(), Err(internal("refused")));
    assert_eq!(panicking.await.unwrap(), Err(internal("a job panicked")));
    assert_eq!(last.await.unwrap(), Ok(true));

    fixture
        .read(|reader| {
            for (number, there) in [(1, true), (2, false), (3, false), (4, true)] {
                assert_eq!(reader.agent(&agent_id(number))?.is_some(), there, "{number}");
                assert_eq!(reader.token(&token(number).jti)?.is_some(), there, "{number}");
            }
            assert_eq!(whole_trail(reader)?, 4);
            Ok(())
        })
        .await;
}

#[tokio::test]
async fn job_that_ignores_failed_write_fails() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    let outcome = fixture
        .store
        .transact(|tx| {
            tx.append(event("before"))?;
            let overlooked = tx.insert_token(&token(1));
            assert!(overlooked.is_err());
            Ok::<_, StoreError>("done")
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::Internal { .. })), "{outcome:?}");
    assert_eq!(fixture.read(whole_trail).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_concurrent_single_uses_succeeds() {
    let fixture = Fixture::new();
    for round in 0..20 {
        fixture.write(move |tx| tx.insert_launch_token(&launch_token(round))).await;
        let mut racers = JoinSet::new();
        for racer in 0..64_u64 {
            let store = fixture.store.clone();
            racers.spawn(async move {
                store
                    .transact(move |tx| {
                        let id = LaunchTokenId::from_bytes(round.to_be_bytes());
                        if !tx.consume_launch_token(id, at(1))? {
                            return Err(internal("already consumed"));
                        }
                        tx.insert_agent(&agent(round * 64 + racer))?;
                        tx.append(event("won"))
                    })
                    .await
            });
        }
        let outcomes = racers.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert_eq!(outcomes.iter().filter(|&outcome| *outcome == Err(internal("already consumed"))).count(), 63);
    }
    assert_eq!(fixture.read(whole_trail).await, 20);
}

#[tokio::test]
async fn full_queue_is_busy_until_it_empties() {
    let fixture = Fixture::with(StoreOptions { queue: 2, ..StoreOptions::default() });
    let (release, running) = occupy(&fixture.store).await;
    let waiting =
        [enqueue(&fixture.store, |tx| register(tx, 1)).await, enqueue(&fixture.store, |tx| register(tx, 2)).await];
    assert_eq!(fixture.store.transact(|tx| register(tx, 3)).await, Err(StoreError::Busy));
    drop(release);
    running.await.unwrap().unwrap();
    for job in waiting {
        assert_eq!(job.await.unwrap(), Ok(true));
    }
    assert!(fixture.write(|tx| register(tx, 3)).await);
}

#[tokio::test]
async fn abandoned_job_does_not_run() {
    let fixture = Fixture::new();
    let (release, running) = occupy(&fixture.store).await;
    let abandoned = enqueue(&fixture.store, |tx| register(tx, 1)).await;
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    drop(release);
    running.await.unwrap().unwrap();
    assert!(fixture.write(|tx| register(tx, 1)).await);
}

#[tokio::test]
async fn panicking_read_does_not_affect_others() {
    let fixture = Fixture::with(StoreOptions { readers: 1, ..StoreOptions::default() });
    let panicked = fixture.store.read(|_| -> Result<(), StoreError> { panic!("a defect") }).await;
    assert_eq!(panicked, Err(internal("a read panicked")));
    assert_eq!(fixture.read(total).await, 0);
}

#[tokio::test]
async fn job_reads_what_it_and_earlier_jobs_of_its_batch_wrote() {
    let fixture = Fixture::new();
    let (release, running) = occupy(&fixture.store).await;
    let earlier = enqueue(&fixture.store, |tx| register(tx, 1)).await;
    let reading = enqueue(&fixture.store, |tx| {
        register(tx, 2)?;
        let numbers = [1, 2, 3].map(|number| tx.agent(&agent_id(number)).map(|agent| agent.is_some()));
        // A list, which only the store can answer.
        let listed = tx.audit_events_after(0, 10)?.len();
        Ok((numbers, listed, tx.audit_total()?))
    })
    .await;
    let failing = enqueue(&fixture.store, |tx| {
        register(tx, 3)?;
        assert_eq!(tx.audit_events_after(0, 10)?.len(), 6);
        Err::<(), _>(internal("refused"))
    })
    .await;
    let last = enqueue(&fixture.store, |tx| Ok((tx.agent(&agent_id(3))?, tx.audit_events_after(0, 10)?.len()))).await;
    drop(release);
    running.await.unwrap().unwrap();
    assert_eq!(earlier.await.unwrap(), Ok(true));
    assert_eq!(reading.await.unwrap(), Ok(([Ok(true), Ok(true), Ok(false)], 4, 4)));
    assert_eq!(failing.await.unwrap(), Err(internal("refused")));
    assert_eq!(last.await.unwrap(), Ok((None, 4)));
    assert_eq!(fixture.read(whole_trail).await, 4);
}

#[tokio::test]
async fn later_of_two_changes_in_one_batch_is_kept() {
    let fixture = Fixture::new();
    fixture.write(|tx| register(tx, 1)).await;
    let (release, running) = occupy(&fixture.store).await;
    let first = enqueue(&fixture.store, |tx| tx.extend_agent(&agent_id(1), at(400))).await;
    let second = enqueue(&fixture.store, |tx| tx.bar_agent(&agent_id(1), at(7))).await;
    let third = enqueue(&fixture.store, |tx| tx.extend_agent(&agent_id(1), at(350))).await;
    drop(release);
    running.await.unwrap().unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(second.await.unwrap(), Ok(true));
    third.await.unwrap().unwrap();
    let expected = RegisteredAgent { expires_at: at(400), revoked_at: Some(at(7)), ..agent(1) };
    assert_eq!(fixture.read(|reader| reader.agent(&agent_id(1))).await, Some(expected));
}

#[tokio::test]
async fn launch_token_that_was_deleted_can_be_issued_again_in_same_batch() {
    let fixture = Fixture::new();
    fixture.write(|tx| tx.insert_launch_token(&launch_token(1))).await;
    let (release, running) = occupy(&fixture.store).await;
    let deleted = enqueue(&fixture.store, |tx| tx.delete_launch_token(launch_token(1).id)).await;
    let issued = enqueue(&fixture.store, |tx| tx.insert_launch_token(&launch_token(1))).await;
    drop(release);
    running.await.unwrap().unwrap();
    assert_eq!(deleted.await.unwrap(), Ok(true));
    assert_eq!(issued.await.unwrap(), Ok(()));
    let found = fixture.read(|reader| reader.launch_token_by_digest(&launch_token(1).digest)).await;
    assert_eq!(found, Some(launch_token(1)));
}
