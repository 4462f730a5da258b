//! Bounded pools that unauthenticated clients can fill.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    capacity::Capacity,
    fair_share::{FairPool, Favour, Place},
};

/// The pools, sized by the [`Capacity`]. Connections have their own in [`Connections`](crate::server::Connections).
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) capacity: Capacity,
    bodies: FairPool,
    polls: FairPool,
    /// Large responses of one client each, in bytes.
    pub(crate) responses: FairPool,
    /// Snapshots of the feed, in bytes: shared by all clients, so that no client's other responses displace them.
    pub(crate) snapshots: FairPool,
    /// Other responses of the feed that several clients share, in bytes.
    pub(crate) shared_responses: FairPool,
    long_reads: Arc<Semaphore>,
}

impl Pools {
    pub(crate) fn new(capacity: Capacity) -> Self {
        let share_of_connections = capacity.connections.div_ceil(4);
        let (half, quarter) = (capacity.large_responses / 2, capacity.large_responses / 4);
        Self {
            capacity,
            // A stalled body gives way to a newer one, also of its own address: a client that sends one byte of each of
            // its bodies keeps neither its neighbours behind a NAT nor other addresses out. A body that was received
            // whole is protected, and the others are given back within the time limit of a body.
            bodies: FairPool::new(capacity.large_bodies, capacity.large_bodies.div_ceil(4), Favour::Newcomers),
            // A quarter of the connections is never taken by waiting, even if all waiting clients come through one proxy.
            polls: FairPool::new(capacity.connections - share_of_connections, share_of_connections, Favour::Newcomers),
            responses: FairPool::new(quarter, quarter / 2, Favour::Newcomers),
            snapshots: FairPool::new(half, half, Favour::Newcomers),
            shared_responses: FairPool::new(quarter, quarter, Favour::Newcomers),
            long_reads: Arc::new(Semaphore::new(1)),
        }
    }

    /// Place to read a large request body.
    pub(crate) fn large_body(&self, client: IpAddr) -> Option<Place> {
        self.bodies.admit(client)
    }

    /// Number of large bodies that have places.
    #[cfg(test)]
    pub(crate) fn large_bodies(&self) -> usize {
        self.bodies.used()
    }

    /// Place to wait for the feed. A displaced request is answered at once.
    pub(crate) fn long_poll(&self, client: IpAddr) -> Option<Place> {
        self.polls.admit(client)
    }

    /// Turn to read from the store for as long as its content makes that take: snapshots and old pages of the feed, the
    /// count of agents. One at a time, so that unauthenticated requests leave a reader to all others.
    pub(crate) async fn long_read(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.long_reads).acquire_owned().await.ok()
    }
}
