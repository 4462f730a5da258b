//! Connections that only read, on the runtime's blocking threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::Connection;
use tokio::{sync::Semaphore, task};

use super::{OpenError, Reader, StoreError, files::Claim, open};

/// How many reads may wait for a connection.
const MAX_WAITING: usize = 1024;

#[derive(Debug)]
pub(super) struct Readers {
    idle: Arc<Mutex<Idle>>,
    /// One for each connection.
    permits: Arc<Semaphore>,
    connections: u32,
    waiting: Semaphore,
}

/// Connections that nothing reads from now.
#[derive(Debug)]
struct Idle {
    connections: Vec<Connection>,
    /// Held as long as the connections are.
    claim: Option<Arc<Claim>>,
}

impl Readers {
    pub(super) fn open(claim: Arc<Claim>, connections: usize) -> Result<Self, OpenError> {
        let idle = (0..connections).map(|_| open::read_only(claim.path())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            permits: Arc::new(Semaphore::new(idle.len())),
            connections: u32::try_from(idle.len()).unwrap_or(u32::MAX),
            idle: Arc::new(Mutex::new(Idle { connections: idle, claim: Some(claim) })),
            waiting: Semaphore::new(MAX_WAITING),
        })
    }

    pub(super) async fn run<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&Reader<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let _place = self.waiting.try_acquire().map_err(|_| StoreError::Busy)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::closed())?;
        let idle = Arc::clone(&self.idle);
        let read = move || {
            // Held until the connection is back, also when nobody waits for the answer any more.
            let _permit = permit;
            let connection = lock(&idle).connections.pop().ok_or_else(StoreError::closed)?;
            let outcome = catch_unwind(AssertUnwindSafe(|| read_snapshot(&connection, job)))
                .unwrap_or_else(|_| Err(StoreError::internal("a read panicked").into()));
            lock(&idle).connections.push(connection);
            outcome
        };
        task::spawn_blocking(read).await.unwrap_or_else(|_| Err(StoreError::closed().into()))
    }

    /// Waits for the reads that run, refuses others, closes the connections and lets go of the database.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.permits.acquire_many(self.connections).await {
            self.permits.close();
            drop(all);
            let mut idle = lock(&self.idle);
            idle.connections.clear();
            idle.claim = None;
        }
    }
}

/// Everything that `job` reads is of one moment.
fn read_snapshot<T, E, F>(connection: &Connection, job: F) -> Result<T, E>
where
    F: FnOnce(&Reader<'_>) -> Result<T, E>,
    E: From<StoreError>,
{
    let snapshot = connection.unchecked_transaction().map_err(StoreError::from)?;
    job(&Reader::new(&snapshot))
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
