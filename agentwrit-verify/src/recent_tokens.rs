//! Copies of the tokens that a thread verifies again and again.
//!
//! 1. A hit in the [shared cache](crate::cache) writes to memory that all threads write to: the lock of the cache, the
//!    reference counts of token and claims. Processors then wait for each other. A copy belongs to one set, and a set to
//!    the threads of one number (modulo the number of sets): a hit writes to no memory that threads of other numbers
//!    write to.
//! 2. A copy saves what the shared cache saves, parsing and signatures. The verifier performs every check that changes
//!    with time at each hit: keys, times, revocation. Nothing has to be removed from a set for a token to be rejected.
//! 3. A thread that finds its set locked uses the shared cache: it never waits.
//! 4. A slot takes a token that is used twice in succession among those of the slot, once its present token is used less.
//!    So tokens in no order cost hardly any copies.
//! 5. The slots are taken out of the cache's memory: an eighth at most, when each has the longest token that is copied.
//! 6. A copy whose key no longer counts is removed when its token is presented.

use std::{
    fmt,
    hash::BuildHasher as _,
    sync::{Arc, Mutex, MutexGuard, TryLockError},
};

use crate::{
    cache::{ByLength, BySignature, CachedToken},
    keys::KeySet,
    rules::Rules,
    thread_number::{processors, thread_number},
};

/// Sets of copies, and handles of the verifier's rules for [`VerifiedToken`](crate::VerifiedToken)s.
pub(crate) struct RecentTokens {
    hasher: BySignature,
    sets: Box<[Set]>,
}

/// Reference to the rules: its reference count is written by the threads of one set.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct RulesHandle(pub(crate) Arc<Rules>);

/// Copies of the threads of one number; apart from others by the length of the lines that processors fetch at once.
#[repr(align(128))]
struct Set {
    rules: Arc<RulesHandle>,
    slots: Mutex<Box<[Slot]>>,
}

#[derive(Default)]
struct Slot {
    copy: Option<TokenCopy>,
    /// Hits of the copy, less the uses of other tokens of the slot.
    uses: u8,
    /// Hash of the other token that was used last.
    candidate: u64,
}

struct TokenCopy {
    hash: u64,
    token: Box<str>,
    verified: Arc<CachedToken>,
}

/// Number and memory of the slots of a verifier.
#[derive(Clone, Copy)]
pub(crate) struct RecentCapacity {
    sets: usize,
    slots: usize,
}

impl RecentCapacity {
    const MOST_SLOTS: usize = 64;
    /// Weight of the longest token that is copied.
    const LONGEST: u64 = ByLength::TYPICAL.saturating_mul(4);

    /// Returns the capacity beside a cache of this memory.
    pub(crate) fn beside(cache_memory: u64) -> Self {
        // Some threads share a number while there are more threads than numbers.
        let sets = processors().saturating_mul(2).next_power_of_two();
        let tokens = cache_memory / 8 / Self::LONGEST;
        let slots = usize::try_from(tokens / sets as u64).unwrap_or(Self::MOST_SLOTS).min(Self::MOST_SLOTS);
        Self { sets, slots }
    }

    /// Returns the memory of the longest tokens in all slots.
    pub(crate) fn memory(self) -> u64 {
        (self.sets as u64).saturating_mul(self.slots as u64).saturating_mul(Self::LONGEST)
    }
}

impl RecentTokens {
    pub(crate) fn new(rules: &Arc<Rules>, capacity: RecentCapacity) -> Self {
        let set = |_| Set {
            rules: Arc::new(RulesHandle(Arc::clone(rules))),
            slots: Mutex::new((0..capacity.slots).map(|_| Slot::default()).collect()),
        };
        Self { hasher: BySignature::default(), sets: (0..capacity.sets).map(set).collect() }
    }

    fn set(&self, thread: usize) -> Option<&Set> {
        self.sets.get(thread.checked_rem(self.sets.len())?)
    }

    /// Returns the rules, with a reference count of this thread's set.
    pub(crate) fn rules(&self, rules: &Arc<Rules>) -> Arc<RulesHandle> {
        let handle = self.set(thread_number()).map(|set| Arc::clone(&set.rules));
        handle.unwrap_or_else(|| Arc::new(RulesHandle(Arc::clone(rules))))
    }

    /// Returns the slot of a token in this thread's set; `None` while another thread uses the set.
    pub(crate) fn slot(&self, token: &str) -> Option<LockedSlot<'_>> {
        self.slot_of(thread_number(), token)
    }

    /// Returns whether this thread's set has a copy of the token.
    pub(crate) fn contains(&self, token: &str) -> bool {
        self.slot(token).is_some_and(|slot| slot.contains(token))
    }

    fn slot_of(&self, thread: usize, token: &str) -> Option<LockedSlot<'_>> {
        let slots = match self.set(thread)?.slots.try_lock() {
            Ok(slots) => slots,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let hash = self.hasher.hash_one(token);
        let index = usize::try_from(hash >> 32).ok()?.checked_rem(slots.len())?;
        Some(LockedSlot { slots, index, hash })
    }
}

/// Slot of a token, and the lock of its set.
pub(crate) struct LockedSlot<'a> {
    slots: MutexGuard<'a, Box<[Slot]>>,
    index: usize,
    hash: u64,
}

impl LockedSlot<'_> {
    /// Returns the copy of the token, if there is one whose keys count.
    pub(crate) fn find(&mut self, token: &str, keys: &KeySet) -> Option<&Arc<CachedToken>> {
        let slot = self.slots.get_mut(self.index)?;
        let copy = slot.copy.as_ref().filter(|copy| copy.hash == self.hash && *copy.token == *token)?;
        if !copy.verified.is_trusted_by(keys) {
            *slot = Slot::default();
            return None;
        }
        slot.uses = slot.uses.saturating_add(1);
        slot.copy.as_ref().map(|copy| &copy.verified)
    }

    fn contains(&self, token: &str) -> bool {
        let slot = self.slots.get(self.index).and_then(|slot| slot.copy.as_ref());
        slot.is_some_and(|copy| copy.hash == self.hash && *copy.token == *token)
    }

    /// Removes the copy of a token that is no longer valid.
    pub(crate) fn remove(&mut self) {
        if let Some(slot) = self.slots.get_mut(self.index) {
            *slot = Slot::default();
        }
    }

    /// Counts the use of a token that the shared cache holds, and copies it if it is used often enough.
    pub(crate) fn count(&mut self, token: &str, verified: &CachedToken) {
        let Some(slot) = self.slots.get_mut(self.index) else { return };
        let is_repeated = slot.candidate == self.hash;
        slot.candidate = self.hash;
        slot.uses = slot.uses.saturating_sub(1);
        if is_repeated && slot.uses == 0 && ByLength::weight_of(token, verified) <= RecentCapacity::LONGEST {
            let verified = Arc::new(verified.unshared());
            *slot =
                Slot { copy: Some(TokenCopy { hash: self.hash, token: token.into(), verified }), ..Slot::default() };
        }
    }
}

impl fmt::Debug for RecentTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentTokens").field("sets", &self.sets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{issue::SigningKey, testing::TestIssuer, verifier::Verifier};

    /// Returns a verifier and a token that its shared cache holds.
    fn cached() -> (TestIssuer, Verifier, String) {
        let issuer = TestIssuer::new();
        let (verifier, token) = (issuer.verifier_builder().build(), issuer.token(&["a:b:c"]));
        cache(&verifier, &token);
        (issuer, verifier, token)
    }

    /// Has the shared cache hold a token, of which the sets know nothing: this thread's number is that of any of them.
    fn cache(verifier: &Verifier, token: &str) {
        for _ in 0..2 {
            verifier.verify(token).unwrap();
        }
        assert!(verifier.rules.cache.get(token).is_some());
        for set in &verifier.recent.sets {
            set.slots.lock().unwrap().fill_with(Slot::default);
        }
    }

    /// Uses the token as the verifier does; returns its copy, if there is one.
    fn used(verifier: &Verifier, thread: usize, token: &str) -> Option<Arc<CachedToken>> {
        let mut slot = verifier.recent.slot_of(thread, token).unwrap();
        let keys = verifier.rules.keys.key_set().unwrap();
        if let Some(copy) = slot.find(token, &keys) {
            return Some(Arc::clone(copy));
        }
        slot.count(token, &verifier.rules.cache.get(token).unwrap());
        None
    }

    #[test]
    fn each_set_has_its_own_copy_after_two_uses() {
        let (_issuer, verifier, token) = cached();
        let uses = |thread| [(); 3].map(|()| used(&verifier, thread, &token));
        let ([None, None, Some(first)], [None, None, Some(second)]) = (uses(0), uses(1)) else {
            panic!("copied after two uses")
        };
        assert!(!Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first.claims, &second.claims));
        assert_eq!(first.claims, second.claims);
        // The slot's and this one: no other thread counts here.
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&first.claims)), (2, 1));
        let again = used(&verifier, 0, &token).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }

    #[test]
    fn locked_set_returns_no_slot() {
        let (_issuer, verifier, token) = cached();
        let locked = verifier.recent.slot_of(0, &token);
        assert!(locked.is_some() && verifier.recent.slot_of(0, &token).is_none());
        assert!(verifier.recent.slot_of(1, &token).is_some());
        assert!(verifier.verify(&token).is_ok(), "the shared cache is used meanwhile");
    }

    #[test]
    fn tokens_in_turn_cost_no_copies() {
        let (issuer, verifier, _) = cached();
        let tokens: Vec<String> = (0..2000).map(|_| issuer.token(&["a:b:c"])).collect();
        let copies = |verifier: &Verifier| {
            let set = &verifier.recent.sets[0];
            set.slots.lock().unwrap().iter().filter(|slot| slot.copy.is_some()).count()
        };
        for token in &tokens {
            cache(&verifier, token);
        }
        for token in tokens.iter().chain(&tokens).chain(&tokens) {
            assert!(used(&verifier, 0, token).is_none());
        }
        assert!(copies(&verifier) <= 2, "{}", copies(&verifier));
    }

    #[test]
    fn used_copy_stays_until_it_is_used_less_than_others() {
        let (issuer, verifier, token) = cached();
        let other = (0..10_000).map(|_| issuer.token(&["a:b:c"])).find(|other| {
            let index = |token: &str| verifier.recent.slot_of(0, token).unwrap().index;
            index(other) == index(&token)
        });
        let other = other.unwrap();
        cache(&verifier, &other);
        assert!((0..5).filter_map(|_| used(&verifier, 0, &token)).count() == 3);
        // The copy has three uses.
        assert!((0..3).all(|_| used(&verifier, 0, &other).is_none()));
        assert!(used(&verifier, 0, &other).is_some());
        assert!(used(&verifier, 0, &token).is_none());
    }

    #[test]
    fn copy_of_withdrawn_key_is_removed_at_its_first_use() {
        let (_issuer, verifier, token) = cached();
        let keys = verifier.rules.keys.key_set().unwrap();
        assert!((0..3).filter_map(|_| used(&verifier, 0, &token)).count() == 1);
        let others = KeySet::new([SigningKey::from_seed(&[9; 32]).unwrap().public_key().clone()]);
        let mut slot = verifier.recent.slot_of(0, &token).unwrap();
        assert!(slot.find(&token, &others.unwrap()).is_none());
        assert!(slot.find(&token, &keys).is_none() && !slot.contains(&token));
    }

    #[test]
    fn longest_copies_take_an_eighth_of_cache_memory_at_most() {
        for memory in [0, 1, 20_000, 200_000, 1 << 20, 16 << 20, 1 << 30, u64::MAX] {
            let capacity = RecentCapacity::beside(memory);
            assert!(capacity.memory() <= memory / 8, "{memory}");
            assert!(memory < (16 << 20) || capacity.slots > 0, "{memory}");
        }
    }
}
