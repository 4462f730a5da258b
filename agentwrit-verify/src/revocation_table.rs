//! Lookup table of the revocation list: one writer, any number of readers, no locks and no `unsafe`.
//!
//! An open-addressing table of atomics. A slot is filled once and its key never changes; the key's first half is
//! written last, so that a reader that sees it sees the rest. Growth and removal build another table, which the list
//! then publishes. A slot takes 24 bytes and at most three quarters are filled; the table doubles, so that an entry
//! takes 33 to 67 bytes.
//!
//! Most lookups miss. A Bloom filter of one byte a slot, whose bits for one key are in one word, resolves them after one
//! load from a twenty-fourth of the memory, and without a branch: the loads for all keys of a token proceed in
//! parallel. Its bits are set before the slot is filled.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::clock::UnixTime;

pub(crate) struct RevocationTable {
    slots: Box<[Slot]>,
    filter: Box<[AtomicU64]>,
    filled: AtomicUsize,
}

#[derive(Default)]
struct Slot {
    /// First half of the key; 0 means that the slot is free.
    high: AtomicU64,
    low: AtomicU64,
    /// `revoked_at` and `expires_at`, 32 bits of seconds each (until the year 2106).
    times: AtomicU64,
}

impl RevocationTable {
    const SMALLEST: usize = 64;
    /// Slots that share a word of the filter: 8 bits each.
    const SLOTS_PER_WORD: usize = 8;

    pub(crate) fn with_capacity_for(entries: usize) -> Self {
        let size = entries.saturating_mul(4).div_ceil(3).next_power_of_two().max(Self::SMALLEST);
        Self {
            slots: (0..size).map(|_| Slot::default()).collect(),
            filter: (0..size / Self::SLOTS_PER_WORD).map(|_| AtomicU64::new(0)).collect(),
            filled: AtomicUsize::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.filled.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that the table takes.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.slots).saturating_add(size_of_val(&*self.filter))
    }

    /// `false` when the key is certainly not there; hardly ever `true` when it isn't.
    pub(crate) fn may_contain(&self, key: &[u8; 16]) -> bool {
        let (_, low) = halves(key);
        let (word, bits) = self.word(low);
        word.is_some_and(|word| word.load(Ordering::Acquire) & bits == bits)
    }

    /// Returns the filter word of a key, and its three bits.
    fn word(&self, low: u64) -> (Option<&AtomicU64>, u64) {
        let mask = self.filter.len().saturating_sub(1) as u64;
        let bit = |shift: u32| 1_u64 << ((low >> shift) & 63);
        let index = usize::try_from((low >> 18) & mask).unwrap_or_default();
        (self.filter.get(index), bit(0) | bit(6) | bit(12))
    }

    /// Returns the time of the revocation, if the key is in the table.
    pub(crate) fn find(&self, key: &[u8; 16]) -> Option<UnixTime> {
        let (high, low) = halves(key);
        for slot in self.probe(high) {
            match slot.high.load(Ordering::Acquire) {
                0 => return None,
                found if found == high && slot.low.load(Ordering::Relaxed) == low => {
                    let (revoked_at, _) = split(slot.times.load(Ordering::Acquire));
                    return Some(UnixTime::from_seconds(u64::from(revoked_at)));
                }
                _ => {}
            }
        }
        None
    }

    /// Adds or strengthens an entry; `false` when the table is full. Only one thread at a time may call it.
    pub(crate) fn insert(&self, key: &[u8; 16], revoked_at: UnixTime, expires_at: UnixTime) -> bool {
        self.insert_halves(halves(key), (whole_seconds(revoked_at), whole_seconds(expires_at)))
    }

    fn insert_halves(&self, (high, low): (u64, u64), (revoked_at, expires_at): (u32, u32)) -> bool {
        for slot in self.probe(high) {
            let found = slot.high.load(Ordering::Relaxed);
            if found == high && slot.low.load(Ordering::Relaxed) == low {
                let (revoked_before, expires_before) = split(slot.times.load(Ordering::Relaxed));
                slot.times
                    .store(join(revoked_at.max(revoked_before), expires_at.max(expires_before)), Ordering::Release);
                return true;
            }
            if found == 0 {
                let filled = self.len();
                if filled.saturating_mul(4) >= self.slots.len().saturating_mul(3) {
                    return false;
                }
                let (word, bits) = self.word(low);
                if let Some(word) = word {
                    word.store(word.load(Ordering::Relaxed) | bits, Ordering::Release);
                }
                slot.low.store(low, Ordering::Relaxed);
                slot.times.store(join(revoked_at, expires_at), Ordering::Relaxed);
                slot.high.store(high, Ordering::Release);
                self.filled.store(filled.saturating_add(1), Ordering::Release);
                return true;
            }
        }
        false
    }

    /// The same entries with room for as many again.
    pub(crate) fn grown(&self) -> Self {
        self.copied(self.len().saturating_mul(2), |_| true)
    }

    /// Every entry: key, `revoked_at`, `expires_at`.
    #[cfg(feature = "remote")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = ([u8; 16], UnixTime, UnixTime)> + '_ {
        let at = |seconds: u32| UnixTime::from_seconds(u64::from(seconds));
        self.entries().map(move |((high, low), (revoked_at, expires_at))| {
            ((u128::from(high) << 64 | u128::from(low)).to_be_bytes(), at(revoked_at), at(expires_at))
        })
    }

    pub(crate) fn has_expired(&self, now: UnixTime) -> bool {
        self.entries().any(|(_, (_, expires_at))| expires_at <= whole_seconds(now))
    }

    pub(crate) fn without_expired(&self, now: UnixTime) -> Self {
        let now = whole_seconds(now);
        let left = self.entries().filter(|(_, (_, expires_at))| *expires_at > now).count();
        self.copied(left, |expires_at| expires_at > now)
    }

    fn copied(&self, room: usize, keep: impl Fn(u32) -> bool) -> Self {
        let copy = Self::with_capacity_for(room);
        for (key, times) in self.entries().filter(|(_, (_, expires_at))| keep(*expires_at)) {
            // `room` is at least the number of entries copied.
            let _inserted = copy.insert_halves(key, times);
        }
        copy
    }

    fn entries(&self) -> impl Iterator<Item = ((u64, u64), (u32, u32))> + '_ {
        self.slots.iter().filter_map(|slot| {
            let high = slot.high.load(Ordering::Acquire);
            let times = split(slot.times.load(Ordering::Acquire));
            (high != 0).then(|| ((high, slot.low.load(Ordering::Relaxed)), times))
        })
    }

    /// The slots that a key may stand in, from its own onwards, each once.
    fn probe(&self, high: u64) -> impl Iterator<Item = &Slot> {
        let mask = self.slots.len().saturating_sub(1);
        let start = usize::try_from(high & mask as u64).unwrap_or_default();
        let (before, from) = self.slots.split_at_checked(start).unwrap_or((&[], &self.slots));
        from.iter().chain(before)
    }
}

/// Splits a key in halves; the first is never 0, which marks a free slot.
fn halves(key: &[u8; 16]) -> (u64, u64) {
    let number = u128::from_be_bytes(*key);
    let high = u64::try_from(number >> 64).unwrap_or_default();
    let low = u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default();
    (high.max(1), low)
}

fn whole_seconds(time: UnixTime) -> u32 {
    u32::try_from(time.seconds()).unwrap_or(u32::MAX)
}

fn join(revoked_at: u32, expires_at: u32) -> u64 {
    (u64::from(revoked_at) << 32) | u64::from(expires_at)
}

fn split(times: u64) -> (u32, u32) {
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (half(times >> 32), half(times))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc, thread};

    use proptest::prelude::*;

    use super::*;

    fn key(n: u64) -> [u8; 16] {
        // All in one neighbourhood, so that probing has work to do.
        (u128::from(n) << 80 | u128::from(n)).to_be_bytes()
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    proptest! {
        #[test]
        fn table_agrees_with_map(entries in proptest::collection::vec((0_u64..300, 1_u64..100, 1_u64..100), 0..400), now in 0_u64..100) {
            let mut table = RevocationTable::with_capacity_for(0);
            let mut map: HashMap<u64, (u64, u64)> = HashMap::new();
            for (n, revoked_at, expires_at) in entries {
                if !table.insert(&key(n), at(revoked_at), at(expires_at)) {
                    table = table.grown();
                    assert!(table.insert(&key(n), at(revoked_at), at(expires_at)));
                }
                let entry = map.entry(n).or_default();
                *entry = (entry.0.max(revoked_at), entry.1.max(expires_at));
            }
            prop_assert_eq!(table.len(), map.len());
            prop_assert_eq!(table.has_expired(at(now)), map.values().any(|(_, expires)| *expires <= now));
            let pruned = table.without_expired(at(now));
            for n in 0..300 {
                let expected = map.get(&n);
                prop_assert_eq!(table.find(&key(n)), expected.map(|(revoked, _)| at(*revoked)));
                prop_assert!(table.may_contain(&key(n)) || expected.is_none());
                let kept = expected.filter(|(_, expires)| *expires > now);
                prop_assert_eq!(pruned.find(&key(n)), kept.map(|(revoked, _)| at(*revoked)));
            }
        }
    }

    #[test]
    fn entry_takes_at_most_67_bytes() {
        let mut table = RevocationTable::with_capacity_for(0);
        for n in 1_u64..20_000 {
            let key = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
            if !table.insert(&key, at(1), at(2)) {
                table = table.grown();
                assert!(table.insert(&key, at(1), at(2)));
                assert!(table.memory() <= 67 * table.len(), "{} entries", table.len());
            }
        }
    }

    #[test]
    fn filter_has_few_false_positives() {
        let table = RevocationTable::with_capacity_for(10_000);
        let key = |n: u64| u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
        assert!((1..=10_000).all(|n| table.insert(&key(n), at(1), at(2))));
        assert!((1..=10_000).all(|n| table.may_contain(&key(n))));
        let wrong = (20_000..120_000).filter(|n| table.may_contain(&key(*n))).count();
        assert!(wrong < 4_000, "{wrong} of 100,000");
    }

    #[test]
    fn readers_see_whole_entries_while_the_writer_fills() {
        let table = Arc::new(RevocationTable::with_capacity_for(20_000));
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let mut next = 0;
                while next < 10_000 {
                    if let Some(found) = table.find(&key(next)) {
                        assert_eq!(found, at(next + 1));
                        next += 1;
                    }
                }
            })
        };
        for n in 0..10_000 {
            assert!(table.insert(&key(n), at(n + 1), at(n + 2)));
        }
        reader.join().unwrap();
    }
}
