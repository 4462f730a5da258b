//! Bounds on the number of connections, in all and of one address.
//!
//! 1. In all: as many as memory and open files allow (see [`capacity`](crate::limits::capacity)), 8192 at most.
//! 2. From one address: a quarter of that, so that no single one excludes the others.
//! 3. When there is no place left, the address with the most connections loses its oldest one to a newcomer with fewer. A
//!    connection on which a change is being made is not displaced.
//! 4. Trusted proxies are exempt from 2 and 3: they forward requests of many clients. Their clients share the places of long polls.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use crate::limits::fair_share::{FairPool, Favour, Place};

/// Open connections.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pool: FairPool,
    trusted_proxies: Arc<[IpNet]>,
}

impl Connections {
    /// Admits at most `most` connections.
    pub(crate) fn new(most: usize, trusted_proxies: &[IpNet]) -> Self {
        let pool = FairPool::new(most, most.div_ceil(4), Favour::Established);
        Self { pool, trusted_proxies: trusted_proxies.into() }
    }

    /// Returns a place for a connection from `address`, unless the address has its share already.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        if self.trusted_proxies.iter().any(|proxies| proxies.contains(&address)) {
            self.pool.admit_exempt()
        } else {
            self.pool.admit(address)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn rejects_connection_beyond_a_quarter_from_one_address() {
        let connections = Connections::new(8, &[]);
        let _places = [(), ()].map(|()| connections.admit(address("192.0.2.1")).unwrap());
        assert!(connections.admit(address("192.0.2.1")).is_none());
        assert!(connections.admit(address("192.0.2.2")).is_some());
    }

    #[test]
    fn exempts_trusted_proxies_from_the_share_and_not_from_the_total() {
        let connections = Connections::new(8, &["192.0.2.0/24".parse().unwrap()]);
        let places: Vec<_> = (0..9).map_while(|_| connections.admit(address("::ffff:192.0.2.1"))).collect();
        assert_eq!(places.len(), 8);
    }
}
