//! Connections that only read, on the runtime's blocking threads.
//!
//! 1. Few reads run at a time; [`MAX_WAITING`] may wait, a quarter of them for one client address. A full queue gives the
//!    place of the address with the most waiting reads to an address with fewer.
//! 2. A read that waits ends with the connection of its request; one that runs is finished. When a connection finds that the
//!    store does not respond, the reads that have waited meanwhile fail with it.
//!
//! A request's reads are attributed to it by [`Caller::scope`], around everything that the request does, so that no handler
//! has to pass the caller on.

use std::{
    fmt,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task,
};

use super::{Reader, StoreError};
use crate::limits::fair_share::{FairPool, Favour, Place};

/// Number of reads that may wait for a connection.
pub(super) const MAX_WAITING: usize = 1024;
/// Number of those that one address may hold.
pub(super) const WAITING_SHARE: usize = MAX_WAITING / 4;

tokio::task_local! {
    static CALLER: Caller;
}

/// The client that reads are made for. Reads outside of [`Caller::scope`] are the broker's own.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    address: IpAddr,
    /// Closed with the connection of the request.
    connected: watch::Receiver<()>,
}

/// Represents the connection of a request: dropping it ends the reads that wait for the request.
#[derive(Debug)]
pub(crate) struct CallerConnection(#[expect(dead_code, reason = "its drop closes the channel")] watch::Sender<()>);

impl Caller {
    /// Returns a caller and the value that stands for its connection.
    pub(crate) fn new(address: IpAddr) -> (Self, CallerConnection) {
        let (connection, connected) = watch::channel(());
        (Self { address, connected }, CallerConnection(connection))
    }

    /// Attributes the reads of `request` to this caller.
    pub(crate) fn scope<F: Future>(self, request: F) -> impl Future<Output = F::Output> {
        CALLER.scope(self, request)
    }

    async fn disconnected(caller: Option<Self>) {
        match caller {
            // Nothing is ever sent, so a change is the end.
            Some(mut caller) => drop(caller.connected.changed().await),
            None => std::future::pending().await,
        }
    }
}

#[derive(Debug)]
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Box<dyn ReadConnection>>>>,
    /// One for each connection.
    permits: Arc<Semaphore>,
    connections: u32,
    waiting: FairPool,
    outage: Arc<Mutex<Option<Outage>>>,
}

/// The latest failure to begin a read.
#[derive(Debug)]
struct Outage {
    at: Instant,
    error: StoreError,
}

/// A connection of a store that only reads.
pub(super) trait ReadConnection: fmt::Debug + Send {
    /// Calls `job` with one consistent state.
    fn snapshot(&mut self, job: &mut dyn FnMut(&dyn Reader)) -> Result<(), StoreError>;
}

impl Readers {
    pub(super) fn new(connections: Vec<Box<dyn ReadConnection>>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(connections.len())),
            connections: u32::try_from(connections.len()).unwrap_or(u32::MAX),
            idle: Arc::new(Mutex::new(connections)),
            waiting: FairPool::new(MAX_WAITING, WAITING_SHARE, Favour::Established),
            outage: Arc::default(),
        }
    }

    pub(super) async fn run<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&dyn Reader) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let asked = Instant::now();
        let (permit, _place) = self.turn().await?;
        if let Some(outage) = lock(&self.outage).as_ref().filter(|outage| outage.at > asked) {
            return Err(outage.error.clone().into());
        }
        let (idle, outage) = (Arc::clone(&self.idle), Arc::clone(&self.outage));
        let read = move || {
            // Held until the connection is back, also when the caller no longer waits for the result.
            let _permit = permit;
            let mut connection = lock(&idle).pop().ok_or_else(StoreError::closed)?;
            let outcome = catch_unwind(AssertUnwindSafe(|| read_snapshot(connection.as_mut(), &outage, job)))
                .unwrap_or_else(|_| Err(StoreError::internal("a read panicked").into()));
            lock(&idle).push(connection);
            outcome
        };
        task::spawn_blocking(read).await.unwrap_or_else(|_| Err(StoreError::closed().into()))
    }

    #[cfg(test)]
    pub(super) fn admitted(&self) -> usize {
        self.waiting.used()
    }

    /// Waits for a connection, in a place of the caller's share.
    async fn turn(&self) -> Result<(OwnedSemaphorePermit, Place), StoreError> {
        let caller = CALLER.try_with(Clone::clone).ok();
        let place = match &caller {
            Some(caller) => self.waiting.admit(caller.address),
            None => self.waiting.admit_exempt(),
        };
        let place = place.ok_or(StoreError::Busy)?;
        let permit = tokio::select! {
            biased;
            permit = Arc::clone(&self.permits).acquire_owned() => permit.map_err(|_| StoreError::closed())?,
            () = place.displaced() => return Err(StoreError::Busy),
            // The response would reach no client.
            () = Caller::disconnected(caller) => return Err(StoreError::Busy),
        };
        // A read that runs keeps its place to its end.
        if place.protect(true) { Ok((permit, place)) } else { Err(StoreError::Busy) }
    }

    /// Waits for the reads that run, rejects others, closes the connections and releases the database.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.permits.acquire_many(self.connections).await {
            self.permits.close();
            drop(all);
            lock(&self.idle).clear();
        }
    }
}

/// Runs `job` on one consistent snapshot.
fn read_snapshot<T, E, F>(connection: &mut dyn ReadConnection, outage: &Mutex<Option<Outage>>, job: F) -> Result<T, E>
where
    F: FnOnce(&dyn Reader) -> Result<T, E>,
    E: From<StoreError>,
{
    let (mut job, mut outcome) = (Some(job), None);
    let read = connection.snapshot(&mut |reader| outcome = job.take().map(|job| job(reader)));
    if let Err(error @ StoreError::Unavailable { .. }) = &read {
        *lock(outage) = Some(Outage { at: Instant::now(), error: error.clone() });
    }
    read?;
    outcome.unwrap_or_else(|| Err(StoreError::internal("a read did not run").into()))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
