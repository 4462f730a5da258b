//! Bounded pools whose places are shared fairly among client addresses.
//!
//! 1. A pool has a capacity (connections, bodies, bytes). One address holds at most its share of it.
//! 2. A newcomer to a full pool displaces the oldest place of the address that holds the most. The displaced place counts
//!    no longer; its holder is notified and releases its resources.
//! 3. [`Favour`] decides the remaining cases: between a newcomer and an established holder with as much, and
//!    between an address's own old place and its new one.
//! 4. A place can be protected for a while, e.g. while a change is being committed, or until a deadline: it is then not
//!    displaced.
//! 5. Addresses count as in the rate limits: an IPv6 network of 64 bits is one client.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::rate_limit::{AddressKey, address_key};

/// Winner where shares are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Favour {
    /// Established holders: an address that has its share is rejected, and only an address that would hold more than the
    /// newcomer is displaced. For places that are held for a purpose, such as connections.
    Established,
    /// Newcomers: an address that has its share displaces its own oldest place, and addresses with as much as the newcomer
    /// would have are displaced. For places that are given back quickly unless their client stalls.
    Newcomers,
}

/// Holder of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Account {
    /// A client, by its address.
    Client(AddressKey),
    /// All clients together: for responses that they share.
    Shared,
}

impl From<IpAddr> for Account {
    fn from(address: IpAddr) -> Self {
        Self::Client(address_key(address))
    }
}

/// A bounded pool. Clones share it.
#[derive(Clone)]
pub(crate) struct FairPool {
    state: Arc<Mutex<State>>,
    capacity: usize,
    share: usize,
    favour: Favour,
}

/// A place in a pool, free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pool: FairPool,
    number: u64,
    account: Option<Account>,
    weight: usize,
    occupant: Arc<Occupant>,
}

#[derive(Default)]
struct State {
    used: usize,
    next: u64,
    holders: HashMap<Account, Holder>,
}

/// Places of one account, oldest first.
#[derive(Default)]
struct Holder {
    held: usize,
    places: BTreeMap<u64, (usize, Arc<Occupant>)>,
}

/// The holder of a place, as seen from the pool.
struct Occupant {
    protection: Mutex<Protection>,
    displaced: Notify,
    on_displacement: Option<Box<dyn Fn() + Send + Sync>>,
}

/// Protection of a place from being displaced.
#[derive(Clone, Copy, Debug)]
enum Protection {
    Off,
    Until(Instant),
    On,
}

impl FairPool {
    /// A pool of `capacity`, of which one address gets at most `share`.
    pub(crate) fn new(capacity: usize, share: usize, favour: Favour) -> Self {
        Self { state: Arc::default(), capacity, share: share.clamp(1, capacity.max(1)), favour }
    }

    /// A place for `address`, unless it has its share or the pool is full of fairer claims.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Place> {
        self.take(address.into(), 1, None)
    }

    /// As [`admit`](Self::admit), for `weight` of the capacity; a larger weight than the share counts as the whole share.
    /// `on_displacement` runs when the place is displaced: for holders that are not polled.
    pub(crate) fn admit_weight(
        &self,
        account: impl Into<Account>,
        weight: usize,
        on_displacement: impl Fn() + Send + Sync + 'static,
    ) -> Option<Place> {
        self.take(account.into(), weight.min(self.share), Some(Box::new(on_displacement)))
    }

    /// Returns whether [`admit_weight`](Self::admit_weight) would give a place now.
    pub(crate) fn would_admit(&self, account: impl Into<Account>, weight: usize) -> bool {
        let mut state = self.lock();
        let displaced = state.make_room(Some(account.into()), weight.min(self.share), self);
        let admits = displaced.is_some();
        state.put_back(displaced.unwrap_or_default());
        admits
    }

    /// A place that counts for no address and is not displaced: for proxies, which speak for many clients.
    pub(crate) fn admit_exempt(&self) -> Option<Place> {
        let mut state = self.lock();
        let displaced = state.make_room(None, 1, self)?;
        state.used = state.used.saturating_add(1);
        drop(state);
        Occupant::displace_all(&displaced);
        Some(Place { pool: self.clone(), number: 0, account: None, weight: 1, occupant: Arc::new(Occupant::new(None)) })
    }

    fn take(
        &self,
        account: Account,
        weight: usize,
        on_displacement: Option<Box<dyn Fn() + Send + Sync>>,
    ) -> Option<Place> {
        let occupant = Arc::new(Occupant::new(on_displacement));
        let mut state = self.lock();
        let displaced = state.make_room(Some(account), weight, self)?;
        let number = state.next;
        state.next = number.wrapping_add(1);
        state.used = state.used.saturating_add(weight);
        let holder = state.holders.entry(account).or_default();
        holder.held = holder.held.saturating_add(weight);
        holder.places.insert(number, (weight, Arc::clone(&occupant)));
        drop(state);
        Occupant::displace_all(&displaced);
        Some(Place { pool: self.clone(), number, account: Some(account), weight, occupant })
    }

    /// Used part of the capacity.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.lock().used
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Frees `weight`, or changes nothing.
    fn make_room(&mut self, account: Option<Account>, weight: usize, pool: &FairPool) -> Option<Vec<Removed>> {
        let mut displaced = Vec::new();
        while let Some(short_of) = self.short_of(account, weight, pool) {
            let victim = match short_of {
                Short::OfShare(own) => self.oldest(own).filter(|_| pool.favour == Favour::Newcomers),
                Short::OfCapacity => self.largest_beyond(account, weight, pool.favour),
            };
            let Some((account, number)) = victim else {
                // A newcomer that is rejected in the end displaces no place.
                self.put_back(displaced);
                return None;
            };
            let (weight, occupant) = self.remove(account, number)?;
            displaced.push(Removed { account, number, weight, occupant });
        }
        Some(displaced)
    }

    fn short_of(&self, account: Option<Account>, weight: usize, pool: &FairPool) -> Option<Short> {
        match account {
            Some(account) if self.held(account).saturating_add(weight) > pool.share => Some(Short::OfShare(account)),
            Some(_) | None => (self.used.saturating_add(weight) > pool.capacity).then_some(Short::OfCapacity),
        }
    }

    /// The oldest displaceable place of the address that holds the most, if that is more than fair.
    fn largest_beyond(&self, newcomer: Option<Account>, weight: usize, favour: Favour) -> Option<(Account, u64)> {
        let would_hold = newcomer.map_or(0, |account| self.held(account)).saturating_add(weight);
        let holds_more = |holder: &Holder| match favour {
            Favour::Established => holder.held > would_hold,
            Favour::Newcomers => holder.held >= would_hold,
        };
        self.holders
            .iter()
            .filter(|(account, holder)| Some(**account) != newcomer && holds_more(holder))
            .filter_map(|(account, holder)| Some((holder.held, *account, holder.oldest()?)))
            .max_by_key(|(held, _, number)| (*held, std::cmp::Reverse(*number)))
            .map(|(_, account, number)| (account, number))
    }

    fn oldest(&self, account: Account) -> Option<(Account, u64)> {
        Some((account, self.holders.get(&account)?.oldest()?))
    }

    fn held(&self, account: Account) -> usize {
        self.holders.get(&account).map_or(0, |holder| holder.held)
    }

    fn remove(&mut self, account: Account, number: u64) -> Option<(usize, Arc<Occupant>)> {
        let holder = self.holders.get_mut(&account)?;
        let (weight, occupant) = holder.places.remove(&number)?;
        holder.held = holder.held.saturating_sub(weight);
        if holder.places.is_empty() {
            self.holders.remove(&account);
        }
        self.used = self.used.saturating_sub(weight);
        Some((weight, occupant))
    }

    fn put_back(&mut self, places: Vec<Removed>) {
        for Removed { account, number, weight, occupant } in places {
            let holder = self.holders.entry(account).or_default();
            holder.held = holder.held.saturating_add(weight);
            holder.places.insert(number, (weight, occupant));
            self.used = self.used.saturating_add(weight);
        }
    }
}

/// A place that was removed to make room.
struct Removed {
    account: Account,
    number: u64,
    weight: usize,
    occupant: Arc<Occupant>,
}

/// Bound that leaves no room for a newcomer.
enum Short {
    OfShare(Account),
    OfCapacity,
}

impl Holder {
    fn oldest(&self) -> Option<u64> {
        self.places.iter().find(|(_, (_, occupant))| !occupant.is_protected()).map(|(number, _)| *number)
    }
}

impl Occupant {
    fn new(on_displacement: Option<Box<dyn Fn() + Send + Sync>>) -> Self {
        Self { protection: Mutex::new(Protection::Off), displaced: Notify::new(), on_displacement }
    }

    fn is_protected(&self) -> bool {
        match *self.protection.lock().unwrap_or_else(PoisonError::into_inner) {
            Protection::Off => false,
            Protection::Until(deadline) => Instant::now() < deadline,
            Protection::On => true,
        }
    }

    /// Without the pool's lock: the holders may take it.
    fn displace_all(places: &[Removed]) {
        for Removed { occupant, .. } in places {
            occupant.displaced.notify_one();
            if let Some(act) = &occupant.on_displacement {
                act();
            }
        }
    }
}

impl Place {
    /// Holder of the place; `None` if it is exempt.
    pub(crate) fn account(&self) -> Option<Account> {
        self.account
    }

    /// Ends when the place is displaced. For one waiter.
    pub(crate) async fn displaced(&self) {
        self.occupant.displaced.notified().await;
    }

    /// Protects the place from being displaced, or ends that. Returns whether the place is still held: a holder that
    /// was displaced must not begin an operation that needs protection.
    pub(crate) fn protect(&self, protected: bool) -> bool {
        self.set_protection(if protected { Protection::On } else { Protection::Off })
    }

    /// As [`protect`](Self::protect), until a deadline.
    pub(crate) fn protect_until(&self, deadline: Instant) -> bool {
        self.set_protection(Protection::Until(deadline))
    }

    fn set_protection(&self, protection: Protection) -> bool {
        let state = self.pool.lock();
        *self.occupant.protection.lock().unwrap_or_else(PoisonError::into_inner) = protection;
        let Some(account) = self.account else { return true };
        state.holders.get(&account).is_some_and(|holder| holder.places.contains_key(&self.number))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        match self.account {
            // Already removed if it was displaced.
            Some(account) => drop(state.remove(account, self.number)),
            None => state.used = state.used.saturating_sub(self.weight),
        }
    }
}

impl fmt::Debug for FairPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairPool")
            .field("capacity", &self.capacity)
            .field("share", &self.share)
            .field("favour", &self.favour)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Occupant").field("protection", &self.protection).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
