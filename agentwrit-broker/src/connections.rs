//! How many connections there may be, in all and from one address.
//!
//! 1. In all: 8192, or fewer where the system allows fewer open files, so that the broker never runs out of them.
//! 2. From one address: a quarter of that, so that no single one can keep the others out. Trusted proxies are exempt:
//!    they speak for many.

use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use ipnet::IpNet;

use crate::rate_limit::{AddressKey, address_key};

/// The most connections there may be, whatever the system allows.
const MOST: usize = 8192;
/// Files that are not connections: database, log, certificates.
const OTHER_FILES: usize = 64;

/// The connections that are open, by address.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    open: Arc<Mutex<HashMap<AddressKey, usize>>>,
    trusted_proxies: Arc<[IpNet]>,
    most: usize,
}

/// A place for one connection, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    key: Option<AddressKey>,
    connections: Connections,
}

impl Connections {
    pub(crate) fn new(trusted_proxies: &[IpNet]) -> Self {
        Self { open: Arc::default(), trusted_proxies: trusted_proxies.into(), most: limit(open_files()) }
    }

    /// How many there may be in all.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// A place for a connection from `address`, unless it has its share already.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        if self.trusted_proxies.iter().any(|proxies| proxies.contains(&address)) {
            return Some(Place { key: None, connections: self.clone() });
        }
        let key = address_key(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let held = open.entry(key).or_default();
        if *held >= self.most.div_ceil(4) {
            return None;
        }
        *held = held.saturating_add(1);
        Some(Place { key: Some(key), connections: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = open.get_mut(&key) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                open.remove(&key);
            }
        }
    }
}

fn limit(open_files: Option<usize>) -> usize {
    open_files.map_or(MOST, |files| files.saturating_sub(OTHER_FILES).clamp(4, MOST))
}

/// The soft limit of open files, where the system tells.
fn open_files() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, trusted: &[&str]) -> Connections {
        let trusted: Vec<IpNet> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        Connections { most, ..Connections::new(&trusted) }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_gets_a_quarter_and_gives_it_back() {
        let connections = connections(8, &[]);
        let first = connections.admit(address("192.0.2.1")).unwrap();
        let _second = connections.admit(address("::ffff:192.0.2.1")).unwrap();
        assert!(connections.admit(address("192.0.2.1")).is_none());
        assert!(connections.admit(address("192.0.2.2")).is_some());
        drop(first);
        assert!(connections.admit(address("192.0.2.1")).is_some());
    }

    #[test]
    fn nobody_is_remembered_without_a_connection() {
        let connections = connections(8, &[]);
        drop(connections.admit(address("192.0.2.1")));
        assert!(connections.open.lock().unwrap().is_empty());
    }

    #[test]
    fn trusted_proxies_speak_for_many() {
        let connections = connections(4, &["192.0.2.0/24"]);
        let places: Vec<_> = (0..20).map(|_| connections.admit(address("192.0.2.1"))).collect();
        assert!(places.iter().all(Option::is_some));
    }

    #[test]
    fn the_limit_leaves_room_for_other_files() {
        assert_eq!((limit(Some(1024)), limit(Some(1_000_000)), limit(None), limit(Some(0))), (960, 8192, 8192, 4));
    }
}
