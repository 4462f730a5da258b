//! Reads that wait for a connection, and the clients that they are made for.

use std::{net::IpAddr, sync::mpsc, time::Duration};

use tokio::{
    task::{JoinHandle, yield_now},
    time::timeout,
};

use super::*;
use crate::store::{
    Caller,
    readers::{MAX_WAITING, WAITING_SHARE},
};

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Waits until `count` reads run or wait.
async fn until_reads(store: &Store, count: usize) {
    let reached = async {
        while store.reads_admitted() != count {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), reached).await.expect("the number of reads is reached");
}

/// Returns the result of a read, which must end soon.
async fn finished<T>(read: JoinHandle<T>) -> T {
    timeout(Duration::from_secs(10), read).await.expect("the read ends").unwrap()
}

/// Occupies the only connection until the sender is dropped.
async fn occupy(store: &Store) -> (mpsc::Sender<()>, JoinHandle<Result<bool, StoreError>>) {
    let (release, wait) = mpsc::channel::<()>();
    let reading = store.clone();
    let job = tokio::spawn(async move { reading.read(move |_| Ok(wait.recv().is_err())).await });
    until_reads(store, 1).await;
    (release, job)
}

fn read(store: &Store, caller: Caller) -> JoinHandle<Result<u64, StoreError>> {
    let store = store.clone();
    tokio::spawn(caller.scope(async move { store.read(total).await }))
}

#[tokio::test]
async fn rejects_read_of_address_that_has_its_share_of_waiting_reads_and_runs_that_of_another() {
    let Fixture { store, directory: _directory } =
        Fixture::with(StoreOptions { readers: 1, ..StoreOptions::default() });
    let (release, occupied) = occupy(&store).await;
    let (one, _connection) = Caller::new(address(1));
    let waiting: Vec<_> = (0..WAITING_SHARE).map(|_| read(&store, one.clone())).collect();
    until_reads(&store, 1 + WAITING_SHARE).await;
    assert_eq!(finished(read(&store, one)).await, Err(StoreError::Busy));
    let (two, _connection) = Caller::new(address(2));
    let of_another = read(&store, two);
    until_reads(&store, 2 + WAITING_SHARE).await;
    drop(release);
    assert_eq!(finished(occupied).await, Ok(true));
    assert_eq!(finished(of_another).await, Ok(0));
    for read in waiting {
        assert_eq!(finished(read).await, Ok(0));
    }
}

#[tokio::test]
async fn full_queue_gives_place_of_address_with_most_reads_to_address_with_none() {
    let Fixture { store, directory: _directory } =
        Fixture::with(StoreOptions { readers: 1, ..StoreOptions::default() });
    let (release, occupied) = occupy(&store).await;
    let mut connections = Vec::new();
    let mut waiting = Vec::new();
    for (count, last) in [(WAITING_SHARE, 1), (WAITING_SHARE, 2), (WAITING_SHARE, 3), (WAITING_SHARE - 1, 4)] {
        let (caller, connection) = Caller::new(address(last));
        connections.push(connection);
        waiting.extend((0..count).map(|_| read(&store, caller.clone())));
    }
    until_reads(&store, MAX_WAITING).await;
    let (newcomer, _connection) = Caller::new(address(5));
    let newcomer = read(&store, newcomer);
    let displaced = waiting.remove(0);
    assert_eq!(finished(displaced).await, Err(StoreError::Busy));
    drop(release);
    assert_eq!(finished(occupied).await, Ok(true));
    assert_eq!(finished(newcomer).await, Ok(0));
}

#[tokio::test]
async fn ends_waiting_read_when_connection_of_caller_is_dropped() {
    let Fixture { store, directory: _directory } =
        Fixture::with(StoreOptions { readers: 1, ..StoreOptions::default() });
    let (release, occupied) = occupy(&store).await;
    let (caller, connection) = Caller::new(address(1));
    let waiting = read(&store, caller);
    until_reads(&store, 2).await;
    drop(connection);
    assert_eq!(finished(waiting).await, Err(StoreError::Busy));
    assert_eq!(store.reads_admitted(), 1);
    drop(release);
    assert_eq!(finished(occupied).await, Ok(true));
}
