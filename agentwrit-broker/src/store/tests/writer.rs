//! The writer under failure, panic and load.

use std::sync::{Arc, mpsc};

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
    let (started, running) = tokio::sync::oneshot::channel();
    let store = store.clone();
    let job = tokio::spawn(async move {
        store
            .transact(move |_| {
                started.send(()).unwrap();
                wait.recv().unwrap_err();
                Ok(())
            })
            .await
    });
    running.await.unwrap();
    (release, job)
}

/// Queues a job behind the waiting ones.
pub(in crate::store) async fn enqueue<T: Send + 'static>(
    store: &Store,
    job: impl FnOnce(&mut dyn Tx) -> Result<T, StoreError> + Send + 'static,
) -> tokio::task::JoinHandle<Result<T, StoreError>> {
    let (before, store) = (store.inner.queue.capacity(), store.clone());
    let inner = Arc::clone(&store.inner);
    let waiting = tokio::spawn(async move { store.transact(job).await });
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
