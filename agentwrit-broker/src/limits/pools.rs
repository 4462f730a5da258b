//! The bounded pools that clients without a token can fill.

use std::net::IpAddr;

use super::{
    capacity::Capacity,
    fair_share::{FairPool, Favour, Place},
};

/// The pools, sized by the [`Capacity`]. Connections have theirs in [`Connections`](crate::server::Connections).
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) capacity: Capacity,
    bodies: FairPool,
    polls: FairPool,
    /// In bytes.
    pub(crate) responses: FairPool,
}

impl Pools {
    pub(crate) fn new(capacity: Capacity) -> Self {
        let share_of_connections = capacity.connections.div_ceil(4);
        Self {
            capacity,
            bodies: FairPool::new(capacity.large_bodies, capacity.large_bodies.div_ceil(4), Favour::Established),
            // A quarter of the connections is never taken by waiting, also where they all come through one proxy.
            polls: FairPool::new(capacity.connections - share_of_connections, share_of_connections, Favour::Newcomers),
            responses: FairPool::new(capacity.large_responses, capacity.large_responses / 2, Favour::Newcomers),
        }
    }

    /// A place to read a large request body.
    pub(crate) fn large_body(&self, client: IpAddr) -> Option<Place> {
        self.bodies.admit(client)
    }

    /// A place to wait for the feed. A displaced one is to be answered at once.
    pub(crate) fn long_poll(&self, client: IpAddr) -> Option<Place> {
        self.polls.admit(client)
    }
}
